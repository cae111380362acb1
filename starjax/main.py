"""Trains and tests one model: one config in, one finished run directory out.

python -m starjax.main --config=configs/set_transformer.py --config.optim.learning_rate=1e-4
"""

import dataclasses
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import ConfigDict

from starjax import (
    assemble,
    command,
    distributed,
    ensemble,
    environment,
    evaluate,
    experiment,
    functional,
    memory,
    outcome,
    results,
    train,
)
from starjax import config as config_lib
from starjax.checkpoint import Checkpoints
from starjax.data import dataset, incompleteness, placement
from starjax.experiment import Experiment
from starjax.record import Recorder


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run made ready: its data, and all that is compiled and placed for them."""

    data: dataset.Dataset
    source: placement.Source
    trainer: assemble.Trainer
    evaluator: evaluate.Evaluator

    @property
    def layout(self) -> dict:
        """What of the devices and their memory decides how a run goes on, beside its config."""
        return self.source.layout | {"micro_batch_size": self.trainer.micro_batch_size}


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
    record, is_finished = experiment.find(place), place.test_metrics.exists()
    best = results.best_of(place) if ensemble.is_sweep(config) and config.ensemble.size > 1 else None
    if best and record is None and best.directory.exists():
        raise experiment.ExperimentError(
            f"{best.directory} is there, the best member of another sweep: remove it, or name another config.name"
        )
    # All processes look at what is there before one of them writes.
    distributed.wait_for_all("run directory found")
    data, chosen = load(config, record)
    if record is not None:
        experiment.check_same(place, record, config, data)
    if is_finished:
        say(f"{place.directory} holds this run already, finished: nothing to do")
    else:
        say(
            f"{config.model.name}: compiling for {jax.device_count()} device(s), or reading what was compiled before"
        )
        source = place_stars(config, data, chosen)
        if record is not None:
            experiment.check_layout(place, record, source.layout)
        _train_and_test(config, set_up(config, data, source, record), place, record)
    if distributed.is_main_process():
        if config.profile and not place.profile.exists():
            print(
                f"config.profile={config.profile}: this epoch was not trained here, so that there is no trace"
            )
        outcome.report(place, best)
    return place


def load(config: ConfigDict, record: dict | None = None) -> tuple[dataset.Dataset, str]:
    """The data set, and where its stars are to be while the model trains: what the config says, or what fits.

    Validation and test clusters are as lists have them (see `incompleteness`); training samples come to be so.

    Args:
      record: of the run that is gone on with (see `experiment.read_record`), whose choice stays.
    """
    name, wanted = config.data.dataset, config.data.placement
    if wanted == "auto" and record is not None:
        wanted = record["layout"]["placement"]
    free = distributed.smallest(memory.free_bytes(jax.local_devices()[0]))
    # What is too large to be held is not to be read into memory either.
    mapped = wanted != "replicated" and (wanted != "auto" or dataset.num_bytes(name) > placement.SHARE * free)
    data = dataset.load(name, tuple(config.data.feature_keys), tuple(config.data.target_keys), mapped=mapped)
    data = incompleteness.observed(config, data, "val", "test")
    return data, wanted if wanted != "auto" else placement.choose(data.shards, jax.device_count(), free)


def place_stars(config: ConfigDict, data: dataset.Dataset, chosen: str) -> placement.Source:
    """Places the training stars as `chosen`, one of `placement.PLACEMENTS`."""
    # Stars that are shared out are so among all devices, as for a lone run, lest its members see other batches.
    mesh = distributed.make_mesh(config.ensemble.size if chosen == "replicated" else 1)
    shard, sample_config = data.shards["train"], assemble.sampler_config(config, data.feature_scalers)
    return placement.place(shard, chosen, sample_config, config.train.batch_size, mesh)


def set_up(
    config: ConfigDict, data: dataset.Dataset, source: placement.Source, record: dict | None = None
) -> Setup:
    """Compiles the steps for the training stars of `source`, and places those of validation and test.

    Args:
      record: of the run that is gone on with: sums over its micro-batches should round as they did.
    """
    mesh = source.mesh
    most = None if record is None else record["layout"]["micro_batch_size"]
    trainer = assemble.trainer(config, data, source, most)
    is_streamed = source.placement == "streamed"
    held = {
        split: list(placement.in_order(data.shards[split], "replicated", mesh))
        for split in ("val", "test")
        if not is_streamed
    }
    evaluator = evaluate.Evaluator(
        apply=trainer.apply,
        head=trainer.head,
        config=assemble.sampler_config(config, data.feature_scalers),
        batch_size=config.train.batch_size,
        micro_batch_size=trainer.micro_batch_size,
        mesh=mesh,
        target_keys=tuple(config.data.target_keys),
        scalers=data.target_scalers,
        shards=data.shards,
        chunks=lambda split: (
            placement.in_order(data.shards[split], source.placement, mesh) if is_streamed else held[split]
        ),
    )
    return Setup(data, source, trainer, evaluator)


def _train_and_test(config: ConfigDict, setup: Setup, place: Experiment, record: dict | None) -> None:
    data, source, trainer = setup.data, setup.source, setup.trainer
    is_writer = distributed.is_main_process()
    if is_writer:
        if record is None:
            experiment.create(place, config, data, setup.layout)
        experiment.save_scalers(place, data)
    distributed.wait_for_all("run directory described")
    train_shard = data.shards["train"]
    num_sample = train_shard.num_snapshot * config.data.num_sample_per_snapshot
    num_member = len(trainer.members)
    num_param = functional.num_params(trainer.initial_state["params"]) // num_member
    of_members = f"{num_member} members of " if num_member > 1 else ""
    say(
        f"{of_members}{config.model.name} with {num_param} parameters, "
        f"{train_shard.num_snapshot} training snapshots ({placement.num_bytes(train_shard) / 2**20:,.0f} MiB, "
        f"{source.placement}), {trainer.mesh.size} device(s); {trainer.num_step} steps an epoch of "
        f"{config.train.batch_size} samples, {trainer.micro_batch_size} at a time on each device"
    )
    recorder = Recorder(place, config.train.max_epochs, num_sample, is_writer, config.profile)
    with Checkpoints(place.checkpoints) as checkpoints, recorder:
        arrays, progress = train.fit(config, trainer, source, setup.evaluator, checkpoints, recorder)
    results.write(config, place, data, setup.layout, setup.evaluator, arrays, progress)


def say(message: str) -> None:
    """Prints a line, once in a multi-process run."""
    if distributed.is_main_process():
        print(message, flush=True)


def run_command() -> None:
    """The command: parses its flags, joins the other processes if there are any, and runs."""
    config = command.define_config("configs/set_transformer.py")
    coordinator = flags.DEFINE_string(
        "coordinator_address", None, "host:port of process 0, for a run of many processes."
    )
    num_processes = flags.DEFINE_integer("num_processes", None, "How many processes there are.")
    process_id = flags.DEFINE_integer("process_id", None, "Which of them this is, from 0.")

    def main(argv: Sequence[str]) -> None:
        if len(argv) > 1:
            raise app.UsageError(f"unknown argument {argv[1]}")
        config_lib.check(config.value, num_device=1)  # what is wrong whatever the devices
        environment.keep_compiled(config.value.output_base)
        if not distributed.initialize(coordinator.value, num_processes.value, process_id.value):
            distributed.use_cores(config.value.train.batch_size)
        run(config.value)

    command.run(main)


if __name__ == "__main__":
    run_command()
