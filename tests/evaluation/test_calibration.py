"""Calibrated intervals: their coverage on new groups, and the file of a calibration."""

import numpy as np
import pytest

from starjax.evaluation import calibration
from starjax.evaluation.mixture import Mixture


def mock(rng, num_group, num_each, sigma=1.0):
    """Return predictions and true values of groups with correlated errors.

    Errors have a common part within a group, and groups differ in width. The predicted width is wrong by a
    factor, and the errors have heavier tails than a Gaussian.
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


def test_coverage_on_new_groups_is_nominal():
    rng = np.random.default_rng(1)
    predictive, truth, group = mock(rng, 600, 12)
    calibrated = calibration.fit([predictive], truth, group, np.ones(1))
    assert (calibrated.stretch > 1).all()  # the predicted widths are half of the true ones
    tested = mock(rng, 4000, 12)
    assert coverage(calibrated, *tested[:2]) == pytest.approx(calibration.LEVELS, abs=0.02)


@pytest.mark.slow
def test_mean_coverage_with_few_groups_is_at_least_nominal():
    """Nineteen groups, like the simulations of the packaged sample.

    The coverage of a single calibration scatters; its mean is the next multiple of 1 / 20.
    """
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


def test_groups_are_weighted_by_their_size():
    """Ten groups of one snapshot with low scores, and ten groups of nine with high ones."""
    score = np.concatenate([np.arange(10.0), np.repeat(np.arange(10.0, 20.0), 9)])
    group = np.concatenate([np.arange(10), np.repeat(np.arange(10, 20), 9)])
    # The new group has the weight (10 + 10 * 81) / 100 = 8.2: half of 108.2 is reached by ten ones and five
    # nines.
    assert calibration.quantile_of_groups(score, group, 0.5) == 14
    assert calibration.quantile_of_groups(score, group, 0.08) == 8
    assert calibration.quantile_of_groups(score, group, 0.95) == 19


def test_coverage_is_nominal_if_large_groups_have_larger_errors():
    rng = np.random.default_rng(3)

    def groups(num):
        size = rng.integers(1, 30, num)
        group = np.repeat(np.arange(num), size)
        mean = rng.normal(size=len(group))
        error = rng.normal(size=num)[group] + rng.normal(size=len(group))
        predictive = Mixture(np.ones((len(group), 1)), mean[:, None], np.ones((len(group), 1)))
        return predictive, (mean + error * size[group] / 10)[:, None], group

    predictive, truth, group = groups(800)
    calibrated = calibration.fit([predictive], truth, group, np.ones(1))
    tested = groups(4000)
    assert coverage(calibrated, *tested[:2]) == pytest.approx(calibration.LEVELS, abs=0.02)


def test_snapshots_of_a_group_need_not_be_adjacent():
    """All snapshots of a group have the same score, so that only the group that is drawn from matters."""
    group = np.repeat(np.arange(20), np.arange(1, 21))
    score = (7.0 * group) % 20
    order = np.random.default_rng(0).permutation(len(group))
    together = calibration.quantile_of_groups(score, group, 0.68)
    assert calibration.quantile_of_groups(score[order], group[order], 0.68) == together


def test_coverage_error_counts_groups_if_snapshots_are_correlated_and_snapshots_if_not():
    size = np.full(25, 16)
    assert calibration.coverage_error(0.8, 1.0, size) == pytest.approx(0.4 / 5)
    assert calibration.coverage_error(0.8, 0.0, size) == pytest.approx(0.4 / 20)


def test_with_one_snapshot_per_group_it_is_the_split_conformal_quantile():
    score = np.arange(1.0, 20.0)  # 19 groups
    assert calibration.quantile_of_groups(score, np.arange(19), 0.68) == 14  # ceil(0.68 * 20)
    assert calibration.quantile_of_groups(score, np.arange(19), 0.95) == 19
    assert calibration.quantile_of_groups(score[:5], np.arange(5), 0.95) == 5  # too few: the largest


def test_a_written_calibration_is_read_back_and_a_damaged_one_is_an_error(tmp_path):
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
    assert '"sigma": 0.25' in whole
    for content in (
        "{",
        "{}",
        "[]",
        '{"num_simulation": 3, "targets": {"a": {"sigma": "x"}}}',
        *without_stretch,
        whole.replace('"sigma": 0.25', '"sigma": null'),
    ):
        path.write_text(content)
        with pytest.raises(calibration.CalibrationError, match=r"calibration\.json.*restore"):
            calibration.load(path, ("a",))
