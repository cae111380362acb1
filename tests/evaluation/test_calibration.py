"""Calibrated intervals: they hold new groups as often as they say, and are what the module writes and reads."""

import numpy as np
import pytest

from starjax.evaluation import calibration
from starjax.evaluation.mixture import Mixture


def mock(rng, num_group, num_each, sigma=1.0):
    """Predictions and truths of groups whose errors are correlated: a part is common, and groups differ in their width.

    The predicted width is wrong by a factor, and the errors have heavier tails than a Gaussian.
    """
    group = np.repeat(np.arange(num_group), num_each)
    width = np.exp(rng.normal(0, 0.3, num_group))[group]
    common, own = rng.standard_t(4, num_group)[group], rng.standard_t(4, num_group * num_each)
    mean = rng.normal(size=len(group))
    truth = mean + width * sigma * (0.8 * common + 0.6 * own)
    predictive = Mixture(np.ones((len(group), 1)), mean[:, None], 0.5 * width[:, None])
    return predictive, truth[:, None], group


def coverage(calibrated, predictive, truth):
    low, high = np.moveaxis(calibrated.intervals([predictive]), 1, 0)
    return ((low <= truth) & (truth <= high)).mean(axis=(1, 2))


def test_intervals_hold_new_groups_as_often_as_they_say():
    rng = np.random.default_rng(1)
    predictive, truth, group = mock(rng, 600, 12)
    calibrated = calibration.fit([predictive], truth, group, np.ones(1))
    assert (calibrated.stretch > 1).all()  # the widths were too small by half
    tested = mock(rng, 4000, 12)
    assert coverage(calibrated, *tested[:2]) == pytest.approx(calibration.LEVELS, abs=0.02)


def test_of_few_groups_intervals_hold_no_less_than_they_say():
    """Nineteen runs, as in the packaged sample. The coverage of one calibration scatters; its mean is that of a whole rank."""
    rng = np.random.default_rng(2)
    tested = mock(rng, 2000, 1)
    found = []
    for _ in range(100):
        predictive, truth, group = mock(rng, 19, 14)
        calibrated = calibration.fit([predictive], truth, group, np.ones(1))
        found.append(coverage(calibrated, *tested[:2]))
    mean = np.mean(found, axis=0)
    assert (mean >= calibration.LEVELS).all()
    assert mean == pytest.approx([14 / 20, 19 / 20], abs=0.03)


def test_runs_count_by_their_snapshots():
    """Ten runs of one snapshot with low scores, and ten of nine with high ones."""
    score = np.concatenate([np.arange(10.0), np.repeat(np.arange(10.0, 20.0), 9)])
    group = np.concatenate([np.arange(10), np.repeat(np.arange(10, 20), 9)])
    # The new run weighs (10 + 10 * 81) / 100 = 8.2: half of 108.2 is reached by ten ones and five nines.
    assert calibration.quantile_of_groups(score, group, 0.5) == 14
    assert calibration.quantile_of_groups(score, group, 0.08) == 8
    assert calibration.quantile_of_groups(score, group, 0.95) == 19


def test_where_long_runs_are_the_harder_ones_intervals_hold_snapshots_as_often_as_they_say():
    rng = np.random.default_rng(3)

    def runs(num):
        size = rng.integers(1, 30, num)
        group = np.repeat(np.arange(num), size)
        mean = rng.normal(size=len(group))
        error = rng.normal(size=num)[group] + rng.normal(size=len(group))
        predictive = Mixture(np.ones((len(group), 1)), mean[:, None], np.ones((len(group), 1)))
        return predictive, (mean + error * size[group] / 10)[:, None], group

    predictive, truth, group = runs(800)
    calibrated = calibration.fit([predictive], truth, group, np.ones(1))
    tested = runs(4000)
    assert coverage(calibrated, *tested[:2]) == pytest.approx(calibration.LEVELS, abs=0.02)


def test_groups_need_not_stand_together():
    """Groups of one score and of many snapshots: what is drawn of a group does not matter, which group it is does."""
    group = np.repeat(np.arange(20), np.arange(1, 21))
    score = (7.0 * group) % 20
    order = np.random.default_rng(0).permutation(len(group))
    together = calibration.quantile_of_groups(score, group, 0.68)
    assert calibration.quantile_of_groups(score[order], group[order], 0.68) == together


def test_the_error_of_a_share_counts_runs_where_their_snapshots_are_alike_and_snapshots_where_they_are_not():
    size = np.full(25, 16)
    assert calibration.share_error(0.8, 1.0, size) == pytest.approx(0.4 / 5)
    assert calibration.share_error(0.8, 0.0, size) == pytest.approx(0.4 / 20)


def test_with_one_snapshot_a_run_it_is_the_split_conformal_quantile():
    score = np.arange(1.0, 20.0)  # 19 runs
    assert calibration.quantile_of_groups(score, np.arange(19), 0.68) == 14  # ceil(0.68 * 20)
    assert calibration.quantile_of_groups(score, np.arange(19), 0.95) == 19
    assert calibration.quantile_of_groups(score[:5], np.arange(5), 0.95) == 5  # too few: the largest


def test_what_is_written_is_read_and_what_is_damaged_is_told(tmp_path):
    written = calibration.Calibration(
        np.array([0.25, 2.0]),
        np.array([[1.0, 1.5], [1.25, 3.0]]),
        np.array([[0.5, 0.6], [0.7, 0.8]]),
        np.array([[0.1, 0.2], [0.3, np.nan]]),
        19,
    )
    path = tmp_path / "calibration.json"
    calibration.save(path, written, ("a", "b"))
    found = calibration.load(path, ("b", "a"))
    np.testing.assert_array_equal(found.sigma, [2.0, 0.25])
    np.testing.assert_array_equal(found.stretch, [[1.5, 1.0], [3.0, 1.25]])
    np.testing.assert_array_equal(found.level_error, [[0.2, 0.1], [np.nan, 0.3]])
    np.testing.assert_array_equal(found.correlation, [[0.6, 0.5], [0.8, 0.7]])
    assert found.num_simulation == 19
    assert "NaN" not in path.read_text()
    whole = path.read_text()
    assert '"0.95": 1.25' in whole
    without_stretch = [whole.replace('"0.95": 1.25', f'"0.95": {value}') for value in ("null", "Infinity")]
    for content in (
        "{",
        "{}",
        "[]",
        '{"num_simulation": 3, "targets": {"a": {"sigma": "x"}}}',
        *without_stretch,
    ):
        path.write_text(content)
        with pytest.raises(calibration.CalibrationError, match=r"calibration\.json.*restore"):
            calibration.load(path, ("a",))
