"""Ensemble members: their seeds and hyperparameters, and how a function is applied to each of them.

The first axis of all arrays of a run is its members, also if there is only one.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class EnsembleMembers:
    """The ensemble members of a run.

    Attributes:
      seeds: the seed of each member.
      hparams: the values for each member, by name, of the hyperparameters in which members differ.
    """

    seeds: tuple[int, ...]
    hparams: dict[str, tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.seeds)

    def each(self, name: str, shared: float) -> tuple[float, ...]:
        """Return a hyperparameter for each member: its own values, or the shared one."""
        return self.hparams.get(name, (shared,) * len(self))

    def arrays(self) -> dict:
        """Return the arrays that the training step needs: `key`, `hparams`, and `is_active`, which is 1."""
        return {
            "key": self._keys,
            "hparams": {name: np.asarray(values, np.float32) for name, values in self.hparams.items()},
            "is_active": np.ones(len(self), np.int32),
        }

    @functools.cached_property
    def _keys(self) -> np.ndarray:
        # The first key of each pair initializes the parameters of the member.
        keys = [jax.random.split(jax.random.key(seed))[1] for seed in self.seeds]
        return np.stack([jax.random.key_data(key) for key in keys])


def map_members(function: Callable, *trees):
    """Apply a function to each member.

    Args:
      function: of trees of one member; returns a tree.
      *trees: trees of all members, the first axis of whose arrays is the members.

    Returns:
      The results as a tree, the first axis of whose arrays is the members.
    """
    num_member = jax.tree.leaves(trees)[0].shape[0]
    if num_member == 1:
        result = function(*jax.tree.map(lambda x: x[0], trees))
        return jax.tree.map(lambda x: x[None], result)
    if jax.default_backend() == "cpu":
        # One after another, so that a member stays in the cache of its core and one that is not active costs
        # nothing: 5 to 13 % faster than all at once (docs/explanation/performance.md), in the memory of one.
        return jax.lax.map(lambda arguments: function(*arguments), trees)
    return jax.vmap(function)(*trees)
