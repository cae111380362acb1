"""Quantiles from blocks equal numpy's to the bit; fits do not depend on the blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from starjax.datasets import mapped_arrays
from starjax.datasets.scalers import bundle, fit, scaler, streaming_quantiles
from starjax.datasets.scalers.fit import fit_scaler

LEVELS = {"few": [0, 0.25, 0.5, 0.75, 1], "many": np.linspace(0, 1, 101)}
RANDOM = np.random.default_rng(7)


def of_blocks(values, levels, num_per_block):
    found = streaming_quantiles.Quantiles(levels, len(values))
    is_done = False
    while not is_done:
        for first in range(0, len(values), num_per_block):
            found.add(values[first : first + num_per_block])
        is_done = found.end_pass()
    return found.result()


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "values",
    [
        RANDOM.standard_cauchy(20_001),
        RANDOM.integers(-3, 4, 5000),
        np.exp(RANDOM.normal(0, 20, 3000)) * RANDOM.choice([-1, 1], 3000),
        [3.0],
    ],
    ids=["heavy tails", "ties", "many magnitudes", "one"],
)
def test_equal_to_numpy(values, dtype, levels):
    values = np.asarray(values, dtype)
    expected = np.quantile(values.astype(np.float64), levels)
    np.testing.assert_array_equal(of_blocks(values, levels, 997), expected)


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
@given(
    values=st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: arrays.arrays(
            dtype,
            st.integers(1, 60),
            elements=st.floats(-(2.0**99), 2.0**99, width=32) | st.sampled_from([0.0, -0.0, 1.0, -1e-40]),
        )
    )
)
@settings(max_examples=50, deadline=None)
def test_equal_to_numpy_whatever_the_values(values, levels):
    expected = np.quantile(values.astype(np.float64), levels)
    np.testing.assert_array_equal(of_blocks(values, levels, 7), expected)


def test_ranks_beyond_32_bits():
    num_value = 2**33 + 1
    found = streaming_quantiles.Quantiles([0.25, 0.5, 1], num_value)
    # The same number of values for each of the 2**16 first digits, and one more for the last.
    found._dtype = np.dtype(np.float32)
    found._counts[:] = 2**17
    found._counts[-1] += 1
    assert not found.end_pass()
    assert (found._key[:3] >> np.uint64(16)).tolist() == [2**14, 2**15, 2**16 - 1]
    assert found._rank[:3].tolist() == [0, 0, 2**17]


@pytest.mark.parametrize("method", scaler.METHODS)
def test_fits_do_not_depend_on_blocks(method, monkeypatch):
    values = np.abs(RANDOM.normal(3, 2, (1000, 2))).astype(np.float32)
    groups = [(("x", "y"), method)]
    (_, whole), *_ = bundle.fit_bundle(values, ("x", "y"), groups).groups
    monkeypatch.setattr(mapped_arrays, "ROWS_PER_BLOCK", 77)
    (_, cut), *_ = bundle.fit_bundle(values, ("x", "y"), groups).groups
    for name, value in whole.params.items():
        np.testing.assert_allclose(cut.params[name], value, rtol=1e-7)


def test_the_exponent_of_a_subset_is_close_to_that_of_all_values(monkeypatch):
    values = RANDOM.gamma(2, 3, 40_000)
    of_all = fit_scaler("power", values).params
    monkeypatch.setattr(fit, "MAX_FOR_EXPONENT", 10_000)
    of_some = fit_scaler("power", values).params
    assert of_some["exponent"] == pytest.approx(of_all["exponent"], abs=0.03)
    assert of_some == fit_scaler("power", values).params


def test_values_that_are_not_finite_are_counted_in_all_blocks(monkeypatch):
    monkeypatch.setattr(mapped_arrays, "ROWS_PER_BLOCK", 3)
    values = np.ones((10, 1), np.float32)
    values[[1, 8]] = np.nan
    with pytest.raises(scaler.ScalerError, match=r"x: .*2 of 10"):
        bundle.fit_bundle(values, ("x",), [(("x",), "robust")])
