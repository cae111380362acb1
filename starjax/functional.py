"""The one place that turns a Flax module into pure functions of (params, batch, key)."""

from collections.abc import Callable

import jax
from flax import nnx


def split(model: nnx.Module) -> tuple[dict, Callable]:
    """Splits a module once into what is learned and what is computed.

    Returns:
      params: a plain nested dict of arrays;
      apply: `apply(params, features_BxKxF, mask_BxK, key_B=None, dropout=None) -> [B, n_output]`, pure.
        Without a key it evaluates; with one key a sample, dropout is on, at the module's own rate or at
        the one given, which may be traced.
    """
    graphdef, state = nnx.split(model, nnx.Param)

    def apply(params, features_BxKxF, mask_BxK, key_B=None, dropout=None):
        model = nnx.merge(graphdef, params)
        if dropout is not None:
            model.set_attributes(dropout=dropout)
        return model(features_BxKxF, mask_BxK, key_B)

    return nnx.to_pure_dict(state), apply


def num_params(params: dict) -> int:
    """The number of learned values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
