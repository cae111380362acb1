"""The features of a member list, with centre, distance and motion estimated from the list itself.

These are the steps of the reader of observed lists (`catalogs.features`), on arrays of fixed shape and with
fixed numbers of iterations. A test reads the observer's lists with both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from starjax import quantities
from starjax.catalogs import photometry
from starjax.ops import medians
from starjax.sampling.measured_stars import MemberList
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import View

# As in the reader: `astrometry` and `membership` say what these are.
_FIT_WITHIN, _MEMBER_WITHIN, _TAILS_WITHIN = 4.0, 5.0, 10.0
_MAX_PERSPECTIVE_ERROR_KMS, _MIN_SCATTER_KMS = 5.0, 1e-6
# Standard deviation of a normal distribution in median absolute deviations.
_TO_STANDARD = 1.482602
# The fits of the reader converge in a few iterations.
_NUM_ITERATIONS = 3
_TINY = 1e-12
# That of a star at a megaparsec.
_MIN_PARALLAX_MAS = 1e-3
# Weight of a velocity that is fixed, against those that are fitted [s²/km²].
_FIXED = 1e8


class Distances(NamedTuple):
    """Distances (K,) of the stars and their errors [pc], and deviations from the cluster [std. dev.]."""

    star: jax.Array
    error: jax.Array
    deviation: jax.Array


def read(sources: MemberList, view: View, observer: Observer) -> tuple[dict[str, jax.Array], jax.Array]:
    """Return the features (K,) by name, and the mask of the members (K,)."""
    lon, lat, mask = sources.lon, sources.lat, sources.mask
    if observer.is_estimated:
        lon, lat = jnp.stack([lon, lat]) - medians.masked_median(jnp.stack([lon, lat]), mask)[:, None]
        distances = estimate_distances(sources, lon, lat)
    else:
        exact = 1000 / sources.parallax
        distances = Distances(exact, jnp.zeros_like(exact), jnp.zeros_like(exact))
    axes = _axes_across(lon, lat)
    per_mas_yr = quantities.KMS_PER_PC_MAS_YR * distances.star
    motion = jnp.stack([sources.pm_lon, sources.pm_lat])
    motion_error = jnp.stack([sources.pm_lon_error, sources.pm_lat_error])
    velocity = per_mas_yr * motion
    by_distance = quantities.KMS_PER_PC_MAS_YR * distances.error * motion
    error = jnp.hypot(per_mas_yr * motion_error, by_distance)
    mean = view.velocity
    if observer.is_estimated:
        mean = fit_motion(axes, velocity, error, mask, view.radial_velocity)
    residual = velocity - _projected(axes, mean)
    if observer.is_estimated:
        scatter = _scatter(residual, mask)
        deviation = jnp.max(jnp.abs(residual) / jnp.sqrt(error**2 + scatter**2), axis=0)
        mask &= (deviation < _MEMBER_WITHIN) & (jnp.abs(distances.deviation) < _MEMBER_WITHIN)
    magnitudes = photometry.colour_magnitude(
        sources.g,
        sources.bp_rp,
        distances.star,
        distances.error,
        view.extinction_estimate,
        view.extinction_error,
    )
    features = {
        "y": distances.star * jnp.cos(lat) * jnp.sin(lon),
        "z": distances.star * jnp.sin(lat),
        "vy": residual[0],
        "vz": residual[1],
        "v_error_kms": jnp.sqrt((error**2).mean(axis=0)),
        "membership_probability": sources.probability,
    }
    return features | magnitudes, mask


def estimate_distances(sources: MemberList, lon, lat) -> Distances:
    """Return the distances of the stars, as `astrometry.combine_parallaxes` estimates them."""
    measured, mask = sources.parallax, sources.mask
    dispersion = angular_dispersion(lon, lat, mask)

    # Tiny numbers keep lists without stars, or without errors, finite.
    def improve(_, mean):
        variance = sources.parallax_error**2 + (mean * dispersion) ** 2 + _TINY
        is_used = mask & (jnp.abs(measured - mean) < _FIT_WITHIN * jnp.sqrt(variance))
        weight = jnp.where(is_used, 1 / variance, 0)
        return jnp.maximum((weight * measured).sum() / (weight.sum() + _TINY), _MIN_PARALLAX_MAS)

    median = jnp.maximum(medians.masked_median(measured[None], mask)[0], _MIN_PARALLAX_MAS)
    mean = jax.lax.fori_loop(0, _NUM_ITERATIONS, improve, median)
    depth = (mean * dispersion) ** 2
    weight = depth / (depth + sources.parallax_error**2 + _TINY)
    parallax = mean + weight * (measured - mean)
    parallax = jnp.where(parallax > 0, parallax, mean)
    error = jnp.sqrt(depth * (1 - weight))
    distance = 1000 / parallax
    deviation = (measured - mean) / jnp.sqrt(depth + sources.parallax_error**2 + _TINY)
    return Distances(distance, error * distance**2 / 1000, deviation)


def angular_dispersion(lon, lat, mask):
    """Return the standard deviation along one direction of the sky, as `sky_frames` does [rad]."""
    along = jnp.stack([jnp.cos(lat) * jnp.sin(lon), jnp.sin(lat)])
    deviation = jnp.abs(along - medians.masked_median(along, mask)[:, None])
    limit = _TAILS_WITHIN * _TO_STANDARD * medians.masked_median(deviation, mask)[:, None]
    is_within = mask & (deviation <= limit)
    variance = jnp.where(is_within, deviation**2, 0).sum(axis=1) / jnp.maximum(is_within.sum(axis=1), 1)
    return jnp.sqrt(variance.mean())


def fit_motion(axes, velocity, error, mask, radial_velocity):
    """Return the space velocity of the cluster (3,) [km/s], as `astrometry.fit_motion` does.

    Args:
      axes: unit vectors along longitude and latitude at the stars (2, 3, K).
      velocity, error: along them (2, K) [km/s].
      mask: True for stars in the list.
      radial_velocity: of the cluster; NaN if unknown. Then it is fitted if it can be, and else 0.
    """
    is_known = ~jnp.isnan(radial_velocity)
    given = jnp.where(is_known, radial_velocity, 0.0)
    median = jnp.concatenate([given[None], medians.masked_median(velocity, mask)])
    # The variance that the radial velocity would have, if it were fitted.
    fitted = _inverse(_normal_equations(axes, velocity, error, mask, median)[0])[0, 0]
    is_fixed = is_known | ~((fitted > 0) & (fitted < _MAX_PERSPECTIVE_ERROR_KMS**2))
    fixed = jnp.where(is_fixed, _FIXED, 0.0) * jnp.array([1.0, 0.0, 0.0])

    def improve(_, mean):
        matrix, gradient = _normal_equations(axes, velocity, error, mask, mean)
        return mean + _inverse(matrix + jnp.diag(fixed)) @ (gradient + fixed * (given - mean[0]))

    return jax.lax.fori_loop(0, _NUM_ITERATIONS, improve, median)


def _normal_equations(axes, velocity, error, mask, mean):
    """Return matrix (3, 3) and right-hand side (3,) of the fit of a correction to the motion `mean`."""
    residual = velocity - _projected(axes, mean)
    variance = error**2 + _scatter(residual, mask) ** 2
    is_used = mask & (residual**2 < _FIT_WITHIN**2 * variance).all(axis=0)
    # Sums of products of rows: a contraction would be slower for so few rows.
    weighted = jnp.where(is_used, axes.transpose(1, 0, 2) / variance, 0)
    matrix = jnp.stack([(weighted * axes[:, i]).sum(axis=(1, 2)) for i in range(3)], axis=1)
    return matrix, (weighted * residual).sum(axis=(1, 2))


def _projected(axes, velocity):
    """Return a space velocity (3,) along axes (2, 3, K): (2, K)."""
    return axes[:, 0] * velocity[0] + axes[:, 1] * velocity[1] + axes[:, 2] * velocity[2]


def _inverse(matrix):
    """Return the inverse (3, 3) of a matrix by cofactors; zeros if it is singular."""
    a, b, c = matrix
    adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    determinant = a @ adjugate[:, 0]
    return jnp.where(jnp.abs(determinant) > 0, adjugate / jnp.where(determinant == 0, 1, determinant), 0)


def _scatter(residual, mask):
    """Return a robust standard deviation about zero of both components together [km/s]."""
    absolute, both_mask = jnp.abs(residual).reshape(1, -1), jnp.tile(mask, 2)
    return jnp.maximum(_TO_STANDARD * medians.masked_median(absolute, both_mask)[0], _MIN_SCATTER_KMS)


def _axes_across(lon, lat):
    """Return unit vectors along longitude and latitude at the stars (2, 3, K)."""
    cos_lon, sin_lon, cos_lat, sin_lat = jnp.cos(lon), jnp.sin(lon), jnp.cos(lat), jnp.sin(lat)
    return jnp.stack(
        [
            jnp.stack([-sin_lon, cos_lon, jnp.zeros_like(lon)]),
            jnp.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat]),
        ]
    )
