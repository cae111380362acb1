"""Heads: likelihood, marginals and mean of a mixture against scipy, for one target and several."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import strategies

from starjax.configs import common
from starjax.evaluation.mixture import marginals
from starjax.models import heads
from starjax.runs import run_config


def gaussians(head, output_O):
    """Return weights, means and covariances of one row of outputs, by the definition."""
    log_weight_C, mean_CxT, scale_CxT, lower_CxL = (
        np.asarray(x, np.float64) for x in head.parameters(output_O)
    )
    covariances = []
    for scale_T, lower_L in zip(scale_CxT, lower_CxL, strict=True):
        unit = np.eye(head.num_target)
        unit[np.tril_indices(head.num_target, -1)] = lower_L
        root = np.diag(scale_T) @ unit
        covariances.append(root @ root.T)
    return np.exp(log_weight_C), mean_CxT, covariances


@pytest.mark.parametrize(("num_target", "num_component"), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_the_loss_is_the_likelihood_and_marginals_are_those_of_the_mixture(
    num_target, num_component, float64
):
    head = heads.MixtureHead(num_target, num_component, 0.05)
    rng = np.random.default_rng(num_target)
    output_BxO = rng.normal(size=(5, head.num_output))
    target_BxT = rng.normal(size=(5, num_target))
    found = jax.jit(head.loss)(output_BxO, target_BxT, None)
    of_targets, mean_BxT = marginals(head, output_BxO), head.mean(output_BxO)
    for row in range(5):
        weight, mean, covariance = gaussians(head, output_BxO[row])
        density = sum(
            w * scipy.stats.multivariate_normal.pdf(target_BxT[row], m, c)
            for w, m, c in zip(weight, mean, covariance, strict=True)
        )
        assert found[row] == pytest.approx(-np.log(density), rel=1e-9)
        np.testing.assert_allclose(mean_BxT[row], weight @ mean, rtol=1e-9)
        for target, one in enumerate(of_targets):
            np.testing.assert_allclose(one.weight[row], weight, rtol=1e-9)
            np.testing.assert_allclose(one.mean[row], mean[:, target], rtol=1e-9)
            np.testing.assert_allclose(
                one.sigma[row] ** 2, [c[target, target] for c in covariance], rtol=1e-9
            )


@functools.partial(jax.jit, static_argnums=0)
def loss_and_gradient(head, output, target):
    return jax.value_and_grad(lambda x: head.loss(x, target, 0.5)[0])(output)


@hypothesis.given(size=strategies.floats(0, 1e4), seed=strategies.integers(0, 100))
@hypothesis.settings(deadline=None)
@pytest.mark.parametrize("means", heads.MEANS)
def test_the_loss_and_its_gradient_are_finite_whatever_the_outputs(means, size, seed):
    head = heads.MixtureHead(2, 3, 0.02, means)
    output = jnp.asarray(np.random.default_rng(seed).normal(size=(1, head.num_output)) * size, jnp.float32)
    value, gradient = loss_and_gradient(head, output, jnp.zeros((1, 2)))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.slow
@pytest.mark.parametrize("num_component", [1, 3])
def test_means_can_be_trained_like_points_and_the_rest_with_the_likelihood(num_component, float64):
    head = heads.MixtureHead(2, num_component, 0.05, means="huber")
    by_likelihood = heads.MixtureHead(2, num_component, 0.05)
    rng = np.random.default_rng(num_component)
    output, target = jnp.asarray(rng.normal(size=(1, head.num_output))), jnp.asarray(rng.normal(size=(1, 2)))
    point_loss = heads.PointHead(2).loss(head.mean(output), target, 0.5)
    np.testing.assert_allclose(
        head.loss(output, target, 0.5), point_loss + by_likelihood.loss(output, target, None), rtol=1e-12
    )

    def gradient(loss):
        found = np.asarray(jax.jit(jax.grad(lambda x: loss(x, target, 0.5)[0]))(output))
        return np.split(found.reshape(num_component, -1), [1, 3], axis=1)

    def of_points(x, target, delta):
        return heads.PointHead(2).loss(head.mean(x), target, delta)

    # Only the loss of points moves all means together; only the likelihood, scaled down, changes the shape.
    _, of_means, of_shapes = gradient(head.loss)
    np.testing.assert_allclose(of_means.sum(axis=0), gradient(of_points)[1].sum(axis=0), rtol=1e-9)
    expected = heads.SHAPE_SHARE * gradient(by_likelihood.loss)[2]
    np.testing.assert_allclose(of_shapes, expected, rtol=1e-9)


def test_scales_of_components_have_a_lower_bound():
    head = heads.MixtureHead(1, 2, 0.1)
    output = np.full((1, head.num_output), -100.0, np.float32)
    assert marginals(head, output)[0].sigma == pytest.approx(0.1)


def test_a_wrong_number_of_targets_is_an_error():
    head = heads.MixtureHead(2, 1, 0.1)
    with pytest.raises(ValueError, match="2 column"):
        head.loss(jnp.zeros((4, head.num_output)), jnp.zeros((4, 1)), 1.0)


def test_the_posterior_of_a_point_is_a_gaussian_as_wide_as_the_errors():
    [of_first, of_second] = marginals(heads.PointHead(2), np.array([[1.0, 2.0]]), np.array([0.5, 3.0]))
    assert (of_first.mean, of_first.sigma) == (pytest.approx(1.0), pytest.approx(0.5))
    assert (of_second.mean, of_second.sigma) == (pytest.approx(2.0), pytest.approx(3.0))


def test_the_config_chooses_the_head():
    config = common.get_config()
    config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
    assert run_config.head(config) == heads.PointHead(2)
    config.head, config.mixture.num_component, config.mixture.means = "mixture", 5, "huber"
    assert run_config.head(config) == heads.MixtureHead(2, 5, config.mixture.min_scale, "huber")
    assert run_config.head(config).num_output == 5 * (1 + 2 + 2 + 1)


def test_unequal_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"\(4, 1\) and target \(4,\)"):
        heads.huber(jnp.ones((4, 1)), jnp.ones(4), 1.0)


@pytest.mark.parametrize("residual", [-3.0, -1.0, -0.2, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("delta", [0.5, 1.0])
def test_huber_is_quadratic_within_delta_and_linear_beyond(residual, delta):
    expected = residual**2 / 2 if abs(residual) <= delta else delta * (abs(residual) - delta / 2)
    assert heads.huber(jnp.array([[residual]]), jnp.zeros((1, 1)), delta)[0] == pytest.approx(expected)
