"""Trains, tests and ranks a grid of runs: architectures × features × targets.

    python -m starjax.grid --config=grid
    python -m starjax.grid --config=grid --shard=$SLURM_ARRAY_TASK_ID/8

    --config=grid                   136 runs, or a file of your own
    --config.models=deep_sets       some models; their sizes: config.sizes.MODEL
    --config.target_sets=time       some targets; config.feature_sets: features
    --config.base.data.dataset=DIR  what runs share is set below config.base
    --shard=i/n                     the i-th of n parts, i from 1 to n

What is done is skipped: the same command, given again, goes on.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from starjax import (
    command,
    config_flag,
    distributed,
    environment,
    errors,
    experiment,
    finished,
    log,
    main,
    models,
    names,
    processes,
    summary,
)
from starjax import config as config_lib
from starjax.data import dataset
from starjax.errors import ConfigError


class GridError(errors.StarjaxError):
    """A grid of which not all runs could be made."""


def cells(config: ConfigDict) -> list[ConfigDict]:
    """The config of every run of the grid, each with a name that tells its model, features and targets.

    Raises:
      ConfigError: a list is empty, or has an entry that is not known or comes twice.
    """
    missing = [
        name for name in ("base", "models", "sizes", "feature_sets", "target_sets") if name not in config
    ]
    if missing:
        raise ConfigError(f"the config has no {', '.join(missing)}: a grid, such as --config=grid, is needed")
    feature_sets = _columns("feature_sets", config.feature_sets, names.FEATURE_SETS)
    target_sets = _columns("target_sets", config.target_sets, names.TARGET_SETS)
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
        return [names.hyperparameters(model, size) for size in sizes]
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
        names.architecture(model["name"], hparams),
        names.of_keys(features, names.FEATURE_SETS),
        names.of_keys(targets, names.TARGET_SETS),
    )
    cell.name = f"{'_'.join(parts)}-{config_lib.digest(cell)}"
    return cell.lock()


def check(made: Sequence[ConfigDict], num_device: int) -> None:
    """Refuses the grid where any of its cells cannot be trained.

    Raises:
      ConfigError: names the first such cell, the field, what was given and what is allowed.
    """
    for cell in made:
        try:
            config_lib.check(cell, num_device)
            models.num_params(cell.model, len(cell.data.feature_keys), len(cell.data.target_keys))
        except ConfigError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of 'i/n', the i-th of n parts, from 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--shard={text} should be i/n with i from 1 to n, such as 1/8")
    return number, count


def part(made: Sequence[ConfigDict], shard: tuple[int, int]) -> list[ConfigDict]:
    """Every n-th cell from the i-th on, so that each part gets some of the large models."""
    number, count = shard
    return list(made[number - 1 :: count])


def run(config: ConfigDict, shard: tuple[int, int] = (1, 1)) -> None:
    """Makes the runs of the grid, or of a part of it, that are not done yet, and ranks all that are.

    Raises:
      ConfigError: a cell cannot be trained; none has been started.
      dataset.DatasetError: the data set is not there.
      GridError: some runs failed; the others have been made.
    """
    made = cells(config)
    check(made, jax.device_count())
    fingerprint = _fingerprint(made)
    mine = part(made, shard)
    failed = {}
    for number, cell in enumerate(mine, start=1):
        place = experiment.locate(cell)
        is_done = finished.is_on(place, fingerprint)
        distributed.say(f"run {number} of {len(mine)}: {cell.name}{', done before' if is_done else ''}")
        if is_done:
            continue
        try:
            main.run(cell)
        except errors.StarjaxError as error:
            if jax.process_count() > 1:  # the other processes may wait for this one
                raise
            failed[cell.name] = error
            log.warning(f"failed: {error}")
        # What was compiled for one model is of no use to the next.
        jax.clear_caches()
    if distributed.is_main_process():
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
    return dataset.load(name, tuple(features), tuple(targets), mapped=True).fingerprint


def _rank(made: Sequence[ConfigDict], fingerprint: str, output_base: Path, shard: tuple[int, int]) -> None:
    """Ranks the finished runs of the grid on this data set, those of other parts included."""
    places = [experiment.locate(cell) for cell in made]
    done = [place.directory for place in places if finished.is_on(place, fingerprint)]
    print(f"{len(done)} of the {len(made)} runs of the grid are finished")
    if done:
        # Parts may end at the same time.
        suffix = "" if shard[1] == 1 else f"-{shard[0]}-of-{shard[1]}"
        summary.summarize(done, output_base / f"grid-summary{suffix}")


def run_command() -> None:
    """The command: parses its flags, and runs the grid on all devices."""
    config = config_flag.define("grid")
    shard = flags.DEFINE_string("shard", "1/1", "i/n: the i-th of n parts of the grid, i from 1 to n.")

    def run_grid(_) -> None:
        which = parse_shard(shard.value)
        check(cells(config.value), num_device=1)  # what is wrong whatever the devices
        environment.keep_compiled(config.value.base.output_base)
        if not processes.initialize(None, None, None):
            distributed.use_cores(config.value.base.train.batch_size)
        run(config.value, which)

    command.run(run_grid)


if __name__ == "__main__":
    run_command()
