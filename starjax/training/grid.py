"""A grid of runs: architectures × features × targets, each trained and tested, and all ranked together.

Finished runs are skipped, so that the same command, given again, resumes. A *cell* is the config of one run.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from starjax import errors, quantities
from starjax.datasets.load import load_dataset
from starjax.errors import ConfigError
from starjax.models import naming
from starjax.reports.ranking import summarize
from starjax.runs.config_record import config_digest
from starjax.runs.directory import locate_run
from starjax.runs.state import RunStatus, inspect
from starjax.runtime import devices, log
from starjax.training.run import train_and_test
from starjax.training.validate_config import check_config


class GridError(errors.StarjaxError):
    """A grid in which some runs failed."""


def grid_configs(config: ConfigDict) -> list[ConfigDict]:
    """Return the config of every run of the grid, named by its model, features and targets.

    Raises:
      ConfigError: a list is empty, or has an unknown or repeated entry.
    """
    missing = [
        name for name in ("base", "models", "sizes", "feature_sets", "target_sets") if name not in config
    ]
    if missing:
        raise ConfigError(f"the config has no {', '.join(missing)}: a grid, such as --config=grid, is needed")
    feature_sets = _columns("feature_sets", config.feature_sets, quantities.sets("feature"))
    target_sets = _columns("target_sets", config.target_sets, quantities.sets("target"))
    if not config.models:
        raise ConfigError("config.models=() should name at least one model")
    cells = [
        _cell(config.base, {"name": model, **hparams}, features, targets)
        for model in config.models
        for hparams in _sizes(config, model)
        for features in feature_sets
        for targets in target_sets
    ]
    names = [cell.name for cell in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"the grid has {twice} twice: name each model, size and set once")
    return cells


def _columns(field: str, given: Sequence, known: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the columns of every set, given by its name or as a tuple of columns."""
    if not given or not all(
        _is_columns(entry) or (isinstance(entry, str) and entry in known) for entry in given
    ):
        raise ConfigError(
            f"config.{field}={given!r} should hold some of {', '.join(known)}, or tuples of columns"
        )
    return [entry if isinstance(entry, tuple) else known[entry] for entry in given]


def _is_columns(entry) -> bool:
    return isinstance(entry, tuple) and len(entry) > 0 and all(isinstance(key, str) for key in entry)


def _sizes(config: ConfigDict, model: str) -> list[dict]:
    """Return the hyperparameters of every size of a model."""
    if model not in config.sizes:
        raise ConfigError(f"config.models={config.models!r} should hold some of {', '.join(config.sizes)}")
    sizes = config.sizes[model]
    if not sizes or not all(isinstance(size, tuple) for size in sizes):
        raise ConfigError(f"config.sizes.{model}={sizes!r} should hold sizes, each a tuple: ((…), (…))")
    try:
        return [naming.sized_hyperparameters(model, size) for size in sizes]
    except ConfigError as error:
        raise ConfigError(f"config.sizes.{model}: {error}") from error


def _cell(base: ConfigDict, model: dict, features: tuple[str, ...], targets: tuple[str, ...]) -> ConfigDict:
    """Return `base` with the model, features and targets of one run, and a name made of them."""
    cell = ConfigDict(base.to_dict())
    # Not fields of a grid: each run has a directory of its own, and resumes there.
    cell.workdir, cell.resume = "", True
    cell.data.feature_keys, cell.data.target_keys = features, targets
    cell.model = ConfigDict(model)
    hparams = {name: value for name, value in model.items() if name != "name"}
    parts = (
        naming.architecture(model["name"], hparams),
        quantities.set_name(features, quantities.sets("feature")),
        quantities.set_name(targets, quantities.sets("target")),
    )
    cell.name = f"{'_'.join(parts)}-{config_digest(cell)}"
    return cell.lock()


def check_grid(cells: Sequence[ConfigDict], num_device: int) -> None:
    """Check that every run of the grid can be trained.

    Raises:
      ConfigError: names the first run that cannot, the field, its value and the allowed values.
    """
    for cell in cells:
        try:
            check_config(cell, num_device)
        except ConfigError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def grid_part(cells: Sequence[ConfigDict], part: tuple[int, int]) -> list[ConfigDict]:
    """Return every n-th config from the i-th on, so that each part gets some of the large models."""
    number, count = part
    return list(cells[number - 1 :: count])


def run_grid(config: ConfigDict, part: tuple[int, int] = (1, 1)) -> None:
    """Train and test the runs of the grid that are not finished, and rank all that are.

    Args:
      part: (i, n): only the i-th of n parts of the grid, from 1.

    Raises:
      ConfigError: a run cannot be trained; none has been started.
      DatasetError: the data set does not exist.
      GridError: some runs failed; the others are finished.
    """
    cells = grid_configs(config)
    check_grid(cells, jax.device_count())
    # Runs of an earlier version of the data set count as not finished.
    fingerprint = _fingerprint(cells)
    own = grid_part(cells, part)
    failed = {}
    for number, cell in enumerate(own, start=1):
        is_done = inspect(locate_run(cell)).is_finished_on(fingerprint)
        devices.log_on_main_process(
            f"run {number} of {len(own)}: {cell.name}{', finished before' if is_done else ''}"
        )
        if is_done:
            continue
        try:
            train_and_test(cell)
        except errors.StarjaxError as error:
            if jax.process_count() > 1:  # the other processes may wait for this one
                raise
            failed[cell.name] = error
            log.warning(f"failed: {error}")
        # Programs compiled for one model are of no use to the next, and take memory.
        jax.clear_caches()
    if devices.is_main_process():
        _rank(cells, fingerprint, Path(config.base.output_base), part)
    if failed:
        for name, reason in failed.items():
            print(f"failed: {name}: {reason}")
        raise GridError(f"{len(failed)} of {len(own)} runs failed; the same command tries them again")


def _fingerprint(cells: Sequence[ConfigDict]) -> str:
    """Return the fingerprint of the data set, after a check that it has every column that a run needs."""
    features = dict.fromkeys(key for cell in cells for key in cell.data.feature_keys)
    targets = dict.fromkeys(key for cell in cells for key in cell.data.target_keys)
    name = cells[0].data.dataset
    return load_dataset(name, tuple(features), tuple(targets), mapped=True).fingerprint


def _rank(cells: Sequence[ConfigDict], fingerprint: str, output_base: Path, part: tuple[int, int]) -> None:
    """Rank the finished runs of the grid on this data set, those of other parts included."""
    states = [inspect(locate_run(cell)) for cell in cells]
    for state in states:
        if state.status is RunStatus.DAMAGED:
            log.warning(f"{state.run_dir.path} is left out: {state.describe_damage()}")
    finished = [state.run_dir.path for state in states if state.is_finished_on(fingerprint)]
    print(f"{len(finished)} of the {len(cells)} runs of the grid are finished")
    if finished:
        # Parts may end at the same time, so each writes a summary of its own.
        suffix = "" if part[1] == 1 else f"-{part[0]}-of-{part[1]}"
        summarize(finished, output_base / f"grid-summary{suffix}")
