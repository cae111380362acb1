"""Trains and tests one model: one config in, one finished run directory out.

    python -m starjax.main --config=deep_sets --config.optim.learning_rate=1e-4

    --config=NAME                   deep_sets set_transformer summary_stats
                                    posterior posterior_incomplete; or a FILE
    --config.data.dataset=DIR       of starjax.data.build; tfds:NAME [sample]
    --config.data.target_keys=time  what it tells [total_mass_within_2x_r_tidal]
    --config.name=NAME              makes OUTPUT_BASE/experiments/NAME
    --config.train.max_epochs=100   any field is set like this

The same command, given again, goes on where the run stands. Of many processes
that do not find each other, each is told
--coordinator_address=HOST:PORT --num_processes=N --process_id=I.
"""

import contextlib
import shutil

import jax
from absl import flags
from ml_collections import ConfigDict

from starjax import (
    command,
    config_flag,
    cross_validation,
    distributed,
    ensemble,
    environment,
    experiment,
    finished,
    functional,
    lock,
    log,
    outcome,
    prepare,
    processes,
    results,
    signals,
    train,
)
from starjax import config as config_lib
from starjax.checkpoint import Checkpoints
from starjax.data import placement
from starjax.data.dataset import Dataset
from starjax.experiment import Experiment
from starjax.record import Recorder


def run(config: ConfigDict) -> Experiment:
    """Trains and tests the run of `config`, or what of that is still to be done, and says what came out.

    Returns:
      The run directory.

    Raises:
      errors.StarjaxError: the config, the data set or the directory does not allow it, or the loss is
        not finite.
    """
    config_lib.check(config, jax.device_count())
    place = experiment.locate(config)
    best = _best(config, place)
    if best and experiment.find(place) is None and best.directory.exists():
        raise experiment.ExperimentError(
            f"{best.directory} is there, the best member of another sweep: remove it, or name another config.name"
        )
    _finish(config, place)
    if distributed.is_main_process():
        if config.profile and not place.profile.exists():
            log.warning(
                f"config.profile={config.profile}: that epoch was not trained here, so that there is no trace"
            )
        outcome.report(place, best)
    return place


def _best(config: ConfigDict, place: Experiment) -> Experiment | None:
    """Where the best member of a sweep stands as a run of its own; None where there is no such."""
    return results.best_of(place) if ensemble.is_sweep(config) and config.ensemble.size > 1 else None


def _finish(config: ConfigDict, place: Experiment, stored: Dataset | None = None) -> None:
    """Does what of a run is still to be done; `stored` is its data set, where it is at hand (see `prepare.read`)."""
    record = experiment.find(place)
    best = _best(config, place)
    if best:
        experiment.find(best)
    was_marked = place.test_metrics.exists()
    is_done = finished.is_whole(place) and (best is None or finished.is_whole(best))
    if was_marked and not is_done:
        num_fold = config.ensemble.num_fold
        finished.check_can_be_made_anew(place, is_of_others=num_fold > 0)
        for number in range(num_fold):
            finished.check_can_be_made_anew(place.fold(number), is_of_others=False)
        if best:
            finished.check_can_be_made_anew(best, is_of_others=True)
    # All processes look at what is there before one of them writes.
    distributed.wait_for_all("run directory found")
    experiment.check_all_find(place, record is not None, is_done)
    stored = stored or prepare.read(config, record)
    if record is not None:
        experiment.check_same(place, record, config, stored)
    is_writer = distributed.is_main_process()
    if is_done:
        if is_writer:
            lock.remove_stale(place.directory)
        distributed.say(f"{place.directory} holds this run already, finished: nothing to do")
        return
    with lock.held(place.directory) if is_writer else contextlib.nullcontext():
        if is_writer:
            # Before the lock, another process may have been at work here.
            if experiment.find(place) != record or (was_marked != place.test_metrics.exists()):
                raise experiment.ExperimentError(
                    f"{place.directory} was changed by another process meanwhile: start again"
                )
            place.test_metrics.unlink(missing_ok=True)  # of a run that is not whole
        _make(config, place, stored, record)


