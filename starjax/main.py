"""Trains and tests one model: one config in, one finished run directory out.

python -m starjax.main --config=configs/set_transformer.py --config.optim.learning_rate=1e-4
"""

from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import ConfigDict

from starjax import (
    command,
    distributed,
    environment,
    evaluate,
    experiment,
    functional,
    memory,
    results,
    train,
)
from starjax import config as config_lib
from starjax.checkpoint import Checkpoints
from starjax.data import dataset, placement
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
    mesh = distributed.make_mesh(config.ensemble.size)
    data, chosen = load(config, mesh)
    source = placement.place(
        data.shards["train"], chosen, train.sampler_config(config), config.train.batch_size, mesh
    )
    trainer = train.create(config, data, source, mesh)
    place = experiment.locate(config)
    # All processes look for a free name before one of them takes it.
    distributed.wait_for_all("run directory located")
    is_writer = distributed.is_main_process()
    if is_writer:
        experiment.open_or_create(place, config, data)
        experiment.save_scalers(place, data)
    distributed.wait_for_all("run directory described")
    if place.test_metrics.exists():
        say(f"{place.directory} holds this run already, finished: nothing to do")
    else:
        _train_and_test(config, data, source, trainer, place, mesh, is_writer)
    if is_writer:
        results.report(place)
    return place


def load(config: ConfigDict, mesh) -> tuple[dataset.Dataset, str]:
    """The data set, and where its stars are to be while the model trains: what the config says, or what fits."""
    name, wanted = config.data.dataset, config.data.placement
    free = distributed.smallest(memory.free_bytes(mesh.local_devices[0]))
    # What is too large to be held is not to be read into memory either.
    mapped = wanted != "replicated" and (wanted != "auto" or dataset.num_bytes(name) > placement.SHARE * free)
    data = dataset.load(name, tuple(config.data.feature_keys), tuple(config.data.target_keys), mapped=mapped)
    return data, wanted if wanted != "auto" else placement.choose(
        data.shards, distributed.num_share(mesh), free
    )


def _train_and_test(config, data, source, trainer, place, mesh, is_writer) -> None:
    train_shard = data.shards["train"]
    num_sample = train_shard.num_snapshot * config.data.num_sample_per_snapshot
    num_member = len(trainer.members)
    num_param = functional.num_params(trainer.initial_state["params"]) // num_member
    of_members = f"{num_member} members of " if num_member > 1 else ""
    say(
        f"{of_members}{config.model.name} with {num_param} parameters, "
        f"{train_shard.num_snapshot} training snapshots ({placement.num_bytes(train_shard) / 2**20:,.0f} MiB, "
        f"{source.placement}), {mesh.size} device(s); {trainer.num_step} steps an epoch of "
        f"{config.train.batch_size} samples, {trainer.micro_batch_size} at a time on each device"
    )
    is_held = source.placement != "streamed"
    held = {
        split: list(placement.in_order(data.shards[split], "replicated", mesh))
        for split in ("val", "test")
        if is_held
    }
    evaluator = evaluate.Evaluator(
        trainer.apply,
        train.sampler_config(config),
        config.train.batch_size,
        mesh,
        tuple(config.data.target_keys),
        data.target_scalers,
        data.shards,
        lambda split: held[split] if is_held else placement.in_order(data.shards[split], "streamed", mesh),
    )
    recorder = Recorder(place, config.train.max_epochs, num_sample, is_writer, config.profile)
    with Checkpoints(place.checkpoints) as checkpoints, recorder:
        arrays, progress = train.fit(config, trainer, source, evaluator, checkpoints, recorder)
    results.write(config, place, data, evaluator, arrays, progress)


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
