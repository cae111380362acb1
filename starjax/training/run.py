"""A training run from its config to a finished run directory, or what of that is still to be done."""

import contextlib
import shutil

import jax
from ml_collections import ConfigDict

from starjax.datasets.dataset import Dataset
from starjax.io import directory_lock
from starjax.models.factory import count_params
from starjax.reports import console_summary
from starjax.runs import integrity, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import (
    RunDirectory,
    RunDirectoryError,
    check_all_find,
    check_is_seen,
    check_layout,
    check_left_out,
    check_same,
    create,
    find_record,
    locate_run,
    save_scalers,
)
from starjax.runs.metrics_log import MetricsLogger
from starjax.runtime import devices, log, signals
from starjax.sampling import device_placement
from starjax.training import cross_validation, loop, prepare, write_results
from starjax.training.validate_config import check_config


def train_and_test(config: ConfigDict) -> RunDirectory:
    """Trains and tests the run of `config`, or what of that is still to be done, and says what came out.

    Returns:
      The run directory.

    Raises:
      errors.StarjaxError: the config, the data set or the directory does not allow it, or the loss is
        not finite.
    """
    check_config(config, jax.device_count())
    run_dir = locate_run(config)
    best = _best(config, run_dir)
    if best and find_record(run_dir) is None and best.path.exists():
        raise RunDirectoryError(
            f"{best.path} is there, the best member of another sweep: remove it, or name another config.name"
        )
    _finish(config, run_dir)
    if devices.is_main_process():
        if config.profile and not run_dir.profile.exists():
            log.warning(
                f"config.profile={config.profile}: that epoch was not trained here, so that there is no trace"
            )
        console_summary.print_summary(run_dir, best)
    return run_dir


def _best(config: ConfigDict, run_dir: RunDirectory) -> RunDirectory | None:
    """Where the best member of a sweep stands as a run of its own; None where there is no such."""
    return (
        write_results.best_of(run_dir) if run_config.is_sweep(config) and config.ensemble.size > 1 else None
    )


def _finish(config: ConfigDict, run_dir: RunDirectory, stored: Dataset | None = None) -> None:
    """Does what of a run is still to be done; `stored` is its data set, where it is at hand (see `prepare.read`)."""
    record = find_record(run_dir)
    best = _best(config, run_dir)
    if best:
        find_record(best)
    was_marked = run_dir.test_metrics.exists()
    is_done = integrity.is_intact(run_dir) and (best is None or integrity.is_intact(best))
    if was_marked and not is_done:
        num_fold = config.ensemble.num_fold
        integrity.check_can_be_rebuilt(run_dir, is_of_others=num_fold > 0)
        for number in range(num_fold):
            integrity.check_can_be_rebuilt(run_dir.fold(number), is_of_others=False)
        if best:
            integrity.check_can_be_rebuilt(best, is_of_others=True)
    # All processes look at what is there before one of them writes.
    devices.sync_processes("run directory found")
    check_all_find(run_dir, record is not None, is_done)
    stored = stored or prepare.read(config, record)
    if record is not None:
        check_same(run_dir, record, config, stored)
    is_writer = devices.is_main_process()
    if is_done:
        if is_writer:
            directory_lock.remove_stale(run_dir.path)
        devices.log_on_main_process(f"{run_dir.path} holds this run already, finished: nothing to do")
        return
    with directory_lock.locked(run_dir.path) if is_writer else contextlib.nullcontext():
        if is_writer:
            # Before the lock, another process may have been at work here.
            if find_record(run_dir) != record or (was_marked != run_dir.test_metrics.exists()):
                raise RunDirectoryError(
                    f"{run_dir.path} was changed by another process meanwhile: start again"
                )
            run_dir.test_metrics.unlink(missing_ok=True)  # of a run that is not whole
        _make(config, run_dir, stored, record)


def _make(config: ConfigDict, run_dir: RunDirectory, stored: Dataset, record: dict | None) -> None:
    """Trains and tests, from where the run stands."""
    if config.ensemble.num_fold:
        _describe(run_dir, config, stored, record, layout=None)
        _train_and_test_folds(config, stored, run_dir)
    else:
        data, chosen = prepare.load(config, record, stored)
        devices.log_on_main_process(
            f"{config.model.name}: compiling for {jax.device_count()} device(s), or reading what was compiled before"
        )
        source = prepare.place_stars(config, data, chosen)
        if record is not None:
            check_left_out(run_dir, record, config, data)
            check_layout(run_dir, record, source.layout)
        setup = prepare.set_up(config, data, source, record)
        _describe(run_dir, config, data, record, setup.layout)
        _train_and_test(config, setup, run_dir)


def _describe(
    run_dir: RunDirectory, config: ConfigDict, data: Dataset, record: dict | None, layout: dict | None
) -> None:
    """Makes a run directory, where there is none yet."""
    if devices.is_main_process():
        if record is None:
            create(run_dir, config, data, layout)
        save_scalers(run_dir, data)
    devices.sync_processes("run directory described")
    check_is_seen(run_dir)


def _train_and_test_folds(config: ConfigDict, stored: Dataset, run_dir: RunDirectory) -> None:
    num_fold, folds = config.ensemble.num_fold, []
    for number in range(num_fold):
        devices.log_on_main_process(f"fold {number + 1} of {num_fold} is left out ({run_dir.fold(number).name})")
        of_fold = run_config.fold_config(config, number)
        _finish(of_fold, run_dir.fold(number), stored)
        folds.append(cross_validation.read_fold(of_fold, run_dir.fold(number), stored))
    cross_validation.combine_folds(config, stored, run_dir, folds)


def _train_and_test(config: ConfigDict, setup: prepare.Setup, run_dir: RunDirectory) -> None:
    data, source, trainer = setup.data, setup.source, setup.trainer
    is_writer = devices.is_main_process()
    train_shard = data.shards["train"]
    num_sample = train_shard.num_snapshot * config.data.num_sample_per_snapshot
    num_member = len(trainer.members)
    num_param = count_params(trainer.initial_state["params"]) // num_member
    of_members = f"{num_member} members of " if num_member > 1 else ""
    devices.log_on_main_process(
        f"{of_members}{config.model.name} with {num_param} parameters, "
        f"{train_shard.num_snapshot} training snapshots ({device_placement.num_bytes(train_shard) / 2**20:,.0f} MiB, "
        f"{source.placement}), {trainer.mesh.size} device(s); {trainer.num_step} steps an epoch of "
        f"{config.train.batch_size} samples, {trainer.micro_batch_size} at a time on each device"
    )
    recorder = MetricsLogger(run_dir, config.train.max_epochs, num_sample, is_writer, config.profile)
    with (
        Checkpoints(run_dir.checkpoints) as checkpoints,
        Checkpoints(run_dir.interrupted) as interrupted,
        recorder,
    ):
        kept = loop.CheckpointState(checkpoints, interrupted, recorder)
        arrays, progress = loop.fit(config, trainer, source, setup.evaluator, kept)
    if is_writer:
        shutil.rmtree(run_dir.interrupted)
    with signals.stop_message("the model is trained, what remains is its test"):
        write_results.test_and_write(config, run_dir, data, setup.layout, setup.evaluator, arrays, progress)
