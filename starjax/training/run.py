"""A training run, from its config to a finished run directory."""

import contextlib
import shutil

import jax
from ml_collections import ConfigDict

from starjax.io import directory_lock
from starjax.models import factory
from starjax.reports import console_summary
from starjax.runs import run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectory, RunDirectoryError, locate_run
from starjax.runs.metrics_log import MetricsLogger
from starjax.runs.state import RunState, RunStatus, inspect
from starjax.runtime import devices, log, signals
from starjax.sampling import device_placement
from starjax.training import loop
from starjax.training.init_params import read_source, rescale
from starjax.training.prepare import RunContext, Setup, prepare, read_dataset
from starjax.training.validate_config import check_config


def train_and_test(config: ConfigDict) -> RunDirectory:
    """Train and test the run of `config`, or do what remains to be done of it, and print a summary.

    Returns:
      The run directory.

    Raises:
      errors.StarjaxError: the config, the data set or the run directory cannot be used, or the loss is not
        finite.
    """
    check_config(config, jax.device_count())
    run_dir = locate_run(config)
    _finish(config, run_dir)
    if devices.is_main_process():
        if config.profile and not run_dir.profile.exists():
            log.warning(
                f"config.profile={config.profile}: that epoch was trained before, so there is no trace"
            )
        console_summary.print_summary(run_dir, _best_member(config, run_dir))
    return run_dir


def _finish(config: ConfigDict, run_dir: RunDirectory, whole: RunContext | None = None) -> None:
    """Do what remains to be done of a run: everything, the part after the last checkpoint, or nothing.

    Args:
      whole: of a fold, the run that it is a part of, with the same data set and source.
    """
    # Everything that may refuse the run comes before the first write: a refused run stays as it was.
    states = _inspect(config, run_dir)
    state, status = states[0], _status(states)
    if status is RunStatus.DAMAGED:
        _check_rebuildable(config, states)
    # All processes look at the directory before one of them writes to it.
    devices.sync_processes("run directory inspected")
    for one in states:
        one.check_shared()
    # First, since the data set may take long to read. A finished run no longer needs its source.
    source = None if whole or status is RunStatus.FINISHED else read_source(config)
    stored = whole.stored if whole else rescale(config, read_dataset(config, state.record), source)
    run = RunContext(config, state, stored, whole.source if whole else source)
    state.check_same(config, stored)
    state.check_source(run.source_sha256)
    is_writer = devices.is_main_process()
    if status is RunStatus.FINISHED:
        if is_writer:
            # Left by a process that was killed after it marked the run as finished.
            directory_lock.remove_stale(run_dir.path)
        devices.log_on_main_process(f"{run_dir.path} holds this run, finished: nothing to do")
        return
    # The main process holds the lock for all processes of the run.
    with directory_lock.locked(run_dir.path) if is_writer else contextlib.nullcontext():
        if is_writer:
            # Another run may have worked here before this one got the lock.
            if _inspect(config, run_dir) != states:
                raise RunDirectoryError(
                    f"{run_dir.path} was changed by another process in the meantime: start again"
                )
            run_dir.test_metrics.unlink(missing_ok=True)  # of a damaged run, which is unfinished from here on
        if config.ensemble.num_fold:
            _train_folds(run)
        else:
            _train(run)


def _inspect(config: ConfigDict, run_dir: RunDirectory) -> list[RunState]:
    """Return the state of a run, and for a sweep also that of the run of its best member.

    Raises:
      RunDirectoryError: the run cannot be trained there.
    """
    state, best = inspect(run_dir), _best_member(config, run_dir)
    state.check_trainable()
    if best is None:
        return [state]
    best_state = inspect(best)
    if state.status is RunStatus.ABSENT and best.path.exists():
        raise RunDirectoryError(
            f"{best.path} is the best member of another sweep: remove it, or name another config.name"
        )
    best_state.check_trainable()
    return [state, best_state]


def _status(states: list[RunState]) -> RunStatus:
    """Return the status of a run; a finished sweep without its finished best member is damaged."""
    run, *best = states
    if run.status is RunStatus.FINISHED and any(one.status is not RunStatus.FINISHED for one in best):
        return RunStatus.DAMAGED
    return run.status


