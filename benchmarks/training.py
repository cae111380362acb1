"""A run for benchmarks, whose parts can be timed."""

import dataclasses
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from starjax.runs.directory import locate_run
from starjax.runs.state import inspect
from starjax.runtime import devices
from starjax.training import prepare
from starjax.training.epoch import EpochState, train_epoch
from starjax.training.trainer import Trainer


@dataclasses.dataclass
class Training:
    """A run that can be timed, and its current state.

    Attributes:
      compile_seconds: time for placing the stars and compiling the training steps.
    """

    setup: prepare.Setup
    state: dict
    compile_seconds: float

    @property
    def trainer(self) -> Trainer:
        return self.setup.trainer

    def steps(self, num_step: int, epoch: int = 0) -> dict:
        """Do some steps of the first chunk of an epoch, and return their sums."""
        trainer = self.trainer
        members = devices.shard_members(trainer.members.arrays(), trainer.mesh)
        stars, num_in_chunk = next(iter(self.setup.source.chunks(epoch)))
        numbers = map(np.int32, (epoch, 0, min(num_step, num_in_chunk)))
        self.state, sums = trainer.train_steps(self.state, members, stars, *numbers)
        return jax.tree.map(devices.gather, sums)

    def epoch(self, epoch: int) -> list[dict]:
        """Train a whole epoch as a run does."""
        members = [True] * len(self.trainer.members)
        begun = EpochState(epoch + 1, self.state)
        done = train_epoch(self.trainer, begun, self.setup.source, members, lambda num: None, lambda: False)
        self.state = done.state
        return done.means()


def new_run(config: ConfigDict) -> prepare.RunContext:
    """Return a new run with its data set."""
    return prepare.RunContext(config, inspect(locate_run(config)), prepare.read_dataset(config))


def set_up(config: ConfigDict) -> Training:
    """Set up a run as starjax.training.run does."""
    run = new_run(config)
    start = time.perf_counter()
    setup = prepare.prepare(run)
    return Training(setup, setup.trainer.initial_state, time.perf_counter() - start)
