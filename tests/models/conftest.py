"""Models of every kind with hyperparameters drawn at random."""

import functools
import random

import jax
import numpy as np
import pytest
from flax import nnx

from starjax.models import factory


def _widths(rng, least=0):
    return tuple(rng.randint(1, 8) for _ in range(rng.randint(least, 2)))


def _hyperparameters(name: str, seed: int) -> dict:
    """Return random hyperparameters; those with two values alternate with the seed."""
    rng, is_even = random.Random(seed), seed % 2 == 0
    num_heads = rng.choice((1, 2, 4))
    return {
        "summary_stats": {"hidden_dims": _widths(rng)},
        "deep_sets": {
            "phi_hidden_dims": _widths(rng, least=1),
            "rho_hidden_dims": _widths(rng),
            "pooling": "mean" if is_even else "sum",
        },
        "set_transformer": {
            "num_heads": num_heads,
            "hidden_dim": num_heads * rng.randint(2, 4),
            "num_sabs": rng.randint(0, 2),
            "num_seeds": rng.randint(1, 3),
            "output_hidden_dims": _widths(rng),
            "layer_norm": is_even,
        },
        "soft_groups": {
            "num_groups": rng.randint(1, 5),
            "num_sums": rng.randint(1, 4),
            "gate_hidden_dims": _widths(rng),
            "hidden_dims": _widths(rng),
        },
        "fourier_groups": {
            "fourier_columns": (0,) if is_even else (),
            "num_frequencies": rng.randint(1, 3),
            "star_hidden_dims": _widths(rng),
            "num_embedding": rng.randint(1, 8),
            "num_groups": rng.randint(1, 5),
            "num_values": rng.randint(1, 4),
            "num_sums": rng.randint(1, 4),
            "hidden_dims": _widths(rng),
        },
    }[name]


@pytest.fixture(scope="session")
def random_model():
    """Return `(name, seed, num_feature, num_output) -> (shapes of parameters, apply)`; dropout is 0.3."""

    def made(name, seed, num_feature, num_output):
        hparams = _hyperparameters(name, seed) | {"dropout": 0.3}
        assert {*hparams, "dtype"} == set(factory.hyperparameters(name))
        new = functools.partial(factory.create_module, name, num_feature, num_output, **hparams)
        # Nothing is computed: drawing weights would have to be compiled for each shape.
        return factory.split_module(nnx.eval_shape(lambda: new(jax.random.key(0))))

    return made


@pytest.fixture(scope="session")
def random_weights():
    """Return `(shapes, rng, spread, dtype) -> params`, normal deviates of some spread."""

    def made(shapes, rng, spread, dtype=np.float32):
        return jax.tree.map(lambda x: (spread * rng.normal(size=x.shape)).astype(dtype), shapes)

    return made
