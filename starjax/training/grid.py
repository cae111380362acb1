"""Trains, tests and ranks a grid of runs: architectures × features × targets.

    starjax grid --config=grid
    starjax grid --config=grid --shard=$SLURM_ARRAY_TASK_ID/8

    --config=grid                   136 runs, or a file of your own
    --config.models=deep_sets       some models; their sizes: config.sizes.MODEL
    --config.target_sets=time       some targets; config.feature_sets: features
    --config.base.data.dataset=DIR  what runs share is set below config.base
    --shard=i/n                     the i-th of n parts, i from 1 to n

What is done is skipped: the same command, given again, goes on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from starjax import errors, models, quantities
from starjax.datasets.load import load_dataset
from starjax.errors import ConfigError
from starjax.models import naming
from starjax.reports.ranking import summarize
from starjax.runs import integrity
from starjax.runs.config_record import config_digest
from starjax.runs.directory import locate_run
from starjax.runtime import devices, log
from starjax.training.run import train_and_test
from starjax.training.validate_config import check_config


class GridError(errors.StarjaxError):
    """A grid of which not all runs could be made."""


def grid_configs(config: ConfigDict) -> list[ConfigDict]:
    """The config of every run of the grid, each with a name that tells its model, features and targets.

    Raises:
      ConfigError: a list is empty, or has an entry that is not known or comes twice.
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
    made = [
        _cell(config.base, {"name": model, **hparams}, features, targets)
        for model in config.models
        for hparams in _sized(config, model)
        for features in feature_sets
        for targets in target_sets
    ]
    found = [cell.name for cell in made]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice:
        raise ConfigError(f"the grid has {twice} twice: name each model, size and set once")
    return made


def _columns(field: str, given: Sequence, known: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The columns of every set, named or spelled out."""
    unknown = [entry for entry in given if not isinstance(entry, tuple) and entry not in known]
    if unknown or not given:
        raise ConfigError(
            f"config.{field}={given!r} should hold some of {', '.join(known)}, or tuples of columns"
        )
    return [entry if isinstance(entry, tuple) else known[entry] for entry in given]


def _sized(config: ConfigDict, model: str) -> list[dict]:
    """The hyperparameters of every size of a model."""
    if model not in config.sizes:
        raise ConfigError(f"config.models={config.models!r} should hold some of {', '.join(config.sizes)}")
    sizes = config.sizes[model]
    if not sizes or not all(isinstance(size, tuple) for size in sizes):
        raise ConfigError(f"config.sizes.{model}={sizes!r} should hold sizes, each a tuple: ((…), (…))")
    try:
        return [naming.hyperparameters(model, size) for size in sizes]
    except ConfigError as error:
        raise ConfigError(f"config.sizes.{model}: {error}") from error


def _cell(base: ConfigDict, model: dict, features: tuple[str, ...], targets: tuple[str, ...]) -> ConfigDict:
    """`base` with what the grid sets."""
    cell = ConfigDict(base.to_dict())
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


def check_grid(made: Sequence[ConfigDict], num_device: int) -> None:
    """Refuses the grid where any of its cells cannot be trained.

    Raises:
      ConfigError: names the first such cell, the field, what was given and what is allowed.
    """
    for cell in made:
        try:
            check_config(cell, num_device)
            models.num_params(cell.model, len(cell.data.feature_keys), len(cell.data.target_keys))
        except ConfigError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def job_share(made: Sequence[ConfigDict], shard: tuple[int, int]) -> list[ConfigDict]:
    """Every n-th cell from the i-th on, so that each part gets some of the large models."""
    number, count = shard
    return list(made[number - 1 :: count])


def run_grid(config: ConfigDict, shard: tuple[int, int] = (1, 1)) -> None:
    """Makes the runs of the grid, or of a part of it, that are not done yet, and ranks all that are.

    Raises:
      ConfigError: a cell cannot be trained; none has been started.
      dataset.DatasetError: the data set is not there.
      GridError: some runs failed; the others have been made.
    """
    made = grid_configs(config)
    check_grid(made, jax.device_count())
    fingerprint = _fingerprint(made)
    mine = job_share(made, shard)
    failed = {}
    for number, cell in enumerate(mine, start=1):
        run_dir = locate_run(cell)
        is_done = integrity.is_finished_on(run_dir, fingerprint)
        devices.log_on_main_process(f"run {number} of {len(mine)}: {cell.name}{', done before' if is_done else ''}")
        if is_done:
            continue
        try:
            train_and_test(cell)
        except errors.StarjaxError as error:
            if jax.process_count() > 1:  # the other processes may wait for this one
                raise
            failed[cell.name] = error
            log.warning(f"failed: {error}")
        # What was compiled for one model is of no use to the next.
        jax.clear_caches()
    if devices.is_main_process():
        _rank(made, fingerprint, Path(config.base.output_base), shard)
    if failed:
        for name, error in failed.items():
            print(f"failed: {name}: {error}")
        raise GridError(f"{len(failed)} of {len(mine)} runs failed; the same command tries them again")


def _fingerprint(made: Sequence[ConfigDict]) -> str:
    """That of the data set, which is found to have every column that some cell needs."""
    features = dict.fromkeys(key for cell in made for key in cell.data.feature_keys)
    targets = dict.fromkeys(key for cell in made for key in cell.data.target_keys)
    name = made[0].data.dataset
    return load_dataset(name, tuple(features), tuple(targets), mapped=True).fingerprint


def _rank(made: Sequence[ConfigDict], fingerprint: str, output_base: Path, shard: tuple[int, int]) -> None:
    """Ranks the finished runs of the grid on this data set, those of other parts included."""
    run_dirs = [locate_run(cell) for cell in made]
    done = [run_dir.path for run_dir in run_dirs if integrity.is_finished_on(run_dir, fingerprint)]
    print(f"{len(done)} of the {len(made)} runs of the grid are finished")
    if done:
        # Parts may end at the same time.
        suffix = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
        summarize(done, output_base / f"grid-summary{suffix}")
