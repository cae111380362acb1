"""Coverage of intervals: its values, its bins, and its error from few simulations."""

import numpy as np
import pandas as pd
import pytest

from starjax.evaluation import calibration, coverage
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.evaluation.mixture import Mixture

NUM_TARGET = 2


def mock(rng, num_simulation, num_each, common=0.8):
    """Return predictions of two targets, too narrow by half; errors within a simulation are correlated."""
    run = np.repeat(np.arange(num_simulation), num_each)
    shape = (len(run), NUM_TARGET)
    mean = rng.normal(size=shape)
    error = common * rng.normal(size=(num_simulation, NUM_TARGET))[run] + (1 - common**2) ** 0.5 * rng.normal(
        size=shape
    )
    predictive = [Mixture(np.ones((len(run), 1)), m[:, None], np.full((len(run), 1), 0.5)) for m in mean.T]
    return predictive, mean + error, run


def snapshots(predictive, truth, run, calibrated):
    """Return a table of snapshots, of targets that are not scaled."""
    bounds = calibrated.intervals(predictive)
    tables = []
    for target, one in enumerate(predictive):
        columns = {"target_key": f"target {target}", "run_id": run, "target_physical": truth[:, target]}
        columns["target_scaled"] = truth[:, target]
        columns |= {"prediction_physical": one.quantile(0.5), "num_star": 10 + np.arange(len(run))}
        columns |= {"crps_scaled": 0.0, "log_score_scaled": 0.0, "pit": one.pit(truth[:, target])}
        for level, names, pair in zip(LEVEL_NAMES, PERCENTILES, bounds[..., target], strict=True):
            for unit in ("scaled", "physical"):
                columns |= {f"{name}_{unit}": bound for name, bound in zip(names, pair, strict=True)}
            columns[f"is_within_{level}"] = (pair[0] <= truth[:, target]) & (truth[:, target] <= pair[1])
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def whole(table):
    return table[table["by"] == "all"]


@pytest.fixture(scope="module")
def evaluated():
    rng = np.random.default_rng(0)
    predictive, truth, run = mock(rng, 19, 12)
    calibrated = calibration.fit(predictive, truth, run, np.ones(NUM_TARGET))
    return snapshots(*mock(rng, 20, 12), calibrated), calibrated


def test_there_are_rows_of_all_snapshots_and_of_bins_of_equal_size(evaluated):
    table, calibrated = evaluated
    found = coverage.coverage_table(table, calibrated)
    for key, rows in table.groupby("target_key"):
        of_target = found[found["target_key"] == key]
        overall = whole(of_target).iloc[0]
        assert overall["num_snapshot"] == len(rows) == 240
        assert overall["num_simulation"] == 20
        assert overall["coverage_68"] == pytest.approx(rows["is_within_68"].mean())
        assert overall["below_68"] == pytest.approx((rows["target_scaled"] < rows["p16_scaled"]).mean())
        assert overall["coverage_68"] + overall["below_68"] + overall["above_68"] == pytest.approx(1)
        away = rows["prediction_physical"] - rows["target_physical"]
        assert overall["mae"] == pytest.approx(away.abs().mean())
        assert overall["bias"] == pytest.approx(away.mean())
        assert overall["width_95"] == pytest.approx((rows["p97.5_physical"] - rows["p2.5_physical"]).median())
        targets = {"target 0", "target 1"}
        assert set(of_target["by"]) == {"all", "num_star", *targets, *(f"predicted_{t}" for t in targets)}
        for by, bins in of_target[of_target["by"] != "all"].groupby("by"):
            assert list(bins["num_snapshot"]) == [60] * 4, by
            assert bins["coverage_68"].mean() == pytest.approx(overall["coverage_68"])
            assert (bins["low"].to_numpy()[1:] > bins["high"].to_numpy()[:-1]).all()
        by_number = of_target[of_target["by"] == "num_star"]
        assert list(by_number["low"]) == [10, 70, 130, 190]
        assert by_number["coverage_95"].iloc[2] == pytest.approx(rows["is_within_95"].iloc[120:180].mean())


