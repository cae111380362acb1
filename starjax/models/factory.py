"""The one place that turns a Flax module into pure functions of (params, batch, key)."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
from flax import nnx

from starjax import models
from starjax.models import heads


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as a config describes it.

    Attributes:
      new: `(key) -> module`, freshly initialized.
      apply: the model as a pure function (see `functional.split`).
      head: what its outputs mean.
    """

    new: Callable[[jax.Array], nnx.Module]
    apply: Callable
    head: heads.PointHead | heads.MixtureHead


def create_model(
    name: str, hparams: Mapping, num_feature: int, head: heads.PointHead | heads.MixtureHead
) -> Model:
    """Return a model by name; nothing is computed.

    Args:
      hparams: its hyperparameters.
      num_feature: features of a star that it sees.
    """
    new = functools.partial(models.create, name, num_feature, head.num_output, **hparams)
    _, apply = split_module(nnx.eval_shape(lambda: new(jax.random.key(0))))
    return Model(new, apply, head)


def split_module(model: nnx.Module) -> tuple[dict, Callable]:
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


def count_params(params: dict) -> int:
    """The number of learned values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
