"""The ranking of runs: metrics against other libraries, and directories without a usable run."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics

from starjax import errors
from starjax.commands import summary
from starjax.configs import common
from starjax.evaluation import metrics
from starjax.io import files
from starjax.models import factory, naming
from starjax.reports import run_tables
from starjax.reports.ranking import percentiles, rank, summarize
from starjax.training.run import train_and_test
from tests.processes import run_in_process


@pytest.fixture(scope="module")
def finished(tmp_path_factory, small):
    """Return the directory of a finished run with two targets."""
    config = common.get_config("summary_stats")
    config.output_base = str(tmp_path_factory.mktemp("finished"))
    config.data.dataset = str(small)
    config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
    config.data.num_sample_per_snapshot, config.data.num_star_per_sample = 4, 32
    config.train.batch_size, config.train.max_epochs = 32, 2
    config.name = "done"
    return train_and_test(config).path


@pytest.fixture
def folder(finished, tmp_path):
    """Return a folder of run directories with one finished run."""
    shutil.copytree(finished, tmp_path / "experiments" / "done")
    return tmp_path / "experiments"


def made_up_rows(num_snapshot=12, num_sample=5):
    rng = np.random.default_rng(0)
    target = np.repeat(rng.normal(size=num_snapshot), num_sample)
    prediction = target + rng.normal(size=target.size) * np.repeat(rng.uniform(size=num_snapshot), num_sample)
    return pd.DataFrame(
        {
            "snapshot_id": np.repeat(np.arange(num_snapshot), num_sample),
            "target_scaled": target,
            "prediction_scaled": prediction,
        }
    ).sample(frac=1, random_state=0)


def test_metrics_of_snapshots_equal_those_of_other_libraries():
    rows = made_up_rows()
    by_hand = [rows[rows["snapshot_id"] == i] for i in range(12)]
    truth = [group["target_scaled"].iloc[0] for group in by_hand]
    predicted = [np.mean(group["prediction_scaled"]) for group in by_hand]
    spread = [np.std(group["prediction_scaled"], ddof=1) for group in by_hand]
    error = np.abs(np.subtract(predicted, truth))
    expected = {
        "mae": sklearn.metrics.mean_absolute_error(truth, predicted),
        "mse": sklearn.metrics.mean_squared_error(truth, predicted),
        "rmse": sklearn.metrics.root_mean_squared_error(truth, predicted),
        "r2": sklearn.metrics.r2_score(truth, predicted),
        "pearson": scipy.stats.pearsonr(truth, predicted).statistic,
        "spearman": scipy.stats.spearmanr(truth, predicted).statistic,
        "bias": np.mean(predicted) - np.mean(truth),
        "median_error": sklearn.metrics.median_absolute_error(truth, predicted),
        "error_90": np.quantile(error, 0.9),
        "spread": np.mean(spread),
        "spread_error_spearman": scipy.stats.spearmanr(spread, error).statistic,
    }
    assert metrics.of_snapshots(rows, "scaled") == pytest.approx(expected)


def test_undefined_metrics_are_nan():
    rows = made_up_rows().assign(prediction_scaled=0.1)
    found = metrics.of_snapshots(rows, "scaled")
    undefined = {name for name, value in found.items() if np.isnan(value)}
    assert undefined == {"pearson", "spearman", "spread_error_spearman"}
    one = metrics.of_snapshots(made_up_rows(num_snapshot=1, num_sample=1), "scaled")
    assert {"r2", "pearson", "spread"} < {name for name, value in one.items() if np.isnan(value)}


def ranked_by_hand():
    """Three architectures: `a` and `b` on two tasks, `c` on one, and `a` twice on the first."""
    rows = [
        ("a", "sky", 0.1, 0.9),
        ("a", "sky", 0.4, 0.2),
        ("b", "sky", 0.2, 0.9),
        ("c", "sky", 0.3, np.nan),
        ("a", "cartesian", 5.0, 0.3),
        ("b", "cartesian", 6.0, 0.4),
    ]
    table = pd.DataFrame(
        rows, columns=["architecture", "features", "snapshot_scaled_mae", "snapshot_scaled_r2"]
    )
    return table.assign(
        data_set="d",
        target="time",
        model="m",
        num_params=[1, 1, 2, 3, 4, 5],
        run=[f"run-{i}" for i in range(6)],
    )


def test_percentiles_are_by_task_and_by_the_direction_of_the_metric():
    table = percentiles(ranked_by_hand(), ("snapshot_scaled_mae", "snapshot_scaled_r2"))
    assert list(table["percentile_snapshot_scaled_mae"]) == [87.5, 12.5, 62.5, 37.5, 75, 25]
    # Ties share their percentile, and undefined metrics are last.
    assert list(table["percentile_snapshot_scaled_r2"]) == [75, 37.5, 75, 12.5, 25, 75]
    assert list(table["percentile"]) == [81.25, 25, 68.75, 25, 50, 50]
    of_sky = table[table["features"] == "sky"]
    by_scipy = [
        scipy.stats.percentileofscore(-of_sky["snapshot_scaled_mae"], -value, kind="mean")
        for value in of_sky["snapshot_scaled_mae"]
    ]
    assert list(of_sky["percentile_snapshot_scaled_mae"]) == by_scipy


def test_architectures_are_ranked_by_their_mean_over_tasks():
    ranking = rank(percentiles(ranked_by_hand(), ("snapshot_scaled_mae",)))
    assert list(ranking["architecture"]) == ["a", "b", "c"]
    assert list(ranking["percentile"]) == [(50 + 75) / 2, (62.5 + 25) / 2, 37.5]
    assert list(ranking["tasks"]) == [2, 2, 1]
    assert list(ranking["runs"]) == [3, 2, 1]
    assert list(ranking["min_params"]) == [1, 2, 3]
    assert list(ranking["max_params"]) == [4, 5, 3]


@pytest.mark.parametrize(
    ("model", "changed", "name"),
    [
        ("summary_stats", {}, "summary_stats-8-4"),
        ("deep_sets", {}, "deep_sets-8-4"),
        ("deep_sets", {"rho_hidden_dims": (16,)}, "deep_sets-8-4-rho_hidden_dims=(16,)"),
        ("set_transformer", {"num_sabs": 2, "num_seeds": 4}, "set_transformer-6-2-2-num_seeds=4"),
    ],
)
def test_an_architecture_is_named_by_its_size_and_what_else_is_not_default(model, changed, name):
    assert naming.architecture(model, factory.hyperparameters(model) | changed) == name


def test_a_run_has_a_row_per_target(finished):
    rows = run_tables.read_run(finished).set_index("target")
    assert list(rows.index) == ["time", "mass"]
    assert set(rows["architecture"]) == {"summary_stats-8-4"}
    assert set(rows["features"]) == {"cartesian"}
    assert set(rows["num_params"]) == {(1 + 7 * 6) * 8 + 8 + 8 * 4 + 4 + 4 * 2 + 2}
    assert set(rows["config.optim.learning_rate"]) == {3e-3}
    found = json.loads((finished / "test_metrics.json").read_text())["test"]
    assert rows.loc["time", "sample_physical_mae"] == found["time"]["physical"]["mae"]
    table = pd.read_parquet(finished / "done-test.parquet")
    of_time = table[table["target_key"] == "time"].groupby("snapshot_id").mean(numeric_only=True)
    expected = sklearn.metrics.mean_absolute_error(of_time["target_physical"], of_time["prediction_physical"])
    assert rows.loc["time", "snapshot_physical_mae"] == pytest.approx(expected, rel=1e-5)


def test_the_summary_is_written_completely_and_read_back(folder, tmp_path, capsys):
    ranking = summarize([folder / "done"], tmp_path / "out")
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["architectures.png", "ranking.csv", "ranking.parquet", "runs.csv", "runs.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "ranking.parquet"), ranking)
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "out" / "ranking.csv"), ranking, check_dtype=False, check_exact=False
    )
    rows = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert len(rows) == 2
    assert set(rows["percentile"]) == {50}
    assert "summary_stats-8-4" in capsys.readouterr().out


def damaged(directory, name):
    """Return a copy of the run in `directory`, to be damaged, and the path of its test table."""
    copy = directory.with_name(name)
    shutil.copytree(directory, copy)
    table = copy / f"{name}-test.parquet"
    (copy / f"{directory.name}-test.parquet").rename(table)
    (copy / "SHA256SUMS").unlink()
    return copy, table


def test_directories_without_a_usable_run_are_left_out_with_the_reason(folder, tmp_path, capsys):
    done = folder / "done"
    (folder / "holiday-pictures").mkdir()
    damaged(done, "unfinished")[0].joinpath("test_metrics.json").unlink()
    damaged(done, "half-config")[0].joinpath("config.json").write_text('{"format": 1, "con')
    damaged(done, "odd-config")[0].joinpath("config.json").write_text("[]")
    copy, _ = damaged(done, "other-model")
    copy.joinpath("config.json").write_text(
        (done / "config.json").read_text().replace("summary_stats", "gnn")
    )
    copy, _ = damaged(done, "other-field")
    copy.joinpath("config.json").write_text((done / "config.json").read_text().replace("hidden_dims", "wide"))
    copy, _ = damaged(done, "no-data")
    copy.joinpath("config.json").write_text((done / "config.json").read_text().replace('"data"', '"date"'))
    damaged(done, "no-metrics")[0].joinpath("test_metrics.json").write_text("{}")
    damaged(done, "other-metrics")[0].joinpath("test_metrics.json").write_text(
        (done / "test_metrics.json").read_text().replace('"time"', '"age"')
    )
    copy, _ = damaged(done, "sweep")
    record = json.loads((done / "config.json").read_text())
    record["config"]["ensemble"]["size"] = 4
    record["config"]["sweep"]["log_uniform"]["dropout"] = [0.1, 0.2]
    copy.joinpath("config.json").write_text(json.dumps(record))
    _, table = damaged(done, "half-table")
    table.write_bytes(table.read_bytes()[:1000])
    damaged(done, "no-table")[1].unlink()
    _, table = damaged(done, "other-table")
    pd.DataFrame({"snapshot_id": [0]}).to_parquet(table)
    _, table = damaged(done, "nan-table")
    content = pd.read_parquet(table)
    content.loc[3, "prediction_scaled"] = np.nan
    content.to_parquet(table)

    for config in {*folder.glob("*/config.json")} - {done / "config.json"}:
        # With digests of the damaged files, so that they are read.
        files.write_sums(config.parent, [path for path in config.parent.iterdir() if path.is_file()])
    run_in_process(summary, f"--runs={folder}")
    printed = capsys.readouterr().out
    left_out = {line.split()[2] for line in printed.splitlines() if line.startswith("left out: ")}
    assert left_out == {path.name for path in folder.iterdir()} - {"done"}
    for said in (
        "holiday-pictures holds no run",
        "unfinished is not finished",
        "half-table-test.parquet cannot be read",
        "no-table-test.parquet is missing: if the run directory was renamed",
        "other-table-test.parquet lacks",
        "nan-table-test.parquet contains values that are not finite",
        "'gnn' is not a model",
        "summary_stats has no hyperparameter wide",
        "sweep is a sweep",
    ):
        assert said in printed
    assert set(pd.read_csv(tmp_path / "summary" / "runs.csv")["run"]) == {"done"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runs={folder}/nowhere"], "is not a folder"),
        (["--runs={folder}/done"], "is a run: name the folder"),
        (["--runs={folder}", "--metrics=snapshot_scaled_mape"], "choose among sample_scaled_mae"),
        (["--runs={folder}", "--metrics="], "choose among"),
        (["--runs={folder}", "--metrics=snapshot_scaled_bias"], "snapshot_scaled_bias"),
    ],
)
def test_invalid_options_are_an_error(folder, tmp_path, arguments, said):
    options = summary.parser().parse([*(argument.format(folder=folder) for argument in arguments)])
    with pytest.raises(errors.StarjaxError, match=said):
        summary.main(options)
    assert not (tmp_path / "summary").exists()
