"""The table of finished runs: one row per run and target, read from run directories."""

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
# Entries of test_metrics.json beside the metrics; for an ensemble, `best_epoch` is the median.
NUMBERS = ("members", "best_epoch", "epochs")
_TABLE_COLUMNS = {
    "snapshot_id",
    "target_key",
    *(f"{name}_{units}" for name in ("target", "prediction") for units in UNITS),
}


class RunTableError(errors.StarjaxError):
    """A finished run whose files cannot be used."""


def read_runs(directories: Iterable[Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows of all runs that can be used, and the reasons for the others by name."""
    tables, left_out = [], {}
    for directory in directories:
        try:
            tables.append(read_run(directory))
        except errors.StarjaxError as error:
            left_out[Path(directory).name] = str(error)
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    # Parquet wants one type per column, which configs of several versions may not have.
    mixed = [name for name in table if name.startswith("config.") and table[name].dtype == object]
    return table.assign(**{name: table[name].map(str, na_action="ignore") for name in mixed}), left_out


def read_run(directory: Path) -> pd.DataFrame:
    """Return one row per target of a run.

    Returns:
      The description of the run, `run architecture model features target data_set num_params members
      best_epoch epochs`; `sample_<units>_<metric>`, the metrics of test samples in test_metrics.json;
      `snapshot_<units>_<metric>`, those of the mean prediction of each snapshot (see `metrics.of_snapshots`);
      `config.<field>`, every field of the config.

    Raises:
      RunDirectoryError, RunTableError, ConfigError: the directory holds no finished run, or a file cannot be
      used.
    """
    run_dir = RunDirectory(Path(directory))
    record = read_finished_record(run_dir)
    content = _read_metrics(run_dir)
    table = _read_table(run_dir)
    if set(content["test"]) != set(table["target_key"]):
        raise RunTableError(f"{run_dir.test_table} and {run_dir.test_metrics.name} have different targets")
    description = _describe(run_dir, record)
    description |= {name: content[name] for name in NUMBERS}
    fields = {
        f"config.{name}": _plain(value) for name, value in flatten_dict(record["config"], sep=".").items()
    }
    rows = []
    for target, by_units in content["test"].items():
        rows_of_target = table[table["target_key"] == target]
        row = description | {"target": quantities.set_name((target,), quantities.sets("target"))}
        row |= {f"sample_{name}": value for name, value in flatten_dict(by_units, sep="_").items()}
        for units in UNITS:
            values = metrics.of_snapshots(rows_of_target, units)
            row |= {f"snapshot_{units}_{name}": value for name, value in values.items()}
        rows.append(row | fields)
    return pd.DataFrame(rows)


def _describe(run_dir: RunDirectory, record: dict) -> dict:
    """Return the description of a run from its record."""
    try:
        # Its members have different hyperparameters: their mean is no result of any of them.
        if record["config"]["ensemble"]["size"] > 1 and run_config.is_sweep(ConfigDict(record["config"])):
            raise RunTableError(
                f"{run_dir.path} is a sweep over hyperparameters; its best run is in {run_dir.path}-best"
            )
        data, model = record["config"]["data"], record["config"]["model"]
        model = {name: tuple(v) if isinstance(v, list) else v for name, v in model.items()}
        hparams = {name: value for name, value in model.items() if name != "name"}
        unknown = set(hparams) - set(factory.hyperparameters(model["name"]))
        if unknown:
            raise RunTableError(
                f"{run_dir.config}: {model['name']} has no hyperparameter {', '.join(sorted(unknown))} in "
                "this version"
            )
        # A run of an earlier version may lack hyperparameters that were added since.
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
        raise RunTableError(f"{run_dir.config} is damaged ({type(error).__name__}: {error})") from error


def _read_metrics(run_dir: RunDirectory) -> dict:
    """Return the content of test_metrics.json; raise RunTableError if an entry is missing."""
    try:
        content = files.read_json(run_dir.test_metrics)
        # Conversions that fail, rather than checks, for what is missing or no number.
        for name in NUMBERS:
            int(content[name])
        for by_units in content["test"].values():
            for units in UNITS:
                float(by_units[units]["mae"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunTableError(f"{run_dir.test_metrics} is damaged ({type(error).__name__}: {error})") from error
    return content


def _read_table(run_dir: RunDirectory) -> pd.DataFrame:
    """Return the test table; raise RunTableError if a column is missing, or a number is not finite."""
    try:
        table = pd.read_parquet(run_dir.test_table)
    except FileNotFoundError as error:
        raise RunTableError(
            f"{run_dir.test_table} is missing: if the run directory was renamed, give it its old name again"
        ) from error
    except (OSError, ValueError) as error:  # pyarrow's errors are among them
        raise RunTableError(f"{run_dir.test_table} cannot be read: {error}") from error
    missing = _TABLE_COLUMNS - set(table)
    if missing or table.empty:
        raise RunTableError(f"{run_dir.test_table} lacks {', '.join(sorted(missing)) or 'rows'}")
    numbers = table[sorted(_TABLE_COLUMNS - {"target_key", "snapshot_id"})]
    if not np.isfinite(numbers.to_numpy(np.float64)).all():
        raise RunTableError(f"{run_dir.test_table} contains values that are not finite")
    return table


def _plain(value):
    """Return a value of a config as one that fits into a column: a list as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value