def test_few_distinct_values_are_bins_of_their_own():
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert [(low, high) for low, high, _ in coverage.bins(values)] == [(1, 1), (2, 2), (3, 3)]
    assert [inside.tolist() for *_, inside in coverage.bins(values)][2] == [True, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("num_simulation", [19, pytest.param(93, marks=pytest.mark.weekly)])
def test_the_reported_error_is_the_scatter_of_coverage_about_its_level(num_simulation):
    """Over calibration and test sets, for all snapshots and for a quarter of those of each simulation."""
    rng = np.random.default_rng(1)
    shares, reported, of_test = [], [], []
    for _ in range(60):
        predictive, truth, run = mock(rng, num_simulation, 12)
        calibrated = calibration.fit(predictive, truth, run, np.ones(NUM_TARGET))
        table = snapshots(*mock(rng, 20, 12), calibrated)
        # Snapshots of a simulation are exchangeable here.
        quarter = table[table.groupby(["target_key", "run_id"]).cumcount() < 3]
        for part in (table, quarter):
            for target, (_, rows) in enumerate(part.groupby("target_key")):
                row = coverage.coverage_row(rows, calibrated, target)
                shares.append([row["coverage_68"], row["coverage_95"]])
                reported.append([row["coverage_68_error"], row["coverage_95_error"]])
                of_test.append(row["coverage_68_error_of_test"])
    shares, reported = (np.reshape(x, (60, 2, NUM_TARGET, 2)) for x in (shares, reported))
    over = (0, 2)  # repetitions and targets
    scatter = np.std(shares, axis=over)
    ratio = np.sqrt(np.mean(np.square(reported), axis=over)) / scatter
    # The scatter of 60 fractions close to one is itself uncertain by a sixth.
    assert ratio == pytest.approx(np.full((2, 2), 1.15), abs=0.3)
    if num_simulation == 19:  # the error of the test alone does not include the scatter of the calibration
        of_test = np.reshape(of_test, (60, 2, NUM_TARGET))[:, 0]
        assert np.sqrt(np.mean(np.square(of_test))) < 0.85 * scatter[0, 0]


@pytest.mark.weekly
def test_coverage_is_nominal_in_bins_of_the_prediction_but_not_in_extreme_bins_of_the_truth():
    """For a perfect model: the posterior of a Gaussian prior, and a Gaussian error of half its variance."""
    rng = np.random.default_rng(4)
    truth = rng.normal(size=8000)
    predicted = (truth + rng.normal(0, 0.5**0.5, size=8000)) / 1.5
    ones = np.ones((8000, 1))
    predictive = [Mixture(ones, predicted[:, None], (1 / 3) ** 0.5 * ones)] * NUM_TARGET
    truth, run = np.repeat(truth[:, None], NUM_TARGET, axis=1), np.arange(8000)
    calibrated = calibration.fit(predictive, truth, run, np.ones(NUM_TARGET))
    found = coverage.coverage_table(snapshots(predictive, truth, run, calibrated), calibrated)
    of_target = found[found["target_key"] == "target 0"].set_index("by")["coverage_68"]
    assert list(of_target["predicted_target 0"]) == pytest.approx([0.68] * 4, abs=0.03)
    assert of_target["target 0"].iloc[[0, 3]].max() < 0.64


def test_the_error_is_not_zero_if_all_intervals_cover(evaluated):
    table, calibrated = evaluated
    all_within = whole(coverage.coverage_table(table.assign(is_within_95=True), calibrated))
    usual = whole(coverage.coverage_table(table, calibrated))
    assert (all_within["coverage_95_error_of_test"] == 0).all()
    np.testing.assert_allclose(all_within["coverage_95_error"], usual["coverage_95_error"])
    assert (usual["coverage_95_error"] > 0.01).all()


def test_the_error_from_a_single_simulation_is_nan(evaluated):
    table, calibrated = evaluated
    found = whole(coverage.coverage_table(table[table["run_id"] == 0], calibrated))
    assert found["coverage_68_error_of_test"].isna().all()
    alone = calibration.fit(*mock(np.random.default_rng(3), 1, 12), np.ones(NUM_TARGET))
    assert np.isnan(alone.correlation).all()
    assert np.isnan(alone.level_error).all()
    assert whole(coverage.coverage_table(table, alone))["coverage_68_error"].isna().all()
