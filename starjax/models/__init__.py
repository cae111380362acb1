"""The models by name. A further one is one file beside these, and one line here.

A class of models says by `IS_SUPERLINEAR` whether its work grows faster than the slots of a sample, as that of
attention and of sorting does.
"""

import functools
import inspect
from collections.abc import Mapping

import jax
from flax import nnx

from starjax.errors import ConfigError
from starjax.models.deep_sets import DeepSets
from starjax.models.set_transformer import SetTransformer
from starjax.models.soft_groups import SoftGroups
from starjax.models.summary_stats import SummaryStats

MODELS = {
    "summary_stats": SummaryStats,
    "deep_sets": DeepSets,
    "set_transformer": SetTransformer,
    "soft_groups": SoftGroups,
}


def model_class(name: str):
    """The module class of model `name`; ConfigError with the known names otherwise."""
    if name not in MODELS:
        raise ConfigError(f"model.name={name!r} is not a model: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def hyperparameters(name: str) -> dict:
    """The hyperparameters of model `name` with their defaults, read from its signature."""
    parameters = inspect.signature(model_class(name).__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def create(name: str, num_feature: int, num_output: int, key: jax.Array, **hparams) -> nnx.Module:
    """A freshly initialized model: `(features [B, K, F], mask [B, K], key [B]) -> [B, num_output]`."""
    return model_class(name)(num_feature, num_output, rngs=nnx.Rngs(params=key), **hparams)


def num_params(config: Mapping, num_feature: int, num_output: int) -> int:
    """How many values a model learns, from its `name` and hyperparameters alone; nothing is computed."""
    return _num_params(num_feature, num_output, tuple(config.items()))


@functools.cache
def _num_params(num_feature: int, num_output: int, items: tuple) -> int:
    def params():
        model = create(num_feature=num_feature, num_output=num_output, key=jax.random.key(0), **dict(items))
        return nnx.to_pure_dict(nnx.state(model, nnx.Param))

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(params)))
