"""Linear interpolation of a table on a uniform grid, by index arithmetic instead of a search."""

import jax.numpy as jnp


def interpolate(x, low: float, step: float, table):
    """Return the values of a table at `x`; constant beyond its ends.

    Args:
      x: array of any shape.
      low, step: the grid is low, low + step, …
      table: values on the grid (n,).
    """
    position = jnp.clip((x - low) / step, 0, len(table) - 1)
    below = jnp.minimum(position.astype(jnp.int32), len(table) - 2)
    values, slopes = jnp.asarray(table), jnp.diff(jnp.asarray(table))
    return values[below] + (position - below) * slopes[below]
