"""The optimizers, and the average of the parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from starjax.training.optimizer import OPTIMIZERS, average, create_optimizer

RATE, DECAY = 0.01, 0.9


def optimizer(name):
    return create_optimizer(name, RATE, lambda step: 1.0, 0.0, 1e9, DECAY)


@pytest.fixture
def params():
    kernel, bias = jax.random.normal(jax.random.key(0), (6, 4)), jnp.arange(4.0)
    return {"kernel": kernel, "bias": bias}


def first_step(name, params):
    chosen = optimizer(name)
    gradient = jax.tree.map(lambda x: jnp.sin(3 * x) + 0.1, params)
    updates, state = chosen.update(gradient, chosen.init(params), params)
    return updates, state


def test_the_first_step_of_adamw_is_the_learning_rate(params):
    updates, _ = first_step("adamw", params)
    np.testing.assert_allclose(np.abs(np.concatenate([x.ravel() for x in updates.values()])), RATE, rtol=1e-4)


def test_steps_of_muon_are_orthogonal(params):
    updates, _ = first_step("muon", params)
    singular = np.linalg.svd(updates["kernel"], compute_uv=False)
    # Five iterations of Newton and Schulz bring all singular values close to one, not to exactly one.
    np.testing.assert_allclose(singular, RATE, rtol=0.35)


def test_muon_leaves_vectors_to_adam(params):
    updates, _ = first_step("muon", params)
    adam = optax.adam(0.3 * RATE, nesterov=True)
    bias = params["bias"]
    expected, _ = adam.update(jnp.sin(3 * bias) + 0.1, adam.init(bias), bias)
    np.testing.assert_allclose(updates["bias"], expected, rtol=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_average_of_the_first_step_is_its_result(name, params):
    updates, state = first_step(name, params)
    stepped = optax.apply_updates(params, updates)
    for key, value in average(state, DECAY, params).items():
        np.testing.assert_allclose(value, stepped[key], rtol=1e-6)
