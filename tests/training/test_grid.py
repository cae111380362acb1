"""The grid: its runs, those refused, those skipped, and failures."""

import json
from pathlib import Path

import pandas as pd
import pytest

from starjax import errors
from starjax.commands.grid import parse_part
from starjax.configs import deep_sets
from starjax.configs import grid as grid_config
from starjax.models import factory
from starjax.runs.config_record import config_digest, config_to_record
from starjax.runs.directory import locate_run
from starjax.training import grid
from tests import killing


@pytest.fixture
def tiny(config):
    """A grid of two runs on the small data set."""
    made = grid_config.get_config()
    made.base.output_base = config.output_base
    made.base.data.update(
        {name: config.data[name] for name in ("dataset", "num_sample_per_snapshot", "num_star_per_sample")}
    )
    made.base.train.batch_size, made.base.train.max_epochs = 32, 2
    made.models, made.feature_sets = ("summary_stats",), ("sky",)
    made.sizes.summary_stats, made.target_sets = ((4,), (8,)), ("time",)
    return made


def summaries_of(cells):
    return {cell.name.rsplit("-", 1)[0] for cell in cells}


@pytest.mark.weekly
def test_the_reference_grid_is_complete_and_valid():
    cells = grid.grid_configs(grid_config.get_config())
    assert len(cells) == (4 + 4 + 9) * 4 * 2 == len({cell.name for cell in cells})
    grid.check_grid(cells, num_device=4)
    one = next(cell for cell in cells if cell.name.startswith("set_transformer-6-3-2_cartesian_time-"))
    assert (one.model.hidden_dim, one.model.num_heads, one.model.num_sabs) == (6, 3, 2)
    assert one.data.feature_keys == ("x", "y", "z", "vx", "vy", "vz")
    assert one.name.endswith(config_digest(one))


def test_a_cell_is_the_config_that_the_training_command_makes():
    config = deep_sets.get_config()
    config.model.phi_hidden_dims = config.model.rho_hidden_dims = (8, 8)
    config.data.target_keys = ("time",)
    cells = {cell.name: cell for cell in grid.grid_configs(grid_config.get_config())}
    cell = cells[f"deep_sets-8-8_cartesian_time-{config_digest(config)}"]
    assert config_to_record(cell) == config_to_record(config)
    assert set(cell) == set(config)


def test_a_grid_is_narrowed_by_names_and_by_columns(tiny):
    tiny.base.optim.learning_rate = 1e-4
    tiny.models, tiny.feature_sets = ("deep_sets",), ("sky+L", ("x", "y"))
    tiny.sizes.deep_sets, tiny.target_sets = ((4, 4),), ("mass", ("time", "total_mass_within_2x_r_tidal"))
    cells = grid.grid_configs(tiny)
    assert summaries_of(cells) == {
        "deep_sets-4-4_sky+L_mass",
        "deep_sets-4-4_sky+L_time+total_mass_within_2x_r_tidal",
        "deep_sets-4-4_x+y_mass",
        "deep_sets-4-4_x+y_time+total_mass_within_2x_r_tidal",
    }
    assert {cell.optim.learning_rate for cell in cells} == {1e-4}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("models", (), "config.models=()"),
        ("models", ("perceptron",), "deep_sets, set_transformer, summary_stats"),
        ("models", ("summary_stats", "summary_stats"), "twice"),
        ("feature_sets", ("galactic",), "cartesian, cartesian+L, sky, sky+L"),
        ("feature_sets", (), "config.feature_sets=()"),
        ("target_sets", ("age",), "config.target_sets=('age',) should hold some of time, mass"),
        ("sizes.summary_stats", (), "config.sizes.summary_stats=()"),
        ("sizes.summary_stats", (4,), "each a tuple"),
        ("sizes.summary_stats", ((4,), (0,)), "model.hidden_dims=(0,)"),
        ("base.train.patience", 0, "config.train.patience=0"),
        ("target_sets", ("time", ("age",)), "age"),
        ("feature_sets", (("x", 1),), "config.feature_sets=(('x', 1),) should hold some of"),
        ("feature_sets", ((),), "config.feature_sets=((),) should hold some of"),
    ],
)
def test_an_invalid_cell_is_refused_before_any_run_starts(tiny, field, value, said, monkeypatch):
    monkeypatch.setattr(grid, "train_and_test", lambda config: pytest.fail("a run has started"))
    tiny.update_from_flattened_dict({field: value})
    with pytest.raises(errors.StarjaxError) as caught:
        grid.run_grid(tiny)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("size", "said"), [((6, 2), "hidden_dim, num_heads, num_sabs"), ((6, 4, 1), "model.hidden_dim=6")]
)
def test_a_size_that_does_not_fit_its_model_is_refused(tiny, size, said):
    tiny.models, tiny.sizes.set_transformer = ("set_transformer",), (size,)
    with pytest.raises(errors.ConfigError, match=said):
        grid.check_grid(grid.grid_configs(tiny), num_device=1)


