"""Linear interpolation of a table on a uniform grid, by index arithmetic instead of a search.

Arrays may be of numpy or of jax, also traced.
"""

import numpy as np


def make_table(values: np.ndarray) -> np.ndarray:
    """Return values on a grid (n,) as `interpolate` needs them: with the difference to the next one (n, 2).

    One look-up of both is faster than one of each.
    """
    return np.stack([values, np.diff(values, append=values[-1])], axis=1)


def interpolate(x, low: float, step: float, table: np.ndarray):
    """Return the values of a table at `x`; constant beyond its ends, NaN at NaN.

    Args:
      x: array of any shape.
      low, step: the grid is low, low + step, …
      table: as from `make_table`.
    """
    xp = x.__array_namespace__()
    cell = xp.clip((x - low) / step, 0, len(table) - 1)
    # NaN has no integer. It stays in `cell`, and so in the result.
    below = xp.where(xp.isnan(cell), 0, cell).astype("int32")
    found = xp.take(xp.asarray(table), below, axis=0)
    return found[..., 0] + (cell - below) * found[..., 1]
