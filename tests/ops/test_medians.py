"""Medians are those of numpy."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from starjax.ops import medians

SIZE = 12
# Of the interval between the smallest and the largest value.
PRECISION = 4e-5

compiled = jax.jit(medians.masked_median)


@hypothesis.settings(deadline=None)
@hypothesis.given(
    npst.arrays(np.float32, (3, SIZE), elements=st.floats(-1e3, 1e3, width=32)),
    npst.arrays(bool, SIZE).filter(lambda mask: mask.any()),
)
def test_of_any_values(values, mask):
    # Below the smallest normal number jax has 0.
    values = np.where(np.abs(values) < 1e-30, 0, values)
    chosen = values[:, mask].astype(np.float64)
    found = np.asarray(compiled(values, mask))
    tolerance = PRECISION * np.ptp(chosen, axis=1) + 1e-6 * np.abs(chosen).max()
    assert (np.abs(found - np.median(chosen, axis=1)) <= tolerance).all()


@pytest.mark.parametrize("number", [1, 2, 3, 10, 11])
def test_they_are_exact_for_few_values(number):
    values = np.random.default_rng(number).normal(size=(4, SIZE)).astype(np.float32)
    mask = np.arange(SIZE) < number
    np.testing.assert_allclose(compiled(values, mask), np.median(values[:, mask], axis=1), rtol=1e-6)


def test_masked_values_do_not_matter():
    values = np.random.default_rng(0).normal(size=(2, SIZE)).astype(np.float32)
    mask = np.arange(SIZE) % 3 > 0
    changed = np.where(mask, values, [[np.nan], [1e30]]).astype(np.float32)
    np.testing.assert_array_equal(compiled(values, mask), compiled(changed, mask))


def test_without_values_it_is_zero():
    np.testing.assert_array_equal(compiled(jnp.ones((2, SIZE)), jnp.zeros(SIZE, bool)), [0, 0])
