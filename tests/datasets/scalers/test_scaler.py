"""Scalers equal those of scikit-learn, in numpy and inside `jax.jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.datasets.scalers import scaler
from starjax.datasets.scalers.fit import fit_scaler

EVERY_METHOD = pytest.mark.parametrize("method", scaler.METHODS)


@EVERY_METHOD
def test_numpy_equals_the_reference(method, tables):
    fitted = fit_scaler(method, tables["data"])
    scaled = fitted.transform(tables["data"])
    np.testing.assert_allclose(scaled, tables[f"transform/{method}"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.inverse(scaled), tables[f"inverse/{method}"], rtol=1e-6, atol=1e-6)


@EVERY_METHOD
def test_jit_equals_the_reference(method, tables, float64):
    fitted = fit_scaler(method, tables["data"])
    scaled = jax.jit(fitted.transform)(jnp.asarray(tables["data"]))
    np.testing.assert_allclose(scaled, tables[f"transform/{method}"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(fitted.inverse)(scaled), tables[f"inverse/{method}"], rtol=1e-6, atol=1e-6
    )


@EVERY_METHOD
def test_jit_in_float32_is_as_good_as_float32_allows(method, tables):
    fitted = fit_scaler(method, tables["data"])
    scaled = jax.jit(fitted.transform)(jnp.asarray(tables["data"], jnp.float32))
    assert scaled.dtype == jnp.float32
    # The quantile function of the normal distribution is steep at its ends, and amplifies rounding errors
    # there.
    inner = np.abs(tables[f"transform/{method}"]) < 2.5
    expected = tables[f"transform/{method}"]
    np.testing.assert_allclose(np.asarray(scaled)[inner], expected[inner], rtol=1e-5, atol=3e-5)
    recovered = jax.jit(fitted.inverse)(jnp.asarray(expected, jnp.float32))
    np.testing.assert_allclose(recovered, tables[f"inverse/{method}"], rtol=1e-4, atol=1e-4)


# Not `power`: if its exponent compresses a narrow range, rounding errors make the inverse inaccurate.
@pytest.mark.parametrize("method", [method for method in scaler.METHODS if method != "power"])
@given(values=st.lists(st.floats(0, 1e4), min_size=3, max_size=50, unique=True))
@settings(max_examples=25, deadline=None)
def test_the_inverse_returns_the_values(method, values):
    values = np.array(values)
    if np.ptp(values) < 1e-2:
        return
    fitted = fit_scaler(method, values)
    np.testing.assert_allclose(
        fitted.inverse(fitted.transform(values)), values, rtol=1e-5, atol=1e-5 * np.ptp(values)
    )


@EVERY_METHOD
def test_a_constant_column_stays_finite(method):
    fitted = fit_scaler(method, np.full(20, 3.0))
    assert np.isfinite(fitted.transform(np.full(20, 3.0))).all()
