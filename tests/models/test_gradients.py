"""Gradients of models, heads and attention against finite differences in float64.

A central difference with a step of 1e-5 has an error of the third derivative times some 2e-11, and of some
1e-11 of the value by rounding: entries have to agree to CLOSE of the largest one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from starjax.models import attention, factory, heads

STEP, CLOSE = 1e-5, 1e-7
NUM_POSITION, NUM_FEATURE, DELTA = 6, 3, 0.7
HEADS = {
    "point": heads.PointHead(2),
    "likelihood": heads.MixtureHead(2, 2, 0.1),
    "huber": heads.MixtureHead(2, 2, 0.1, means="huber"),
}
pytestmark = pytest.mark.usefixtures("float64")


def assert_gradient(function, at, gradient=None):
    """Assert that the gradient of `function`, or the one given, equals central differences entry by entry."""
    flat, unravel = ravel_pytree(at)
    steps = STEP * np.concatenate([np.eye(flat.size), -np.eye(flat.size)])
    # One after another: what is compiled is the function at one place.
    values = jax.jit(lambda x: jax.lax.map(lambda step: function(unravel(x + step)), steps))(flat)
    expected = np.subtract(*np.split(np.asarray(values), 2)) / (2 * STEP)
    gradient = jax.jit(jax.grad(function))(at) if gradient is None else gradient
    largest = np.abs(expected).max()
    assert largest > 1e-3
    np.testing.assert_allclose(ravel_pytree(gradient)[0], expected, rtol=0, atol=CLOSE * max(1, largest))


@pytest.mark.parametrize("number", [1, pytest.param(0, marks=pytest.mark.weekly)])
@pytest.mark.parametrize("name", factory.MODELS)
def test_with_respect_to_the_parameters_of_every_model(name, number, random_model, random_weights):
    """For sets of no, one, some and the largest number of stars; for every second model with dropout."""
    head = HEADS["likelihood"]
    shapes, apply = random_model(name, number, NUM_FEATURE, head.num_output)
    rng = np.random.default_rng(number)
    features, target = rng.normal(size=(4, NUM_POSITION, NUM_FEATURE)), rng.normal(size=(4, 2))
    mask = np.arange(NUM_POSITION) < np.array([0, 1, 4, NUM_POSITION])[:, None]
    keys = jax.random.split(jax.random.key(number), 4) if number == 1 else None

    def loss(params):
        return head.loss(apply(params, features, mask, keys), target, DELTA).mean()

    assert_gradient(loss, random_weights(shapes, rng, 0.5, np.float64))


@pytest.mark.parametrize("name", factory.MODELS)
def test_with_respect_to_the_stars(name, random_model, random_weights):
    """Finite also for no, one and equal stars, with a standard deviation of 0; 0 at padded positions."""
    shapes, apply = random_model(name, 0, NUM_FEATURE, 1)
    rng = np.random.default_rng(1)
    params = random_weights(shapes, rng, 1.0, np.float64)
    features = rng.normal(size=(4, NUM_POSITION, NUM_FEATURE))
    features[2] = features[2, 0]
    mask = np.arange(NUM_POSITION) < np.array([0, 1, NUM_POSITION, 4])[:, None]
    is_smooth = np.array([False, False, False, True])

    def answer(features, weights):
        return (weights * apply(params, features, mask, None)[:, 0]).sum()

    gradient = np.asarray(jax.jit(jax.grad(answer))(features, np.ones(4)))
    assert np.isfinite(gradient).all()
    assert not gradient[~mask].any()
    assert_gradient(lambda features: answer(features, is_smooth), features)


@pytest.mark.parametrize("name", ["point", "likelihood"])
def test_of_the_loss_of_every_head(name):
    head, rng = HEADS[name], np.random.default_rng(0)
    target = rng.normal(size=(5, 2))
    assert_gradient(lambda x: head.loss(x, target, DELTA).sum(), rng.normal(size=(5, head.num_output)))


def test_of_a_mixture_whose_means_are_trained_with_the_huber_loss():
    """The gradient is that of the loss with constants in place of everything within stop_gradient."""
    head, likelihood, rng = HEADS["huber"], HEADS["likelihood"], np.random.default_rng(1)
    output, target = rng.normal(size=(5, head.num_output)), rng.normal(size=(5, 2))
    expected = jax.jit(head.mean)(output)

    def loss(x):
        near = heads.SHAPE_SHARE * x + (1 - heads.SHAPE_SHARE) * output
        moved = (head.mean(near) - expected)[:, None]
        parts = near.reshape(5, head.num_component, -1)
        parts = jnp.concatenate([parts[..., :1], parts[..., 1:3] - moved, parts[..., 3:]], axis=-1)
        about_given = likelihood.loss(parts.reshape(5, -1), target, None)
        return (heads.huber(head.mean(x), target, DELTA) + about_given).sum()

    gradient = jax.jit(jax.grad(lambda x: head.loss(x, target, DELTA).sum()))(output)
    assert_gradient(loss, output, gradient)


# Weights of a tile: some queries of a sample, with a remainder; one sample; all.
@pytest.mark.parametrize("tile", [2 * 5 * 3, 2 * 5 * 4, 10**6])
def test_of_attention(tile, monkeypatch):
    monkeypatch.setattr(attention, "CPU_TILE", tile)
    rng = np.random.default_rng(3)
    q, k, v = (rng.normal(size=(3, 2, 2, num)) for num in (4, 5, 5))
    weight, mask = rng.normal(size=q.shape), np.arange(5) < np.array([1, 3, 5])[:, None]
    assert_gradient(lambda x: (weight * attention.attention(*x, mask)).sum(), (q, k, v))
