"""Short names of what a run is made of: a model of some size, a set of features, a set of targets."""

from collections.abc import Mapping

from starjax import models
from starjax.errors import ConfigError

# The hyperparameters that a model's size sets: those that are tuples all to the whole size, others to one number each.
SIZES = {
    "summary_stats": ("hidden_dims",),
    "deep_sets": ("phi_hidden_dims", "rho_hidden_dims"),
    "set_transformer": ("hidden_dim", "num_heads", "num_sabs"),
}


def hyperparameters(model: str, size: tuple[int, ...]) -> dict:
    """All hyperparameters of `model` in `size`; those that the size does not set have their defaults.

    Raises:
      ConfigError: there is no such model, it has no sizes, or the size has too many numbers or too few.
    """
    defaults = models.hyperparameters(model)
    fields = _size_fields(model)
    if _is_shared(model):
        return defaults | dict.fromkeys(fields, size)
    if len(size) != len(fields):
        raise ConfigError(f"{size} is no size of {model}: give {', '.join(fields)}")
    return defaults | dict(zip(fields, size, strict=True))


def architecture(model: str, hparams: Mapping) -> str:
    """What a model is called, such as set_transformer-6-2-1: its size, and what else is not its default."""
    if model not in SIZES:
        size, expected = (), models.hyperparameters(model)
    elif _is_shared(model):
        size = hparams[SIZES[model][0]]
        expected = hyperparameters(model, size)
    else:
        size = tuple(hparams[field] for field in SIZES[model])
        expected = hyperparameters(model, size)
    others = [f"{name}={value}" for name, value in hparams.items() if value != expected[name]]
    return "-".join([model, *map(str, size), *others])


def _size_fields(model: str) -> tuple[str, ...]:
    if model not in SIZES:
        raise ConfigError(f"{model} has no sizes: choose among {', '.join(SIZES)}")
    return SIZES[model]


def _is_shared(model: str) -> bool:
    """Whether the whole size goes to each of its hyperparameters."""
    return isinstance(models.hyperparameters(model)[_size_fields(model)[0]], tuple)
