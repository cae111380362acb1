"""A run whose parts can be timed."""

import dataclasses
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from starjax import distributed, main, train
from starjax.data import dataset, placement


@dataclasses.dataclass
class Training:
    """A run that can be timed: its trainer and stars, and the state that it is in.

    Attributes:
      compile_seconds: for models, optimizer and compiled steps.
    """

    data: dataset.Dataset
    source: placement.Source
    trainer: train.Trainer
    state: dict
    compile_seconds: float

    def steps(self, num_step: int, epoch: int = 0) -> dict:
        """Does some steps of the first chunk of an epoch; what is summed over them, once it is there."""
        trainer = self.trainer
        members = distributed.share_members(trainer.members.arrays(), trainer.mesh)
        stars, num_in_chunk = next(iter(self.source.chunks(epoch)))
        numbers = map(np.int32, (epoch, 0, min(num_step, num_in_chunk)))
        self.state, sums = trainer.train_steps(self.state, members, stars, *numbers)
        return jax.tree.map(distributed.gather, sums)

    def epoch(self, epoch: int) -> list[dict]:
        """A whole epoch as a run does it."""
        members = [True] * len(self.trainer.members)
        self.state, means = train._train_epoch(
            self.trainer, self.state, self.source, epoch, members, lambda num: None
        )
        return means


def set_up(config: ConfigDict) -> Training:
    """Sets a run up as starjax.main does."""
    mesh = distributed.make_mesh(config.ensemble.size)
    data, chosen = main.load(config, mesh)
    start = time.perf_counter()
    source = placement.place(
        data.shards["train"], chosen, train.sampler_config(config), config.train.batch_size, mesh
    )
    trainer = train.create(config, data, source, mesh)
    return Training(data, source, trainer, trainer.initial_state, time.perf_counter() - start)
