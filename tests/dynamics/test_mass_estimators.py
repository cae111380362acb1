"""Masses of random Plummer spheres, isotropic and anisotropic, with velocity errors and outliers."""

import dataclasses

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import integrate

from starjax.datasets import shard
from starjax.datasets.load import SAMPLE_DIRECTORY
from starjax.datasets.shard_files import shard_path
from starjax.dynamics import mass_estimators

MASS, SCALE = 500.0, 1.5
# Expected result of each method for a Plummer sphere, in units of its mass.
EXPECTED = {"virial": 1, "projected_virial": 1, "wolf": np.pi / 4, "leonard_merritt": 1}


def isotropic(rng, num):
    """Return positions [pc] and velocities [km/s] (num, 3); Aarseth, Hénon & Wielen 1974, A&A 37, 183."""
    radius = SCALE / np.sqrt(rng.random(num) ** (-2 / 3) - 1)
    share = np.empty(0)
    while len(share) < num:
        q, height = rng.random(4 * num), 0.1 * rng.random(4 * num)
        share = np.concatenate([share, q[height < q**2 * (1 - q**2) ** 3.5]])
    speed = share[:num] * np.sqrt(2 * mass_estimators.G * MASS) * (radius**2 + SCALE**2) ** -0.25
    direction = rng.normal(size=(2, num, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return direction[0] * radius[:, None], direction[1] * speed[:, None]


def anisotropic(rng, num, sign):
    """Return the same sphere with the dispersions of the Jeans equation for anisotropic velocities.

    The anisotropy is sign r² / (r² + a²), with sign 1 that of Osipkov 1979 and Merritt 1985. Velocities are
    uniform, so that none are outliers.
    """
    radius = SCALE / np.sqrt(rng.random(num) ** (-2 / 3) - 1)
    grid = np.geomspace(1e-3, 1e4, 4000) * SCALE
    density = (1 + (grid / SCALE) ** 2) ** -2.5
    force = mass_estimators.G * MASS * grid / (grid**2 + SCALE**2) ** 1.5
    factor = (grid**2 + SCALE**2) ** sign
    inside = integrate.cumulative_trapezoid(factor * density * force, grid, initial=0)
    radial = np.sqrt(np.interp(radius, grid, (inside[-1] - inside) / (factor * density)))
    tangential = radial * np.sqrt(1 - sign * radius**2 / (radius**2 + SCALE**2))
    direction = rng.normal(size=(num, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    velocity = np.sqrt(3) * rng.uniform(-1, 1, (num, 3))
    velocity -= np.sum(velocity * direction, axis=1, keepdims=True) * direction
    velocity *= tangential[:, None]
    velocity += (radial * np.sqrt(3) * rng.uniform(-1, 1, num))[:, None] * direction
    return direction * radius[:, None], velocity


def project(position, velocity):
    return np.stack([*position[:, 1:].T, *velocity[:, 1:].T])


def assert_masses(found):
    for name, share in EXPECTED.items():
        mass = found.mass[name]
        assert abs(mass.value - share * MASS) < 3 * mass.standard_error + 0.01 * share * MASS, name


def test_constants_of_the_plummer_sphere():
    """By integrals over the model, which the module does not compute."""

    def mass(r):
        return r**3 / (r**2 + 1) ** 1.5

    def density(r):
        return 3 / (4 * np.pi) * (1 + r**2) ** -2.5

    potential, _ = integrate.quad(lambda r: -4 * np.pi * r * density(r) * mass(r), 0, np.inf)
    variance = -potential / 3
    assert pytest.approx(np.pi / 32) == variance
    assert pytest.approx(1 / variance) == mass_estimators.PLUMMER_ETA
    half_3d = 1 / np.sqrt(2 ** (2 / 3) - 1)
    assert mass(half_3d) == pytest.approx(0.5)
    assert 1 / (variance * half_3d) == pytest.approx(7.81, abs=0.005)
    assert pytest.approx(10.19, abs=0.005) == mass_estimators.PLUMMER_ETA

    def column(big_r):
        return 2 * integrate.quad(lambda x: density(np.hypot(x, big_r)), 0, np.inf)[0]

    within, _ = integrate.quad(lambda big_r: 2 * np.pi * big_r * column(big_r), 0, 1)
    assert within == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(2))
def test_isotropic_sphere(seed):
    found = mass_estimators.estimate_masses(*project(*isotropic(np.random.default_rng(seed), 8_000)))
    assert found.r_half_projected_pc.value == pytest.approx(SCALE, rel=0.03)
    sigma = np.sqrt(np.pi * mass_estimators.G * MASS / (32 * SCALE))
    assert found.sigma_1d_kms.value == pytest.approx(sigma, rel=0.015)
    assert_masses(found)
    assert all(found.mass[name].standard_error < 0.02 * share * MASS for name, share in EXPECTED.items())
    assert found.note == ""


@pytest.mark.parametrize("sign", [-1, 1])
def test_sphere_with_anisotropic_velocities(sign):
    """The virial theorem holds for any orbits, and so do the coefficients of Leonard & Merritt."""
    stars = project(*anisotropic(np.random.default_rng(2), 6_000, sign))
    assert_masses(mass_estimators.estimate_masses(*stars))
    # Equal coefficients for both components would fail: this tests the coefficients, too.
    y, z, vy, vz = stars
    equal = 16 / (np.pi * mass_estimators.G) * np.mean(np.hypot(y, z) * (vy**2 + vz**2))
    assert abs(equal / MASS - 1) > 0.05


def test_coefficients_of_leonard_and_merritt():
    """To one percent, with many stars, and without the weights of `estimate_masses`."""
    for sign in (-1, 1):
        position, velocity = (part[:, 1:] for part in anisotropic(np.random.default_rng(3), 200_000, sign))
        none = np.zeros(len(position))
        members = mass_estimators.TracerStars(
            position,
            velocity,
            np.zeros_like(position),
            np.ones_like(position),
            1.0,
            none,
            mass_estimators.UNKNOWN,
            none,
        )
        assert mass_estimators.leonard_merritt(members).value == pytest.approx(MASS, rel=0.01)


def test_velocity_errors_are_corrected():
    rng = np.random.default_rng(3)
    y, z, vy, vz = project(*isotropic(rng, 4_000))
    # From well below the dispersion, 0.37 km/s, to twice it.
    errors = rng.uniform(0.02, 0.8, (2, len(y)))
    vy, vz = np.stack([vy, vz]) + errors * rng.normal(size=errors.shape)
    found = mass_estimators.estimate_masses(y, z, vy, vz, *errors)
    assert_masses(found)
    assert found.mass["virial"].standard_error < 0.05 * MASS
    assert mass_estimators.estimate_masses(y, z, vy, vz).mass["virial"].value > 1.5 * MASS


@pytest.mark.parametrize("share", [0.02, 0.15])
def test_fast_stars_do_not_change_masses(share):
    rng = np.random.default_rng(4)
    y, z, vy, vz = project(*isotropic(rng, 4_000))
    is_fast = rng.random(len(y)) < share
    vy, vz = np.where(is_fast, rng.normal(0, 20, (2, len(y))), [vy, vz])
    found = mass_estimators.estimate_masses(y, z, vy, vz)
    assert found.num_member == pytest.approx((~is_fast).sum(), rel=0.01)
    assert_masses(found)


@pytest.mark.parametrize(("num", "error"), [(60, 0.0), (300, 0.0), (300, 0.2)])
def test_standard_errors_are_the_scatter(num, error):
    rng = np.random.default_rng(5)
    given, found = np.full((2, num), error), []
    for _ in range(200):
        y, z, vy, vz = project(*isotropic(rng, num))
        vy, vz = np.stack([vy, vz]) + given * rng.normal(size=given.shape)
        one = mass_estimators.estimate_masses(y, z, vy, vz, *given)
        found.append([*one.mass.values(), one.sigma_1d_kms, one.r_half_projected_pc])
    values = np.array([[estimate.value for estimate in row] for row in found])
    errors = np.array([[estimate.standard_error for estimate in row] for row in found])
    np.testing.assert_allclose(values.std(axis=0), np.sqrt(np.mean(errors**2, axis=0)), rtol=0.25)
    # The bias is small compared with the scatter, for few stars too.
    expected = MASS * np.array(list(EXPECTED.values()))
    assert np.all(abs(np.median(values[:, :4], axis=0) / expected - 1) < 0.06)


def cluster(seed, num=80):
    rng = np.random.default_rng(seed)
    stars = project(*isotropic(rng, num))
    stars[2:, :2] = rng.normal(0, 15, (2, 2))
    return stars


def values(found):
    named = {
        **found.mass,
        "sigma_1d_kms": found.sigma_1d_kms,
        "r_half_projected_pc": found.r_half_projected_pc,
    }
    return {name: np.array(dataclasses.astuple(estimate)) for name, estimate in named.items()}


def assert_scaled(found, before, mass=1.0, sigma=1.0, radius=1.0):
    factor = {"sigma_1d_kms": sigma, "r_half_projected_pc": radius}
    for name, expected in values(before).items():
        scaled = expected * factor.get(name, mass)
        np.testing.assert_allclose(values(found)[name], scaled, rtol=1e-4, err_msg=name)


@hypothesis.given(
    seed=st.integers(0, 1000),
    shift=st.tuples(*[st.floats(-30, 30)] * 4),
    angle=st.floats(0, 6.3),
    mirror=st.booleans(),
    scales=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_origin_orientation_order_and_scale(seed, shift, angle, mirror, scales):
    y, z, vy, vz = cluster(seed)
    before = mass_estimators.estimate_masses(y, z, vy, vz)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirror:
        rotation[1] *= -1
    radius, sigma = scales
    order = np.random.default_rng(seed).permutation(len(y))
    position = radius * rotation @ [y, z] + np.reshape(shift[:2], (2, 1))
    velocity = sigma * rotation @ [vy, vz] + np.reshape(shift[2:], (2, 1))
    after = mass_estimators.estimate_masses(*position[:, order], *velocity[:, order])
    assert_scaled(after, before, mass=radius * sigma**2, sigma=sigma, radius=radius)
    assert after.num_member == before.num_member


def test_few_stars():
    stars = cluster(0)[:, 2:]
    found = mass_estimators.estimate_masses(*stars[:, : mass_estimators.MIN_STARS - 1])
    assert "too few stars, 4: at least 5" in found.note
    assert all(np.isnan(estimate).all() for estimate in values(found).values())
    found = mass_estimators.estimate_masses(*stars[:, : mass_estimators.MIN_STARS])
    assert all(np.isfinite(estimate).all() for estimate in values(found).values())
    assert mass_estimators.estimate_masses(*np.empty((4, 0))).num_star == 0


def test_errors_above_the_dispersion():
    y, z, vy, vz = cluster(0)[:, 2:]
    error = np.full(len(y), 5.0)
    found = mass_estimators.estimate_masses(y, z, vy, vz, error, error)
    assert "no dispersion beyond the velocity errors" in found.note
    assert found.sigma_1d_kms.value == 0 < found.sigma_1d_kms.standard_error
    assert (
        found.r_half_projected_pc.value
        == mass_estimators.estimate_masses(y, z, vy, vz).r_half_projected_pc.value
    )
    assert all(np.isnan(estimate.value) for estimate in found.mass.values())


def test_a_marginal_dispersion_is_noted():
    rng = np.random.default_rng(6)
    y, z, vy, vz = project(*isotropic(rng, 100))
    error = np.full(len(y), 1.5)
    vy, vz = np.stack([vy, vz]) + 1.55 * rng.normal(size=(2, len(y)))
    assert "hardly exceeds" in mass_estimators.estimate_masses(y, z, vy, vz, error, error).note


@pytest.mark.parametrize(("rows", "note"), [([2, 3], "no dispersion"), ([0, 1], "at one point")])
def test_stars_with_equal_positions_or_velocities(rows, note):
    stars = cluster(0)[:, 2:]
    stars[rows] = 3.0
    found = mass_estimators.estimate_masses(*stars)
    assert note in found.note
    assert all(np.isnan(estimate.value) for estimate in found.mass.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vy": [0.0] * 5}, r"should all be \(6,\)"),
        ({"z": [0, 1, np.nan, 3, np.inf, 5]}, "z is not finite for 2 of 6 stars, the first at index 2"),
        (
            {"vz_error": [1, 1, 1, -1, 1, 1]},
            "vz_error is negative or not finite for 1 of 6 stars, the first at index 3",
        ),
    ],
)
def test_impossible_columns_are_refused(change, message):
    columns = {name: np.arange(6.0) for name in ("y", "z", "vy", "vz")}
    with pytest.raises(mass_estimators.MassEstimatorError, match=message):
        mass_estimators.estimate_masses(**columns | change)


def test_masses_of_simulated_clusters():
    """Masses of the packaged sample are about twice the truth, due to unbound stars and tides."""
    path = shard_path(SAMPLE_DIRECTORY, "raw", "test")
    whole = shard.load_shard(path).select(("y", "z", "vy", "vz"), ("total_mass_within_2x_r_tidal",))
    chosen = range(0, whole.num_snapshot, 6)
    log_mass = np.log10(whole.target[chosen, 0].astype(np.float64))
    found = [
        mass_estimators.estimate_masses(*whole.feature[whole.ptr[i] : whole.ptr[i + 1]].T) for i in chosen
    ]
    for name, least in {"virial": 0.7, "projected_virial": 0.8, "leonard_merritt": 0.7}.items():
        error = np.log10([one.mass[name].value for one in found]) - log_mass
        assert 1 - error.var() / log_mass.var() > least, name
        assert 0.1 < error.mean() < 0.5
