"""The models by name, and a model as pure functions of (parameters, batch, key).

A new model is a file beside this one and a line of MODELS. The attribute `IS_SUPERLINEAR` of its class says
whether its work grows faster than the number of padded positions of a sample, as for attention and sorting.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping

import jax
from flax import nnx

from starjax.errors import ConfigError
from starjax.models import heads
from starjax.models.deep_sets import DeepSets
from starjax.models.fourier_groups import FourierGroups
from starjax.models.set_transformer import SetTransformer
from starjax.models.soft_groups import SoftGroups
from starjax.models.summary_stats import SummaryStats

MODELS = {
    "summary_stats": SummaryStats,
    "deep_sets": DeepSets,
    "set_transformer": SetTransformer,
    "soft_groups": SoftGroups,
    "fourier_groups": FourierGroups,
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model as a config describes it.

    Attributes:
      new: `(key) -> module`, freshly initialized.
      apply: the model as a pure function (see `split_module`).
      head: the meaning of its outputs.
    """

    new: Callable[[jax.Array], nnx.Module]
    apply: Callable
    head: heads.PointHead | heads.MixtureHead


def model_class(name: str):
    """Return the module class of a model.

    Raises:
      ConfigError: there is no such model.
    """
    if name not in MODELS:
        raise ConfigError(f"model.name={name!r} is not a model: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def hyperparameters(name: str) -> dict:
    """Return the hyperparameters of a model with their defaults, read from the signature of its class."""
    parameters = inspect.signature(model_class(name).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def create_module(name: str, num_feature: int, num_output: int, key: jax.Array, **hparams) -> nnx.Module:
    """Return an initialized module: `(features [B, K, F], mask [B, K], key [B]) -> [B, num_output]`."""
    return model_class(name)(num_feature, num_output, rngs=nnx.Rngs(params=key), **hparams)


def create_model(
    name: str, hparams: Mapping, num_feature: int, head: heads.PointHead | heads.MixtureHead
) -> Model:
    """Return a model by name, without computing anything.

    Args:
      name: one of MODELS.
      hparams: its hyperparameters.
      num_feature: number of features of a star.
      head: the meaning of its outputs.
    """

    def new(key: jax.Array) -> nnx.Module:
        return create_module(name, num_feature, head.num_output, key, **hparams)

    # Shapes are enough for the function; weights are drawn when a member starts.
    _, apply = split_module(nnx.eval_shape(lambda: new(jax.random.key(0))))
    return Model(new, apply, head)


def split_module(module: nnx.Module) -> tuple[dict, Callable]:
    """Split a module into its parameters and a pure function.

    Returns:
      params: a plain nested dict of arrays.
      apply: `apply(params, features_BxKxF, mask_BxK, key_B=None, dropout=None) -> [B, num_output]`. Without
        keys it evaluates. With one key per sample, dropout is on, at the rate of the module or at the one
        given, which may be traced.
    """
    graphdef, state = nnx.split(module, nnx.Param)

    def apply(params, features_BxKxF, mask_BxK, key_B=None, dropout=None):
        module = nnx.merge(graphdef, params)
        if dropout is not None:
            # Sets the rate of all submodules that have one.
            module.set_attributes(dropout=dropout)
        return module(features_BxKxF, mask_BxK, key_B)

    return nnx.to_pure_dict(state), apply


def num_params(model: Mapping, num_feature: int, num_output: int) -> int:
    """Return the number of parameters of a model, without computing any.

    Args:
      model: its `name` and hyperparameters.
      num_feature: number of features of a star.
      num_output: number of outputs per set.
    """
    return _num_params(num_feature, num_output, tuple(model.items()))


# A table of runs and a grid ask for the same few architectures again and again.
@functools.cache
def _num_params(num_feature: int, num_output: int, items: tuple) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(param_shapes(dict(items), num_feature, num_output)))


def param_shapes(model: Mapping, num_feature: int, num_output: int) -> dict:
    """Return shapes and dtypes of the parameters of a model; the arguments are those of `num_params`."""

    def params():
        module = create_module(num_feature=num_feature, num_output=num_output, key=jax.random.key(0), **model)
        return split_module(module)[0]

    return jax.eval_shape(params)
