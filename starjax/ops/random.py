"""Cheap random numbers, drawn by the million: hashed counters, and a keyed pseudo-random permutation.

`permute(key, i, size)` for i = 0, 1, … visits 0 … size - 1 in a random order without storing that order: K
distinct stars out of n cost O(K), whatever n is.

The method is the swap-or-not shuffle (Hoang, Morris & Rogaway 2012, "An Enciphering Scheme Based on a Card
Shuffle", CRYPTO). Each round pairs every x with r - x mod size, for a random r, and swaps the two or not by a
coin that is the same for both. It works for any size, without divisions or rejections.
"""

import math

import jax
import jax.numpy as jnp


def mix(x: jax.Array) -> jax.Array:
    """Hash uint32 to uint32, so that the upper 16 bits of neighbouring values are uncorrelated.

    Source: C. Wellons, "Prospecting for Hash Functions" (2018), lowbias32, without its last step, which
    changes only the lower bits.
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    return (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)


# After these rounds one element in 2**24 has never been swapped. Ordered pairs of images pass chi-square
# tests of uniformity with 2e7 draws from 14 rounds on.
NUM_ROUNDS = 24


def permute(key: jax.Array, index: jax.Array, size: jax.Array) -> jax.Array:
    """Return the images of `index` under a permutation of 0 … size - 1 that `key` determines.

    Args:
      key: of jax.random.
      index: integers in [0, size), of any shape. Other integers map to some value in [0, size).
      size: scalar integer, 1 <= size < 2**32; may be traced.

    Returns:
      uint32 of the shape of `index`.
    """
    centre_R, salt_R = jax.random.bits(key, (2, NUM_ROUNDS), jnp.uint32)
    size = jnp.asarray(size).astype(jnp.uint32)
    centre_R = _scale(centre_R, size)
    # For indices beyond the range, which callers mask, `size - x` below must not wrap around.
    x = jnp.minimum(jnp.asarray(index).astype(jnp.uint32), size - 1)

    def shuffle(x, round_key):
        centre, salt = round_key
        # In this order no sum exceeds `size`, and 32 bits suffice.
        partner = jnp.where(x <= centre, centre - x, centre + (size - x))
        return jnp.where(_coin(jnp.maximum(x, partner) ^ salt), partner, x), None

    # XLA would fuse unrolled rounds into every operation that reads the result, and compute them repeatedly.
    return jax.lax.scan(shuffle, x, (centre_R, salt_R))[0]


def _scale(bits, size):
    """Map random bits to integers in [0, size): (bits * size) >> 32, in 32-bit arithmetic."""
    high, low = bits >> 16, bits & 0xFFFF
    size_high, size_low = size >> 16, size & 0xFFFF
    middle = high * size_low + (low * size_low >> 16)
    return high * size_high + (middle >> 16) + ((low * size_high + (middle & 0xFFFF)) >> 16)


def _coin(x):
    """Return a fair coin for each value."""
    return mix(x) >= jnp.uint32(2**31)


def salts(key: jax.Array, num: int) -> jax.Array:
    """Return the salts (num, 2) of independent sets of random numbers, see `bits16`.

    One call for all sets of a sample costs as much as splitting the key once.
    """
    return jax.random.bits(key, (num, 2), jnp.uint32)


def bits16(salt: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return uniform integers in [0, 65536), from two hashes each.

    They are streams along the last axis, one for each place in the axes before it. A longer stream begins
    with the numbers of a shorter one.

    Args:
      salt: one of `salts` (2,).
      shape: at most 2**8 streams of at most 2**24 numbers.
    """
    *places, length = shape
    num_stream = math.prod(places)
    if num_stream > 2**8 or length > 2**24:
        raise ValueError(f"shape={shape} should be at most 2**8 streams of at most 2**24 numbers")
    stream = jax.lax.iota(jnp.uint32, num_stream).reshape(*places, 1) << 24
    counter = jnp.expand_dims(jax.lax.iota(jnp.uint32, length), range(len(places))) + stream
    # Twice, since with one hash streams of two salts are correlated.
    return mix(mix(counter ^ salt[0]) ^ salt[1]) >> 16


def uniform(salt: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return float32 between 0 and 1, exclusive, in steps of 2**-16: ten times cheaper than jax.random's.

    Streams of numbers along the last axis, as from `bits16`.
    """
    return (bits16(salt, shape).astype(jnp.float32) + 0.5) / 2**16


# Of the numbers that `normal` returns, the largest.
MAX_NORMAL = 4.33


def to_normal(uniform: jax.Array) -> jax.Array:
    """Return numbers of the standard normal distribution for uniform ones between 0 and 1, exclusive."""
    return math.sqrt(2) * jax.lax.erf_inv(2 * uniform - 1)


def normal(salt: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return float32 of the standard normal distribution, within MAX_NORMAL of zero: see `uniform`."""
    return to_normal(uniform(salt, shape))
