"""A keyed pseudo-random permutation, evaluated only where it is needed.

`permute(key, i, size)` for i = 0, 1, … walks through 0 … size-1 in a random order without ever
building that order: K distinct stars out of n cost O(K), whatever n is.

The method is a Feistel network over Z_a x Z_b with a b >= size, and cycle walking for the few images
that fall outside (Black & Rogaway 2002, "Ciphers with Arbitrary Finite Domains", CT-RSA): each round
adds to one half a keyed hash of the other, which is a bijection whatever the hash is.
"""

import jax
import jax.numpy as jnp

# Rounds after which ordered pairs of images are uniform by chi-square tests of 2e7 draws. Halves of
# less than six values mix slowly: 8 rounds fail at size 30, 16 at size 6.
NUM_ROUNDS, NUM_ROUNDS_BELOW_32 = 12, 24


def permute(key: jax.Array, index: jax.Array, size: jax.Array, min_size: int = 1) -> jax.Array:
    """Images of `index` under the permutation of 0 … size-1 that `key` names.

    Args:
      index: integers in [0, size), of any shape. Others map to some value in [0, size).
      size: scalar integer, 1 <= size < 2**31. May be traced.
      min_size: what `size` is known not to fall below; from 32 on half the work suffices. The
        permutation depends on it only by that.

    Returns:
      uint32 of the shape of `index`.
    """
    num_rounds = NUM_ROUNDS if min_size >= 32 else NUM_ROUNDS_BELOW_32
    round_key = jax.random.bits(key, (num_rounds,), jnp.uint32)
    size = jnp.asarray(size).astype(jnp.uint32)
    num_high = jnp.sqrt(size.astype(jnp.float32)).astype(jnp.uint32) + 1  # below 2**16
    num_low = (size + num_high - 1) // num_high

    def encipher(value):
        high, low = value // num_low, value % num_low
        for number in range(0, num_rounds, 2):
            high = _add_modulo(high, _hash(low ^ round_key[number]), num_high)
            low = _add_modulo(low, _hash(high ^ round_key[number + 1]), num_low)
        return high * num_low + low

    def walk_on(value):
        return jnp.where(value < size, value, encipher(value))

    first = encipher(jnp.asarray(index).astype(jnp.uint32) % size)
    return jax.lax.while_loop(lambda value: (value >= size).any(), walk_on, first)


def _add_modulo(value, hashed, modulus):
    """(value + hashed scaled to [0, modulus)) mod modulus; the scaling is (hashed * modulus) >> 32."""
    high, low = hashed >> 16, hashed & 0xFFFF
    total = value + ((high * modulus + (low * modulus >> 16)) >> 16)
    return jnp.where(total >= modulus, total - modulus, total)


def _hash(x):
    """A well-mixing bijection of 32 bits (constants by C. Wellons, "Prospecting for Hash Functions")."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
