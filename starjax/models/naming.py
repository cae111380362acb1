"""Short names of architectures: a model and its size, such as set_transformer-6-2-1."""

from collections.abc import Mapping

from starjax.errors import ConfigError
from starjax.models import factory

# The hyperparameters that make up a model's size. Those that are tuples all equal the size; of the others
# each is one of its numbers.
SIZES = {
    "summary_stats": ("hidden_dims",),
    "deep_sets": ("phi_hidden_dims", "rho_hidden_dims"),
    "set_transformer": ("hidden_dim", "num_heads", "num_sabs"),
}


def sized_hyperparameters(model: str, size: tuple[int, ...]) -> dict:
    """Return the hyperparameters of a model of some size; those that are not part of the size are defaults.

    Raises:
      ConfigError: there is no such model, it has no sizes, or the size has too many numbers or too few.
    """
    defaults = factory.hyperparameters(model)
    fields = _size_fields(model)
    if _is_shared(model):
        return defaults | dict.fromkeys(fields, size)
    if len(size) != len(fields):
        raise ConfigError(f"{size} is not a size of {model}: give {', '.join(fields)}")
    return defaults | dict(zip(fields, size, strict=True))


def architecture(model: str, hparams: Mapping) -> str:
    """Return the name of an architecture: the model, its size, and hyperparameters that are not defaults."""
    if model not in SIZES:
        size, expected = (), factory.hyperparameters(model)
    elif _is_shared(model):
        size = hparams[SIZES[model][0]]
        expected = sized_hyperparameters(model, size)
    else:
        size = tuple(hparams[field] for field in SIZES[model])
        expected = sized_hyperparameters(model, size)
    others = [f"{name}={value}" for name, value in hparams.items() if value != expected[name]]
    return "-".join([model, *map(str, size), *others])


def _size_fields(model: str) -> tuple[str, ...]:
    if model not in SIZES:
        raise ConfigError(f"{model} has no sizes: choose one of {', '.join(SIZES)}")
    return SIZES[model]


def _is_shared(model: str) -> bool:
    """Return whether each hyperparameter of the size equals the whole size."""
    return isinstance(factory.hyperparameters(model)[_size_fields(model)[0]], tuple)
