"""Many models trained as one: their seeds and hyperparameters, and what is done for each of them.

All arrays of a run have its members along their first axis, those of a lone model too.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

# What members may differ in beside their seed, and where the config holds the value that all share.
HPARAMS = {
    "learning_rate": "optim",
    "weight_decay": "optim",
    "dropout": "model",
    "huber_delta": "optim",
}
# Digits of a drawn hyperparameter, so that people can write it down.
DRAWN_DIGITS = 4


@dataclasses.dataclass(frozen=True)
class EnsembleMembers:
    """The members of a run.

    Attributes:
      seeds: of each member.
      hparams: of each that members differ in, by name, its value for each member.
    """

    seeds: tuple[int, ...]
    hparams: dict[str, tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.seeds)

    def each(self, name: str, shared: float) -> tuple[float, ...]:
        """A hyperparameter of each member, which is that of all where they do not differ in it."""
        return self.hparams.get(name, (shared,) * len(self))

    def arrays(self) -> dict:
        """What the step on the device knows of them: `key`, `hparams`, and `is_active`, which is 1."""
        return {
            "key": self._keys,
            "hparams": {name: np.asarray(values, np.float32) for name, values in self.hparams.items()},
            "is_active": np.ones(len(self), np.int32),
        }

    @functools.cached_property
    def _keys(self) -> np.ndarray:
        keys = [jax.random.split(jax.random.key(seed))[1] for seed in self.seeds]
        return np.stack([jax.random.key_data(key) for key in keys])


def ensemble_members(config: ConfigDict) -> EnsembleMembers:
    """The members that a config describes: their own values where `config.sweep` gives some, else those of all."""
    size, sweep = config.ensemble.size, config.sweep
    hparams = {name: tuple(map(float, sweep[name])) for name in HPARAMS if sweep[name]}
    for number, name in enumerate(HPARAMS):
        if sweep.log_uniform[name]:
            low, high = map(math.log, sweep.log_uniform[name])
            # A stream of its own for each, so that one is not changed by another.
            drawn = np.exp(np.random.default_rng((config.seed, number)).uniform(low, high, size))
            hparams[name] = tuple(float(f"{value:.{DRAWN_DIGITS}g}") for value in drawn)
    return EnsembleMembers(tuple(sweep.seed) or tuple(range(config.seed, config.seed + size)), hparams)


def is_sweep(config: ConfigDict) -> bool:
    """Whether members differ in more than their running numbers."""
    given = config.sweep.to_dict()
    return any([*given.pop("log_uniform").values(), *given.values()])


def size_of_fold(config: ConfigDict) -> int:
    """How many members leave out each fold."""
    return config.ensemble.size // config.ensemble.num_fold


def fold_config(config: ConfigDict, number: int) -> ConfigDict:
    """The config of a run of those members that leave out a fold."""
    part, size = ConfigDict(config.to_dict()), size_of_fold(config)
    part.data.fold = (number, config.ensemble.num_fold, config.seed)
    part.seed, part.ensemble.size, part.ensemble.num_fold = config.seed + number * size, size, 0
    return part.lock()


def member_config(config: ConfigDict, member: int) -> ConfigDict:
    """The config of a run of its own that gives what a member gives."""
    found = ensemble_members(config)
    of_member = fold_config(config, member // size_of_fold(config)) if config.ensemble.num_fold else config
    alone = ConfigDict(of_member.to_dict())
    alone.seed = found.seeds[member]
    for name, values in found.hparams.items():
        alone[HPARAMS[name]][name] = values[member]
    alone.ensemble.size = 1
    for name in ("seed", *HPARAMS):
        alone.sweep[name] = ()
    for name in HPARAMS:
        alone.sweep.log_uniform[name] = ()
    return alone.lock()


def map_members(function: Callable, *trees):
    """`function` of each member, given trees whose arrays have members along their first axis; so has the result."""
    num_member = jax.tree.leaves(trees)[0].shape[0]
    if num_member == 1:
        result = function(*jax.tree.map(lambda x: x[0], trees))
        return jax.tree.map(lambda x: x[None], result)
    if jax.default_backend() == "cpu":
        # One after another: a core is busy with one, which stays in its cache, and one that rests costs nothing.
        # 5 to 13 % faster than all at once (benchmarks/README.md), in the memory of one.
        return jax.lax.map(lambda arguments: function(*arguments), trees)
    return jax.vmap(function)(*trees)