@pytest.mark.parametrize("count", [1, 3, 8, 200])
def test_parts_are_disjoint_and_complete(count):
    cells = grid.grid_configs(grid_config.get_config())
    parts = [grid.grid_part(cells, parse_part(f"{i}/{count}")) for i in range(1, count + 1)]
    found = [cell.name for part in parts for cell in part]
    assert sorted(found) == sorted(cell.name for cell in cells)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/8", "9/8", "1/0", "1", "a/8", "-1/8", "1/8/2", ""])
def test_an_invalid_part_is_refused(text):
    with pytest.raises(errors.ConfigError, match="I from 1 to N"):
        parse_part(text)


@pytest.mark.slow
def test_finished_runs_are_skipped_and_a_failed_run_does_not_stop_the_others(tiny, capsys, monkeypatch):
    first, second = grid.grid_configs(tiny)
    # Another run's record in the directory of the first.
    run_dir = locate_run(first)
    run_dir.path.mkdir(parents=True)
    run_dir.config.write_text("{")
    with pytest.raises(grid.GridError, match="1 of 2 runs failed"):
        grid.run_grid(tiny)
    printed = capsys.readouterr().out
    assert f"run 2 of 2: {second.name}" in printed
    assert f"failed: {first.name}: {run_dir.config} is damaged" in printed
    assert "1 of the 2 runs of the grid are finished" in printed

    run_dir.config.unlink()
    made = []
    run = grid.train_and_test
    monkeypatch.setattr(grid, "train_and_test", lambda config: made.append(config.name) or run(config))
    grid.run_grid(tiny)
    assert made == [first.name]
    printed = capsys.readouterr().out
    assert f"{second.name}, finished before" in printed
    assert "2 of the 2 runs of the grid are finished" in printed
    grid._rank([first, second], "the digits of other data", Path(tiny.base.output_base), (1, 1))
    assert "0 of the 2 runs of the grid are finished" in capsys.readouterr().out
    table = pd.read_csv(f"{tiny.base.output_base}/grid-summary/runs.csv")
    assert set(table["run"]) == {first.name, second.name}
    for row in table.itertuples():
        record = json.loads((locate_run(first).path.parent / row.run / "config.json").read_text())
        model = {
            name: tuple(v) if isinstance(v, list) else v for name, v in record["config"]["model"].items()
        }
        assert row.num_params == factory.num_params(model, 4, 1)


def test_the_command_reports_errors_in_one_line(tmp_path, monkeypatch):
    out, log = tmp_path / "out", tmp_path / "log"
    monkeypatch.setenv("OUTPUT_BASE", str(out))
    for arguments, said in (
        (["--config=grid", "--part=0/4"], "--part=0/4 should be I/N"),
        (["--config=grid", "--config.feature_sets=galactic"], "config.feature_sets=('galactic',)"),
        (["--config=deep_sets"], "the config has no base, models, sizes"),
    ):
        assert killing.run("grid", arguments, log, out) == 1
        assert said in log.read_text().splitlines()[-1]
    assert "Traceback" not in log.read_text()
    assert not out.exists()
