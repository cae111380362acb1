"""Extinction follows DPAC's law and MIST, and is inverted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from starjax.gaia import extinction

COLOURS = hnp.arrays(np.float64, 20, elements=st.floats(-1, 5))
EXTINCTIONS = st.floats(0, 5)
# kG, kBP and kRP at colours of 0, 0.82 and 2 behind A_0 = 0.1, 1 and 4 mag, by dustapprox 0.2.0:
# `dustapprox.literature.edr3.edr3_ext().from_bprp(name, colour, a0, flavor="ms")`.
DPAC = (
    (0.9922132284105316, 0.8460427871931808, 0.6727615711226247),
    (1.1514006125349432, 1.0564204446004726, 0.9586475059370387),
    (0.6625567890228065, 0.6409507039839647, 0.5861524209298905),
)
# (BP-RP)_0 and A_G, A_BP, A_RP at A_V = 1: differences of MIST's bolometric corrections with and without
# extinction (R_V = 3.1, [Fe/H] = 0) of 30,000, 15,000, 10,000, 8,000, 6,000, 5,000 and 4,000 K with
# log g = 4.5, and of 3,500 K with log g = 5.
MIST = (
    (-0.471, (1.0276, 1.1875, 0.6697)),
    (-0.228, (0.9918, 1.1565, 0.6635)),
    (-0.042, (0.9638, 1.1320, 0.6583)),
    (0.240, (0.9239, 1.1070, 0.6529)),
    (0.720, (0.8583, 1.0653, 0.6420)),
    (1.060, (0.8140, 1.0294, 0.6342)),
    (1.663, (0.7467, 0.9874, 0.6148)),
    (2.175, (0.6978, 0.9780, 0.5916)),
)


def test_coefficients_are_those_of_dpac():
    found = extinction.extinction_coefficients(np.array([0.0, 0.82, 2.0]), np.array([0.1, 1.0, 4.0]))
    np.testing.assert_allclose(found, DPAC, rtol=1e-9)


@pytest.mark.parametrize(("bp_rp_0", "expected"), MIST)
def test_coefficients_agree_with_mist(bp_rp_0, expected):
    found = np.ravel(extinction.extinction_coefficients(np.array([bp_rp_0]), 1.0))
    np.testing.assert_allclose(found, expected, rtol=0.03)


def test_coefficients_of_the_sun_are_near_those_of_parsec():
    found = np.ravel(extinction.extinction_coefficients(np.array([0.82]), 1.0))
    parsec = (extinction.EXTINCTION_G, extinction.EXTINCTION_BP, extinction.EXTINCTION_RP)
    np.testing.assert_allclose(found, parsec, rtol=0.03)


def test_redder_stars_lose_less():
    colour = np.linspace(*extinction.COLOUR_RANGE, 200)
    k_g, k_bp, k_rp = extinction.extinction_coefficients(colour, 1.0)
    assert (np.diff(k_g) < 0).all()
    assert (np.diff(k_rp) < 0).all()
    # The cubic of BP has its minimum within the range.
    assert (np.diff(k_bp[colour < 1.9]) < 0).all()
    assert np.ptp(k_bp[colour > 1.9]) < 0.01


def test_coefficients_are_constant_beyond_the_range():
    low, high = extinction.COLOUR_RANGE
    found = extinction.extinction_coefficients(np.array([low - 1, low, high, high + 2]), 0.5)
    for k in found:
        assert k[0] == k[1]
        assert k[2] == k[3]


@settings(deadline=None)
@given(COLOURS, EXTINCTIONS)
def test_round_trip(bp_rp_0, extinction_v):
    g_0 = np.linspace(-3, 16, bp_rp_0.size)
    observed = extinction.reddened(g_0, bp_rp_0, extinction_v)
    found = extinction.intrinsic(*observed, extinction_v)
    np.testing.assert_allclose(found, (g_0, bp_rp_0), atol=2e-4)


def test_no_extinction_changes_nothing():
    g, bp_rp = np.array([3.0, 12.0]), np.array([-0.2, 1.7])
    np.testing.assert_array_equal(extinction.reddened(g, bp_rp, 0.0), (g, bp_rp))
    np.testing.assert_array_equal(extinction.intrinsic(g, bp_rp, 0.0), (g, bp_rp))


def test_a_missing_colour_has_no_intrinsic_magnitude():
    assert np.isnan(extinction.intrinsic(np.array([12.0]), np.array([np.nan]), 0.5)).all()


def test_compiled_is_the_same():
    rng = np.random.default_rng(0)
    g, bp_rp = rng.uniform(5, 20, (3, 50)), rng.uniform(-0.5, 4, (3, 50))
    extinction_v = rng.uniform(0, 3, (3, 1))
    for function in (extinction.reddened, extinction.intrinsic):
        expected = function(g, bp_rp, extinction_v)
        arguments = [jnp.asarray(x, jnp.float32) for x in (g, bp_rp, extinction_v)]
        np.testing.assert_allclose(jax.jit(function)(*arguments), expected, atol=1e-5)
        np.testing.assert_allclose(jax.jit(jax.vmap(function))(*arguments), expected, atol=1e-5)


def test_derivatives_are_those_of_the_inverse():
    g_0, bp_rp_0, extinction_v = jnp.float32(10), jnp.float32(1.1), jnp.float32(1.5)

    def reddened(stars):
        return jnp.stack(extinction.reddened(*stars, extinction_v))

    def intrinsic(stars):
        return jnp.stack(extinction.intrinsic(*stars, extinction_v))

    stars = jnp.stack([g_0, bp_rp_0])
    product = jax.jacobian(intrinsic)(reddened(stars)) @ jax.jacobian(reddened)(stars)
    np.testing.assert_allclose(product, np.eye(2), atol=1e-4)
