"""The circumstances under which a cluster is observed, drawn once for each member list."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starjax.gaia.extinction import LAW_ERROR
from starjax.ops import random
from starjax.sampling.observer_settings import Observer

# Motion of the Sun relative to the local standard of rest, towards the Galactic centre, along the rotation
# and towards the north pole [km/s] (Schönrich, Binney & Dehnen 2010, MNRAS 403, 1829).
SOLAR_MOTION = (11.1, 12.24, 7.25)
# Oort's constants [km/s/pc] (Bovy 2017, MNRAS 468, L63).
OORT_A, OORT_B = 0.0153, -0.0119
# Fraction of the lists with probabilities of membership.
_LISTED_SHARE = 0.5
# No cluster is drawn closer to the Galactic poles.
_MAX_SIN_LATITUDE = 0.95
# Axes of the simulations along Galactic ones: x points away from the Galactic centre.
_TO_SIMULATION = np.array([-1.0, 1.0, 1.0], np.float32)


class Viewpoint(NamedTuple):
    """The circumstances of one list; scalars where no shape is given.

    Attributes:
      distance: to the centre of the cluster [pc].
      axes: unit vectors along the line of sight, Galactic longitude and latitude, in the frame of the
        simulation (3, 3).
      velocity: of the cluster relative to the Sun, along these axes (3,) [km/s].
      extinction, extinction_error: A_V, and the standard error that is stated for it [mag].
      extinction_estimate: A_V as the reader has it; `LAW_ERROR` adds to its error [mag].
      faint_limit, bright_limit: apparent G; fainter stars are missing, and many of the brighter ones [mag].
      missing_fraction: of the stars between these limits.
      radius: projected distance from the centre beyond which stars are missing [pc].
      motion_cut: deviation from the cluster's motion beyond which stars are missing [standard deviations].
      field_fraction: fraction of the list that are not members.
      zero_point: error of all parallaxes [mas].
      colour_error: error of the stellar models, of all colours [mag] and of the correction of cool stars, as
        a fraction (2,).
      radial_velocity: of the cluster, as the reader has it [km/s]; NaN if the reader has none.
      has_probabilities: whether the list has probabilities of membership.
    """

    distance: jax.Array
    axes: jax.Array
    velocity: jax.Array
    extinction: jax.Array
    extinction_error: jax.Array
    extinction_estimate: jax.Array
    faint_limit: jax.Array
    bright_limit: jax.Array
    missing_fraction: jax.Array
    radius: jax.Array
    motion_cut: jax.Array
    field_fraction: jax.Array
    zero_point: jax.Array
    colour_error: jax.Array
    radial_velocity: jax.Array
    has_probabilities: jax.Array

    @property
    def distance_modulus(self):
        """The distance modulus of the centre [mag]."""
        return 5 * jnp.log10(self.distance / 10)


def draw_view(salt: jax.Array, observer: Observer) -> Viewpoint:
    """Draw the circumstances of one list.

    Args:
      salt: of its random numbers, see `ops.random`.
      observer: the settings.
    """
    number = random.uniform(salt, (24,))
    uniform, normal = iter(number[:14]), iter(random.to_normal(number[14:]))

    def between(bounds, off=0.0):
        # The number is drawn in any case, so that the other circumstances do not depend on this one.
        number = next(uniform)
        return bounds[0] + (bounds[1] - bounds[0]) * number if bounds else jnp.asarray(off)

    def log_between(bounds, off=math.inf):
        number = next(uniform)
        return jnp.exp(jnp.log(bounds[0]) + math.log(bounds[1] / bounds[0]) * number) if bounds else off

    distance = log_between(observer.distance_range_pc)
    longitude = 2 * jnp.pi * next(uniform)
    sin_latitude = jnp.clip(
        observer.scale_height_pc * next(normal) / distance, -_MAX_SIN_LATITUDE, _MAX_SIN_LATITUDE
    )
    # Their components are towards the Galactic centre, the rotation and the north pole.
    galactic = local_axes(longitude, jnp.arcsin(sin_latitude))
    is_mirrored = next(uniform) < 0.5
    mirror = jnp.where(is_mirrored, -1.0, 1.0) ** jnp.array([0, 0, 1])
    velocity = bulk_velocity(
        distance, galactic, jnp.array(observer.velocity_dispersion_kms) * jnp.array([*_take(normal, 3)])
    )
    extinction = between(observer.extinction_range_v_mag)
    extinction_error = log_between(observer.extinction_error_range_v_mag, 0.0)
    law_error = LAW_ERROR * extinction if observer.extinction_error_range_v_mag else 0.0
    # A reader knows that no extinction is negative.
    estimate = jnp.maximum(extinction + jnp.hypot(extinction_error, law_error) * next(normal), 0)
    radial_velocity = jnp.where(
        next(uniform) < observer.radial_velocity_probability,
        velocity[0] + observer.radial_velocity_error_kms * next(normal),
        jnp.nan,
    )
    return Viewpoint(
        distance=distance,
        axes=galactic * (_TO_SIMULATION * mirror)[None],
        velocity=velocity,
        extinction=extinction,
        extinction_error=extinction_error,
        extinction_estimate=estimate,
        faint_limit=between(observer.faint_limit_range_mag, math.inf),
        bright_limit=between(observer.bright_limit_range_mag, -math.inf),
        missing_fraction=between(observer.missing_fraction_range),
        radius=log_between(observer.radius_range_pc),
        motion_cut=between(observer.motion_cut_range, math.inf),
        field_fraction=between(observer.field_fraction_range),
        zero_point=observer.zero_point_error_mas * next(normal),
        colour_error=jnp.array(observer.colour_error) * jnp.array([*_take(normal, 2)]),
        radial_velocity=radial_velocity,
        has_probabilities=next(uniform) < _LISTED_SHARE,
    )


def _take(numbers, count):
    return [next(numbers) for _ in range(count)]


def local_axes(lon, lat):
    """Return the components of unit vectors along the line of sight, longitude and latitude: (3, 3, …).

    Args:
      lon, lat: angles of any shape [rad].
    """
    cos_lon, sin_lon, cos_lat, sin_lat = jnp.cos(lon), jnp.sin(lon), jnp.cos(lat), jnp.sin(lat)
    return jnp.stack(
        [
            jnp.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]),
            jnp.stack([-sin_lon, cos_lon, jnp.zeros_like(lon)]),
            jnp.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat]),
        ]
    )


def projected(axes, velocity):
    """Return a velocity (3,) along some of the axes of each star (2, 3, K): (2, K)."""
    # Sums of rows: a contraction would be slower for so few.
    return axes[:, 0] * velocity[0] + axes[:, 1] * velocity[1] + axes[:, 2] * velocity[2]


def bulk_velocity(distance, axes, peculiar):
    """Return the velocity of a cluster relative to the Sun along `axes` (3,) [km/s].

    It is the differential rotation of the disc in Oort's approximation, plus the peculiar velocity of the
    cluster, minus that of the Sun.

    Args:
      distance: [pc].
      axes: see `local_axes`, with components towards the Galactic centre, the rotation and the pole.
      peculiar: velocity relative to the rotation (3,) [km/s].
    """
    cos_l, sin_l, cos_b, sin_b = axes[1, 1], -axes[1, 0], axes[2, 2], axes[0, 2]
    sin_2l, cos_2l = 2 * sin_l * cos_l, cos_l**2 - sin_l**2
    rotation = distance * jnp.stack(
        [
            OORT_A * sin_2l * cos_b**2,
            (OORT_A * cos_2l + OORT_B) * cos_b,
            -OORT_A * sin_2l * sin_b * cos_b,
        ]
    )
    return rotation + axes @ (peculiar - jnp.array(SOLAR_MOTION))
