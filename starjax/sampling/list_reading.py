"""The features of a member list, with centre, distance and motion estimated from the list itself.

These are the steps of the reader of observed lists (`catalogs.features`), on arrays of fixed shape and with
few iterations. A test reads the observer's lists with both.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.gaia import photometry
from starjax.ops import medians
from starjax.sampling.measured_stars import MemberList
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import Viewpoint, local_axes, projected

# As in the reader: `astrometry` and `membership` say what these are.
_FIT_WITHIN, _MEMBER_WITHIN, _TAILS_WITHIN = 4.0, 5.0, 10.0
_MAX_PERSPECTIVE_ERROR_KMS, _MIN_SCATTER_KMS = 5.0, 1e-6
# The fits of the reader converge in a few iterations; it seldom leaves out stars more than four times.
_NUM_ITERATIONS, _MAX_PASSES = 3, 5
_TINY = 1e-12
# That of a star at a megaparsec.
_MIN_PARALLAX_MAS = 1e-3


class Distances(NamedTuple):
    """Distances (K,) of the stars and their errors [pc], and deviations from the cluster [std. dev.]."""

    star: jax.Array
    error: jax.Array
    deviation: jax.Array


class Geometry(NamedTuple):
    """Positions and motions of the stars relative to the cluster.

    Attributes:
      along: components of the directions of the stars along longitude and latitude at the centre (2, K).
      distances: of the stars.
      residual, error: velocities along longitude and latitude minus the cluster's, and their errors (2, K)
        [km/s].
      scatter: standard deviation of the residuals, with errors [km/s].
      motion: of the cluster (3,) [km/s].
    """

    along: jax.Array
    distances: Distances
    residual: jax.Array
    error: jax.Array
    scatter: jax.Array
    motion: jax.Array


def read(sources: MemberList, view: Viewpoint, observer: Observer) -> tuple[dict[str, jax.Array], jax.Array]:
    """Return the features (K,) by name, and the mask of the members (K,)."""
    axes = local_axes(sources.lon, sources.lat)
    if observer.is_estimated:
        geometry, mask = _select_members(sources, axes, view)
    else:
        geometry, mask = _known_geometry(sources, axes, view), sources.mask
    distances, error = geometry.distances, geometry.error
    magnitudes = photometry.colour_magnitude(
        sources.g,
        sources.bp_rp,
        distances.star,
        distances.error,
        view.extinction_estimate,
        view.extinction_error,
    )
    features = {
        "y": distances.star * geometry.along[0],
        "z": distances.star * geometry.along[1],
        "vy": geometry.residual[0],
        "vz": geometry.residual[1],
        "v_error_kms": jnp.maximum(jnp.sqrt((error**2).mean(axis=0)), quantities.MIN_V_ERROR_KMS),
        "membership_probability": sources.probability,
    }
    return features | magnitudes, mask


def _select_members(sources: MemberList, axes, view: Viewpoint) -> tuple[Geometry, jax.Array]:
    """Return the geometry of the members and their mask (K,), as `membership.select_members` does.

    Non-members shift the means and widen the scatter, which can hide others: the fit is repeated until none
    is left. Few lists need more than two passes.
    """

    def fit(mask, motion, number) -> Geometry:
        return _estimate_geometry(sources._replace(mask=mask), axes, view, motion, number)

    def leave_out(carry):
        mask, before, _, number = carry
        geometry = fit(mask, before.motion, number)
        deviation = jnp.max(
            jnp.abs(geometry.residual) / jnp.sqrt(geometry.error**2 + geometry.scatter**2), axis=0
        )
        deviation = jnp.maximum(deviation, jnp.abs(geometry.distances.deviation))
        kept = mask & (deviation <= _MEMBER_WITHIN)
        return kept, geometry, (kept != mask).any(), number + 1

    # Zeros that are a result of the stars: shard_map checks that they vary over devices as later values do.
    zero = 0 * sources.lon[0]
    like = jax.eval_shape(fit, sources.mask, jnp.zeros(3), 0)
    empty = jax.tree.map(lambda one: jnp.broadcast_to(zero, one.shape), like)
    carry = (sources.mask, empty, sources.mask.any(), jnp.array(0))
    mask, geometry, _, _ = jax.lax.while_loop(
        lambda carry: carry[2] & (carry[3] < _MAX_PASSES), leave_out, carry
    )
    return geometry, mask


def _estimate_geometry(sources: MemberList, axes, view: Viewpoint, before, number) -> Geometry:
    """Return the geometry with centre, distance and motion of the cluster estimated from all stars.

    Args:
      sources: of the list.
      axes: see `local_axes`, about the true centre.
      view: the circumstances.
      before: the motion that was estimated from a few stars more (3,) [km/s]; not used if `number` is 0.
      number: how many estimates there were before.
    """
    mask = sources.mask
    # One call for all, which costs little more than one for a single median.
    measured = (sources.lon, sources.lat, sources.parallax, sources.pm_lon, sources.pm_lat)
    lon, lat, parallax, *motion = medians.masked_median(jnp.stack(measured), mask)
    parallax = jnp.maximum(parallax, _MIN_PARALLAX_MAS)
    first = quantities.KMS_PER_PC_MAS_YR * (1000 / parallax) * jnp.stack(motion)
    start = jnp.where(number == 0, jnp.concatenate([jnp.zeros_like(first[:1]), first]), before)
    # All vectors along the axes at the centre that is estimated, since the radial velocity is that there.
    axes = _rotated(local_axes(lon[None], lat[None])[:, :, 0], axes)
    along = axes[0, 1:]
    dispersion = angular_dispersion(along, mask)
    distances = estimate_distances(sources, dispersion, _mean_parallax(sources, dispersion, parallax))
    velocity, error = _tangential(sources, distances)
    # Without a few stars, the motion is nearly the same.
    num_iteration = jnp.where(number == 0, _NUM_ITERATIONS, 1)
    mean, scatter = fit_motion(axes[1:], velocity, error, mask, view.radial_velocity, start, num_iteration)
    return Geometry(along, distances, velocity - projected(axes[1:], mean), error, scatter, mean)


def _known_geometry(sources: MemberList, axes, view: Viewpoint) -> Geometry:
    """Return the geometry about the true centre, with the true distance and motion of the cluster."""
    dispersion = angular_dispersion(axes[0, 1:], sources.mask)
    distances = estimate_distances(sources, dispersion, 1000 / view.distance)
    velocity, error = _tangential(sources, distances)
    residual = velocity - projected(axes[1:], view.velocity)
    scatter = _scatter(residual, sources.mask)
    return Geometry(axes[0, 1:], distances, residual, error, scatter, view.velocity)


def _tangential(sources: MemberList, distances: Distances):
    """Return velocities along longitude and latitude and their errors (2, K) [km/s]."""
    motion = jnp.stack([sources.pm_lon, sources.pm_lat])
    motion_error = jnp.stack([sources.pm_lon_error, sources.pm_lat_error])
    per_mas_yr = quantities.KMS_PER_PC_MAS_YR * distances.star[None]
    by_distance = quantities.KMS_PER_PC_MAS_YR * distances.error[None] * motion
    return per_mas_yr * motion, jnp.hypot(per_mas_yr * motion_error, by_distance)


def estimate_distances(sources: MemberList, dispersion, parallax) -> Distances:
    """Return the distances of the stars, as `astrometry.combine_parallaxes` estimates them.

    Args:
      dispersion: standard deviation of the positions along one direction of the sky [rad].
      parallax: of the cluster [mas].
    """
    # Tiny numbers keep lists without stars, or without errors, finite.
    depth = (parallax * dispersion) ** 2
    deviation = sources.parallax - parallax
    weight = depth / (depth + sources.parallax_error**2 + _TINY)
    of_star = parallax + weight * deviation
    distance = 1000 / jnp.where(of_star > 0, of_star, parallax)
    error = jnp.sqrt(depth * (1 - weight)) * distance**2 / 1000
    return Distances(distance, error, deviation / jnp.sqrt(depth + sources.parallax_error**2 + _TINY))


def _mean_parallax(sources: MemberList, dispersion, start):
    """Return the mean parallax without outliers [mas], from a first estimate on."""
    measured = sources.parallax

    def improve(_, mean):
        variance = sources.parallax_error**2 + (mean * dispersion) ** 2 + _TINY
        is_used = sources.mask & (jnp.abs(measured - mean) < _FIT_WITHIN * jnp.sqrt(variance))
        weight = jnp.where(is_used, 1 / variance, 0)
        return jnp.maximum((weight * measured).sum() / (weight.sum() + _TINY), _MIN_PARALLAX_MAS)

    return jax.lax.fori_loop(0, _NUM_ITERATIONS, improve, start)


def angular_dispersion(along, mask):
    """Return the standard deviation along one direction of the sky, as `sky_frames` does [rad].

    Args:
      along: see `Geometry`; their medians are zero, since the centre is the median.
    """
    limit = _TAILS_WITHIN * medians.TO_STANDARD * medians.masked_median(jnp.abs(along), mask)[:, None]
    is_within = mask[None] & (jnp.abs(along) <= limit)
    variance = jnp.where(is_within, along**2, 0).sum(axis=1) / jnp.maximum(is_within.sum(axis=1), 1)
    return jnp.sqrt(variance.mean())


def fit_motion(axes, velocity, error, mask, radial_velocity, start, num_iteration):
    """Return the space velocity of the cluster (3,) as `astrometry.fit_motion` does, and the scatter [km/s].

    Args:
      axes: unit vectors along longitude and latitude at the stars (2, 3, K).
      velocity, error: along them (2, K) [km/s].
      mask: True for stars in the list.
      radial_velocity: of the cluster, the first component; NaN if unknown. Then it is fitted if it can be,
        and else 0.
      start: first estimate (3,) [km/s].
      num_iteration: number of iterations.
    """
    is_known = ~jnp.isnan(radial_velocity)
    given = jnp.where(is_known, radial_velocity, 0.0)
    is_radial = np.array([True, False, False])

    def improve(_, state):
        mean, _ = state
        scatter, matrix, gradient = _normal_equations(axes, velocity, error, mask, mean)
        # The variance that the radial velocity has, if it is fitted.
        variance = _inverse(matrix)[0, 0]
        is_fixed = is_known | ~((variance > 0) & (variance < _MAX_PERSPECTIVE_ERROR_KMS**2))
        # If it is fixed, its equation says what it is, in numbers of the size of the others.
        size = matrix[1, 1]
        is_replaced = is_fixed & is_radial
        matrix = jnp.where(is_replaced[:, None], size * jnp.diag(is_radial), matrix)
        gradient = jnp.where(is_replaced, size * (given - mean[0]), gradient)
        return mean + _inverse(matrix) @ gradient, scatter

    start = jnp.where(is_known & is_radial, given, start)
    return jax.lax.fori_loop(0, num_iteration, improve, (start, 0 * start[1]))


def _normal_equations(axes, velocity, error, mask, mean):
    """Return the scatter, and matrix (3, 3) and right-hand side (3,) of the fit of a correction to `mean`."""
    residual = velocity - projected(axes, mean)
    scatter = _scatter(residual, mask)
    variance = error**2 + scatter**2
    is_used = mask & (residual**2 < _FIT_WITHIN**2 * variance).all(axis=0)
    # Sums of products of rows: a contraction would be slower for so few rows.
    weighted = jnp.where(is_used, axes.transpose(1, 0, 2) / variance[None], 0)
    matrix = jnp.stack([(weighted * axes[None, :, i]).sum(axis=(1, 2)) for i in range(3)], axis=1)
    return scatter, matrix, (weighted * residual[None]).sum(axis=(1, 2))


def _rotated(rotation, axes):
    """Return the components in new axes of vectors (3, 3, K), the second index of which is the component."""
    # Sums of rows: a contraction would be slower for so few.
    return jnp.stack(
        [axes[:, 0] * row[0] + axes[:, 1] * row[1] + axes[:, 2] * row[2] for row in rotation], axis=1
    )


def _inverse(matrix):
    """Return the inverse (3, 3) of a matrix by cofactors; zeros if it is singular."""
    # Third powers of large weights are beyond the range of float32.
    scale = jnp.maximum(jnp.trace(matrix), _TINY)
    a, b, c = matrix / scale
    adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    determinant = a @ adjugate[:, 0]
    is_regular = jnp.abs(determinant) > 0
    return jnp.where(is_regular, adjugate / jnp.where(is_regular, determinant, 1) / scale, 0)


def _scatter(residual, mask):
    """Return a robust standard deviation about zero of both components together [km/s]."""
    absolute, both_mask = jnp.abs(residual).reshape(1, -1), jnp.tile(mask, 2)
    return jnp.maximum(medians.TO_STANDARD * medians.masked_median(absolute, both_mask)[0], _MIN_SCATTER_KMS)
