"""Functions of numpy and jax arrays alike, where the array API standard has none.

Posteriors are computed with numpy in float64. An exported program computes them in float32 by tracing the
same code with jax (`inference.jax_function`). Functions that both libraries have are called by
`x.__array_namespace__()`.
"""

from collections.abc import Callable

import jax
import numpy as np
import scipy.special


def is_jax(x) -> bool:
    """Return whether an array is jax's, traced or not."""
    return isinstance(x, jax.Array)


def widen(x, like):
    """Return `x` in numpy's float64 if `like` is a numpy array; a jax array keeps its type."""
    return x if is_jax(like) else np.asarray(x, np.float64)


def ndtr(x):
    """Return the standard normal cumulative distribution at `x`."""
    return jax.scipy.special.ndtr(x) if is_jax(x) else scipy.special.ndtr(x)


def repeat(update: Callable[[tuple], tuple], num: int, state: tuple) -> tuple:
    """Return `state` after `num` calls of `update`.

    In jax it is a loop of the compiled program: unrolled, it would take minutes to compile.
    """
    if is_jax(state[0]):
        return jax.lax.fori_loop(0, num, lambda _, now: update(now), state)
    for _ in range(num):
        state = update(state)
    return state
