"""Cheap randomness for what is drawn by the million: a few words from a key, mixed with running numbers."""

import jax
import jax.numpy as jnp


def mix(x: jax.Array) -> jax.Array:
    """Maps uint32 to uint32, so that the upper 16 bits of neighbours have nothing in common.

    Source: C. Wellons, "Prospecting for Hash Functions" (2018), lowbias32, without its last step, which changes
    the lower bits only.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    return (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
