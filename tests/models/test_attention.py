"""Attention in tiles against the plain formula, for several sizes of tiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax.models import attention

NUM_SAMPLE, NUM_HEAD, NUM_QUERY, NUM_KEY = 5, 2, 7, 9


pytestmark = pytest.mark.usefixtures("all_optimizations")


def written_out(q, k, v, mask):
    """Return softmax attention with all weights at once; the mean of the values for an empty set."""
    product = functools.partial(jnp.einsum, precision="highest")  # a GPU would round float32 to 19 bits
    logits = product("bhdq,bhdk->bhqk", q, k) * q.shape[2] ** -0.5
    logits = jnp.where(mask[:, None, None], logits, -jnp.inf)
    weights = jnp.where(mask.any(axis=1)[:, None, None, None], jax.nn.softmax(logits), 1 / k.shape[3])
    return product("bhqk,bhdk->bhdq", weights, v)


def make(head_dim, dtype=jnp.float32, spread=1.0):
    keys = jax.random.split(jax.random.key(8), 4)
    q, k, v = (
        spread * jax.random.normal(key, (NUM_SAMPLE, NUM_HEAD, head_dim, num), dtype)
        for key, num in zip(keys, (NUM_QUERY, NUM_KEY, NUM_KEY), strict=False)
    )
    # One sample is full, one has one star.
    mask = jax.random.bernoulli(keys[3], 0.7, (NUM_SAMPLE, NUM_KEY)).at[0].set(True).at[1].set(False)
    return q, k, v, mask.at[1, 4].set(True)


def value_and_gradients(attend, q, k, v, mask):
    def total(q, k, v):
        attended = attend(q, k, v, mask)
        return (attended.astype(jnp.promote_types(attended.dtype, jnp.float32)) ** 2).sum(), attended

    return jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True))(q, k, v)


# Tiles of one query, some queries of a sample (with a remainder), one sample, two (with a remainder), and
# all.
TILES = (1, NUM_HEAD * NUM_KEY * 3, NUM_HEAD * NUM_KEY * NUM_QUERY, NUM_HEAD * NUM_KEY * NUM_QUERY * 2, 10**6)


@pytest.mark.parametrize("head_dim", [3, *(pytest.param(n, marks=pytest.mark.weekly) for n in (1, 8))])
@pytest.mark.parametrize(
    "tile",
    [TILES[1], *(pytest.param(n, marks=pytest.mark.weekly) for n in (TILES[0], *TILES[2:4])), TILES[4]],
)
def test_results_do_not_depend_on_the_tiles(head_dim, tile, monkeypatch):
    monkeypatch.setattr(attention, "CPU_TILE", tile)
    arrays = make(head_dim)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        value_and_gradients(attention.attention, *arrays),
        value_and_gradients(written_out, *arrays),
    )


def test_large_logits_do_not_overflow():
    arrays = make(3, spread=10.0)  # logits of some hundreds, whose exponentials overflow float32
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()),
        value_and_gradients(attention.attention, *arrays),
        value_and_gradients(written_out, *arrays),
    )


def test_a_set_without_stars_gets_the_mean_of_its_values_and_finite_gradients():
    q, k, v, mask = make(2)
    (_, attended), gradients = value_and_gradients(attention.attention, q, k, v, mask.at[2].set(False))
    np.testing.assert_allclose(attended[2], np.repeat(v[2].mean(-1)[..., None], NUM_QUERY, -1), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.weekly
def test_float64_is_kept(float64):
    arrays = make(3, jnp.float64)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10),
        value_and_gradients(attention.attention, *arrays),
        value_and_gradients(written_out, *arrays),
    )
    np.testing.assert_allclose(attention.attention(*arrays), written_out(*arrays), rtol=1e-12)


def test_bfloat16_keeps_float32_weights():
    q, k, v, mask = make(3)
    short = [x.astype(jnp.bfloat16) for x in (q, k, v)]
    (_, attended), gradients = value_and_gradients(attention.attention, *short, mask)
    assert {x.dtype for x in (attended, *gradients)} == {jnp.dtype(jnp.bfloat16)}
    exact = written_out(*(x.astype(jnp.float32) for x in short), mask)
    # Half a unit in the last place of the result, and of the weights that meet the values.
    np.testing.assert_allclose(attended.astype(jnp.float32), exact, rtol=2**-7, atol=2**-8)


def test_memory_grows_with_the_number_of_stars_not_with_its_square():
    def temporary_bytes(num_star):
        shape = jax.ShapeDtypeStruct((64, 8, 1, num_star), jnp.float32)
        mask = jax.ShapeDtypeStruct((64, num_star), bool)
        compiled = jax.jit(
            jax.grad(lambda q, k, v, mask: attention.attention(q, k, v, mask).sum(), argnums=(0, 1, 2))
        ).lower(shape, shape, shape, mask)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    few, many = temporary_bytes(256), temporary_bytes(2048)
    assert many < 8 * 1.2 * few
    assert many < 64 * 8 * 2048**2 * 4 / 50  # of the weights of all pairs
