"""Medians of masked values by bisection, which passes over the values a few times instead of sorting them."""

import jax
import jax.numpy as jnp

# Standard deviation of a normal distribution, in median absolute deviations.
TO_STANDARD = 1.482602218505602
# Halvings of the interval between the smallest and the largest value.
_NUM_HALVINGS = 15


def masked_median(value_RxK, mask_K):
    """Return the medians (R,) of rows over the positions where the mask is True; 0 if it is nowhere.

    They are exact within 3e-5 of the interval between the smallest and the largest value.
    """
    num = mask_K.sum()
    rank = (num - 1) // 2
    high_R = jnp.max(jnp.where(mask_K, value_RxK, -jnp.inf), axis=1)
    # Masked values are beyond every bound.
    value_RxK = jnp.where(mask_K, value_RxK, jnp.inf)
    # Below all values: at most `rank` of them are not above the lower bound.
    least_R = jnp.min(value_RxK, axis=1)
    low_R = least_R - 1e-6 * jnp.abs(least_R) - 1e-30

    def halve(_, bounds):
        low_R, high_R = bounds
        middle_R = (low_R + high_R) / 2
        is_enough_R = (value_RxK <= middle_R[:, None]).sum(axis=1) > rank
        return jnp.where(is_enough_R, low_R, middle_R), jnp.where(is_enough_R, middle_R, high_R)

    low_R, high_R = jax.lax.fori_loop(0, _NUM_HALVINGS, halve, (low_R, high_R))
    median_R = _smallest_above(value_RxK, low_R)
    # Of an even number, the mean with the next value, which may be as near.
    is_near_R = (value_RxK <= high_R[:, None]).sum(axis=1) > num // 2
    next_R = jnp.where(is_near_R, median_R, _smallest_above(value_RxK, high_R))
    return jnp.where(num > 0, (median_R + next_R) / 2, 0)


def _smallest_above(value_RxK, bound_R):
    return jnp.min(jnp.where(value_RxK > bound_R[:, None], value_RxK, jnp.inf), axis=1)