def _make(config: ConfigDict, place: Experiment, stored: Dataset, record: dict | None) -> None:
    """Trains and tests, from where the run stands."""
    if config.ensemble.num_fold:
        _describe(place, config, stored, record, layout=None)
        _train_and_test_folds(config, stored, place)
    else:
        data, chosen = prepare.load(config, record, stored)
        distributed.say(
            f"{config.model.name}: compiling for {jax.device_count()} device(s), or reading what was compiled before"
        )
        source = prepare.place_stars(config, data, chosen)
        if record is not None:
            experiment.check_left_out(place, record, config, data)
            experiment.check_layout(place, record, source.layout)
        setup = prepare.set_up(config, data, source, record)
        _describe(place, config, data, record, setup.layout)
        _train_and_test(config, setup, place)


def _describe(
    place: Experiment, config: ConfigDict, data: Dataset, record: dict | None, layout: dict | None
) -> None:
    """Makes a run directory, where there is none yet."""
    if distributed.is_main_process():
        if record is None:
            experiment.create(place, config, data, layout)
        experiment.save_scalers(place, data)
    distributed.wait_for_all("run directory described")
    experiment.check_is_seen(place)


def _train_and_test_folds(config: ConfigDict, stored: Dataset, place: Experiment) -> None:
    num_fold, folds = config.ensemble.num_fold, []
    for number in range(num_fold):
        distributed.say(f"fold {number + 1} of {num_fold} is left out ({place.fold(number).name})")
        of_fold = ensemble.of_fold(config, number)
        _finish(of_fold, place.fold(number), stored)
        folds.append(cross_validation.read(of_fold, place.fold(number), stored))
    cross_validation.combine(config, stored, place, folds)


def _train_and_test(config: ConfigDict, setup: prepare.Setup, place: Experiment) -> None:
    data, source, trainer = setup.data, setup.source, setup.trainer
    is_writer = distributed.is_main_process()
    train_shard = data.shards["train"]
    num_sample = train_shard.num_snapshot * config.data.num_sample_per_snapshot
    num_member = len(trainer.members)
    num_param = functional.num_params(trainer.initial_state["params"]) // num_member
    of_members = f"{num_member} members of " if num_member > 1 else ""
    distributed.say(
        f"{of_members}{config.model.name} with {num_param} parameters, "
        f"{train_shard.num_snapshot} training snapshots ({placement.num_bytes(train_shard) / 2**20:,.0f} MiB, "
        f"{source.placement}), {trainer.mesh.size} device(s); {trainer.num_step} steps an epoch of "
        f"{config.train.batch_size} samples, {trainer.micro_batch_size} at a time on each device"
    )
    recorder = Recorder(place, config.train.max_epochs, num_sample, is_writer, config.profile)
    with (
        Checkpoints(place.checkpoints) as checkpoints,
        Checkpoints(place.interrupted) as interrupted,
        recorder,
    ):
        kept = train.Kept(checkpoints, interrupted, recorder)
        arrays, progress = train.fit(config, trainer, source, setup.evaluator, kept)
    if is_writer:
        shutil.rmtree(place.interrupted)
    with signals.standing("the model is trained, what remains is its test"):
        results.write(config, place, data, setup.layout, setup.evaluator, arrays, progress)


def run_command() -> None:
    """The command: parses its flags, joins the other processes if there are any, and runs."""
    config = config_flag.define("set_transformer")
    coordinator = flags.DEFINE_string(
        "coordinator_address", None, "host:port of process 0, for a run of many processes."
    )
    num_processes = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
    process_id = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")

    def main(_) -> None:
        config_lib.check(config.value, num_device=1)  # what is wrong whatever the devices
        environment.keep_compiled(config.value.output_base)
        if not processes.initialize(coordinator.value, num_processes.value, process_id.value):
            distributed.use_cores(config.value.train.batch_size)
        run(config.value)

    command.run(main)


if __name__ == "__main__":
    run_command()