def _best_member(config: ConfigDict, run_dir: RunDirectory) -> RunDirectory | None:
    """Return the directory of the best member of a sweep; None if the run is no sweep."""
    return run_dir.best_member if run_config.is_sweep(config) and config.ensemble.size > 1 else None


def _check_rebuildable(config: ConfigDict, states: list[RunState]) -> None:
    """Report damaged files; raise RunDirectoryError if some cannot be rebuilt, before anything is changed."""
    for state in states:
        if state.status is RunStatus.DAMAGED:
            log.warning(f"{state.run_dir.path}: {state.describe_damage()}")
    run, *best = states
    run.check_rebuildable(is_assembled=config.ensemble.num_fold > 0)
    for state in best:
        state.check_rebuildable(is_assembled=True)
    for number in range(config.ensemble.num_fold):
        fold = inspect(run.run_dir.fold(number))
        fold.check_trainable()
        fold.check_rebuildable(is_assembled=False)


def _train_folds(run: RunContext) -> None:
    """Train the run of each fold, and put them together."""
    # Not at the top: it imports matplotlib and astropy, which training does not need.
    from starjax.training import cross_validation

    config, num_fold = run.config, run.config.ensemble.num_fold
    run.state.write_record(config, run.stored, None, run.source_sha256)
    folds = []
    for number in range(num_fold):
        fold_config, fold_dir = run_config.fold_config(config, number), run.run_dir.fold(number)
        devices.log_on_main_process(f"fold {number + 1} of {num_fold} is left out ({fold_dir.name})")
        _finish(fold_config, fold_dir, run)
        fold = RunContext(fold_config, inspect(fold_dir), run.stored, run.source)
        folds.append(cross_validation.read_fold(fold))
    cross_validation.combine_folds(run, folds)


def _train(run: RunContext) -> None:
    """Train and test a run without folds."""
    config, run_dir, is_writer = run.config, run.run_dir, devices.is_main_process()
    devices.log_on_main_process(
        f"{config.model.name}: compiling for {jax.device_count()} device(s), or reading what was compiled "
        "before"
    )
    setup = prepare(run)
    # Not before the steps are compiled, which determines the micro-batch size in the record.
    run.state.write_record(config, setup.data, setup.layout, run.source_sha256)
    devices.log_on_main_process(_describe(config, setup))
    num_sample = setup.data.shards["train"].num_snapshot * config.data.num_sample_per_snapshot
    metrics = MetricsLogger(run_dir, config.train.max_epochs, num_sample, is_writer, config.profile)
    with (
        Checkpoints(run_dir.checkpoints) as checkpoints,
        Checkpoints(run_dir.interrupted) as interrupted,
        metrics,
    ):
        trained = loop.fit(config, setup, loop.Storage(checkpoints, interrupted, metrics))
    if is_writer:
        # Only a run that was stopped within an epoch needs it.
        shutil.rmtree(run_dir.interrupted)
    with signals.stop_message("the model is trained and saved, its test is not finished"):
        # Not at the top: it imports matplotlib and astropy, which training does not need.
        from starjax.training import write_results

        write_results.test_and_write(run, setup, trained)


def _describe(config: ConfigDict, setup: Setup) -> str:
    """Return one line about the model, the data and the devices."""
    trainer, train_shard = setup.trainer, setup.data.shards["train"]
    num_member = len(trainer.members)
    num_param = factory.num_params(config.model, *run_config.model_shape(config))
    members = f"{num_member} members of " if num_member > 1 else ""
    megabytes = device_placement.num_bytes(train_shard) / 2**20
    return (
        f"{members}{config.model.name} with {num_param} parameters, "
        f"{train_shard.num_snapshot} training snapshots ({megabytes:,.0f} MiB, {setup.source.placement}), "
        f"{trainer.mesh.size} device(s); {trainer.num_step} steps an epoch of {config.train.batch_size} "
        f"samples, {trainer.micro_batch_size} at a time on each device"
    )
