"""Interpolation is that of numpy."""

import jax
import numpy as np

from starjax.ops import interpolation


def test_as_numpy_within_and_beyond_the_table():
    table = np.random.default_rng(0).normal(size=20).astype(np.float32)
    grid = 1.5 + 0.25 * np.arange(len(table))
    made = interpolation.make_table(table)
    x = np.linspace(0, 8, 333).reshape(3, 111)
    found = jax.jit(lambda x: interpolation.interpolate(x, 1.5, 0.25, made))(x.astype(np.float32))
    np.testing.assert_allclose(found, np.interp(x, grid, table), atol=2e-5)
