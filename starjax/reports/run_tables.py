"""Run directories in, one table out: a row a run and target."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from starjax import errors, quantities
from starjax.evaluation import metrics
from starjax.io import files
from starjax.models import factory, naming
from starjax.runs import run_config
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record

UNITS = ("scaled", "physical")
# What test_metrics.json has beside the metrics; of many members `best_epoch` is the median.
NUMBERS = ("members", "best_epoch", "epochs")
_TABLE_COLUMNS = {
    "snapshot_id",
    "target_key",
    *(f"{what}_{units}" for what in ("target", "prediction") for units in UNITS),
}


class RunTableError(errors.StarjaxError):
    """A directory that holds no finished run, or one whose files cannot be used."""


def read_runs(directories: Iterable[Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows of all runs that can be used, and by name why the others cannot."""
    tables, left_out = [], {}
    for directory in directories:
        try:
            tables.append(read_run(directory))
        except errors.StarjaxError as error:
            left_out[Path(directory).name] = str(error)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    # Files of columns want one type a column, which configs of several versions may not have.
    mixed = [name for name in table if name.startswith("config.") and table[name].dtype == object]
    return table.assign(**{name: table[name].map(str, na_action="ignore") for name in mixed}), left_out


def read_run(directory: Path) -> pd.DataFrame:
    """One row a target of a run.

    Returns:
      What the run is: `run architecture model features target data_set num_params members best_epoch epochs`;
      `sample_<units>_<metric>`, over test samples, as test_metrics.json has them;
      `snapshot_<units>_<metric>`, of the mean prediction of each snapshot (see `metrics.of_snapshots`);
      `config.<field>`, every field of the config.

    Raises:
      RunError, ExperimentError, ConfigError: the directory holds no finished run, or a file cannot be used.
    """
    run_dir = RunDirectory(Path(directory))
    record = read_finished_record(run_dir)
    content = _read_metrics(run_dir)
    table = _read_table(run_dir)
    if set(content["test"]) != set(table["target_key"]):
        raise RunTableError(f"{run_dir.test_table.name} and {run_dir.test_metrics.name} have other targets")
    described = _describe(run_dir, record)
    described |= {name: content[name] for name in NUMBERS}
    fields = {f"config.{name}": _plain(value) for name, value in _flat(record["config"]).items()}
    rows = []
    for target, by_units in content["test"].items():
        of_target = table[table["target_key"] == target]
        row = described | {"target": quantities.set_name((target,), quantities.sets("target"))}
        row |= {f"sample_{name}": value for name, value in flatten_dict(by_units, sep="_").items()}
        for units in UNITS:
            values = metrics.of_snapshots(of_target, units)
            row |= {f"snapshot_{units}_{name}": value for name, value in values.items()}
        rows.append(row | fields)
    return pd.DataFrame(rows)


def _describe(run_dir: RunDirectory, record: dict) -> dict:
    """What a run is, from its record."""
    try:
        if record["config"]["ensemble"]["size"] > 1 and run_config.is_sweep(ConfigDict(record["config"])):
            raise RunTableError(
                "is a sweep, of many kinds of runs; the best stands beside it as a run of its own"
            )
        data, model = record["config"]["data"], record["config"]["model"]
        model = {name: tuple(v) if isinstance(v, list) else v for name, v in model.items()}
        hparams = {name: value for name, value in model.items() if name != "name"}
        unknown = set(hparams) - set(factory.hyperparameters(model["name"]))
        if unknown:
            raise RunTableError(
                f"{model['name']} has no hyperparameter {', '.join(sorted(unknown))} in this version"
            )
        hparams = factory.hyperparameters(model["name"]) | hparams
        return {
            "run": run_dir.name,
            "architecture": naming.architecture(model["name"], hparams),
            "model": model["name"],
            "features": quantities.set_name(data["feature_keys"], quantities.sets("feature")),
            "data_set": record["dataset"]["fingerprint"][:8],
            "num_params": factory.num_params(
                model, *run_config.model_shape(config_from_record(record["config"]))
            ),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise RunTableError(f"{run_dir.config.name} is damaged ({type(error).__name__}: {error})") from error


def _read_metrics(run_dir: RunDirectory) -> dict:
    """The content of test_metrics.json, all that is needed of it being there."""
    try:
        content = files.read_json(run_dir.test_metrics)
        for name in NUMBERS:
            int(content[name])
        for by_units in content["test"].values():
            for units in UNITS:
                float(by_units[units]["mae"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunTableError(
            f"{run_dir.test_metrics.name} is damaged ({type(error).__name__}: {error})"
        ) from error
    return content


def _read_table(run_dir: RunDirectory) -> pd.DataFrame:
    """The test table, with every column that is needed, and numbers in them."""
    try:
        table = pd.read_parquet(run_dir.test_table)
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise RunTableError(f"{run_dir.test_table.name} cannot be read: {error}") from error
    missing = _TABLE_COLUMNS - set(table)
    if missing or table.empty:
        raise RunTableError(f"{run_dir.test_table.name} lacks {', '.join(sorted(missing)) or 'rows'}")
    numbers = table[sorted(_TABLE_COLUMNS - {"target_key", "snapshot_id"})]
    if not np.isfinite(numbers.to_numpy(np.float64)).all():
        raise RunTableError(f"{run_dir.test_table.name} holds values that are not finite")
    return table


def _flat(config: dict) -> dict:
    return flatten_dict(config, sep=".")


def _plain(value):
    """A value that a column of a table can hold."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value
