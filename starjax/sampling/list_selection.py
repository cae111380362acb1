"""The stars that a member list lacks, and the field stars that it has too much."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.gaia import extinction, photometry, uncertainties
from starjax.ops import fusion, interpolation, medians, random
from starjax.sampling import viewpoint
from starjax.sampling.measured_stars import MemberList
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import Viewpoint

# Fraction of the stars beyond the bright limit that a list has all the same.
_BRIGHT_SHARE = 0.3
# A cut in motion that a list surely has, if none is drawn: membership codes select by motion [std. dev.].
_WIDEST_CUT = 5.0
_TINY = 1e-12
# Field stars: their number grows by this factor in dex a magnitude, as star counts do at 12 < G < 18; they
# are dwarfs at distances near the cluster's with this scatter of the distance modulus, and of the colour
# [mag]; and some are giants, redder at the same magnitude.
_COUNTS, _MODULUS_SCATTER, _COLOUR_SCATTER = 0.25, 0.5, 0.15
_GIANT_SHARE, _GIANT_COLOUR, _GIANT_MAGNITUDE = 0.2, 1.2, 3.5
# Absolute G of dwarfs, on a uniform grid, and their colours.
_GRID_LOW, _GRID_STEP = 0.0, 0.25
_DWARF_COLOUR = interpolation.make_table(
    photometry.colour_on_main_sequence(np.arange(_GRID_LOW, 15, _GRID_STEP), np.array(10.0)).astype(
        np.float32
    )
)
# Probabilities of membership: 1 - 0.5 u^n with a uniform u. Those of the lists of Almeida et al. 2023 are
# above 0.93 for nine of ten stars, and lists end at 0.5.
_MEMBER_POWER, _FIELD_POWER = 8, 2


# Sets of random numbers that `select` needs.
NUM_SALT = 5


def select(salts: jax.Array, sources: MemberList, num_row, view: Viewpoint, observer: Observer) -> MemberList:
    """Return the list with the members that a survey and a membership code leave, and field stars.

    Args:
      salts: of its random numbers (NUM_SALT, 2), see `ops.random`.
      sources: of the members.
      num_row: the rows that members are in, from the first; field stars are in the next ones. If there are
        too few rows, they take the place of the faintest members.
      view: the circumstances.
      observer: the settings.
    """
    member_salt, number_salt, field_salt, *probability_salts = salts
    bright_number, missing_number = random.uniform(member_salt, (2, *sources.g.shape))
    is_kept = (sources.g > view.bright_limit) | (bright_number < _BRIGHT_SHARE)
    mask = sources.mask & (sources.g < view.faint_limit) & is_kept & (missing_number > view.missing_fraction)
    radius = view.distance * jnp.hypot(sources.lon, sources.lat)
    mask &= radius < view.radius
    if not (observer.motion_cut_range or observer.field_fraction_range):
        return sources._replace(mask=mask)
    residual = residual_velocity(sources, view)
    error = _kms_per_mas_yr(view) * jnp.stack([sources.pm_lon_error, sources.pm_lat_error])
    dispersion = medians.TO_STANDARD * medians.masked_median(jnp.abs(residual), mask)[:, None]
    deviation = jnp.abs(residual) / jnp.sqrt(dispersion**2 + error**2 + _TINY)
    mask &= (deviation < view.motion_cut).all(axis=0)
    sources = sources._replace(mask=mask)
    if not observer.field_fraction_range:
        return sources
    most = math.floor(_field_ratio(observer.field_fraction_range[1]) * mask.size) + 1
    widest = jnp.max(jnp.where(mask, radius, 0))
    field = fusion.materialize(
        _draw_field(field_salt, min(most, mask.size), widest, dispersion, view, observer)
    )
    wanted = _field_ratio(view.field_fraction) * mask.sum()
    num_field = jnp.floor(wanted + random.uniform(number_salt, (1,))[0]).astype(int)
    return _merge(probability_salts, sources, field, num_row, num_field, view)


def _field_ratio(fraction):
    """Return field stars for each member, if they are a fraction of a list."""
    return fraction / (1 - fraction)


def max_num_field(num_row, view: Viewpoint, observer: Observer):
    """Return the most field stars of a list whose members are in `num_row` rows."""
    if not observer.field_fraction_range:
        return 0
    return jnp.floor(_field_ratio(view.field_fraction) * num_row).astype(int) + 1


def _merge(salts, sources: MemberList, field: MemberList, num_row, num_field, view: Viewpoint) -> MemberList:
    """Return the list with the first `num_field` of the field stars, and probabilities of membership."""
    size, num_drawn = sources.mask.size, field.mask.size
    member_salt, field_salt = salts
    number = random.uniform(member_salt, (size,)) ** _MEMBER_POWER
    field_number = random.uniform(field_salt, (num_drawn,)) ** _FIELD_POWER
    sources = sources._replace(probability=_probability(number, view))
    field = field._replace(probability=_probability(field_number, view))
    rank = jnp.arange(size) - jnp.maximum(jnp.minimum(num_row, size - num_field), 0)
    is_field = (rank >= 0) & (rank < num_field)
    position = jnp.clip(rank, 0, num_drawn - 1)
    return jax.tree.map(lambda own, other: jnp.where(is_field, other[position], own), sources, field)


def _probability(number, view: Viewpoint):
    return jnp.where(view.has_probabilities, 1 - 0.5 * number, 1.0)


def residual_velocity(sources: MemberList, view: Viewpoint):
    """Return the velocities along longitude and latitude minus the cluster's (2, K) [km/s]."""
    proper_motion = jnp.stack([sources.pm_lon, sources.pm_lat])
    return _kms_per_mas_yr(view) * proper_motion - _mean_velocity(sources.lon, sources.lat, view)


def _mean_velocity(lon, lat, view: Viewpoint):
    """Return the velocity of the cluster along longitude and latitude at some positions (2, K) [km/s]."""
    return viewpoint.projected(viewpoint.local_axes(lon, lat)[1:], view.velocity)


def _kms_per_mas_yr(view: Viewpoint):
    return quantities.KMS_PER_PC_MAS_YR * view.distance


def _draw_field(salt, size: int, radius, dispersion, view: Viewpoint, observer: Observer) -> MemberList:
    """Return field stars (size,) spread evenly over a circle of `radius` [pc], within the cut in motion.

    Args:
      dispersion: of the velocities of members (2, 1) [km/s].
    """
    number = random.uniform(salt, (9, size))
    uniform, normal = number[:6], random.to_normal(number[6:])
    distance = radius / view.distance * jnp.sqrt(uniform[0])
    angle = 2 * jnp.pi * uniform[1]
    lon, lat = distance * jnp.cos(angle), distance * jnp.sin(angle)
    g, bp_rp = fusion.materialize(_field_photometry(uniform[2:4], normal[:2], view))
    zero = jnp.zeros_like(g)
    parallax = jnp.broadcast_to(1000 / view.distance + view.zero_point, g.shape)
    parallax_error, motion_error, g_error, bp_rp_error = zero, jnp.stack([zero, zero]), zero, zero
    if observer.gaia_errors:
        parallax_error = uncertainties.parallax_error_mas(g)
        motion_error = jnp.stack(uncertainties.proper_motion_error_mas_yr(g))
        g_error = uncertainties.magnitude_error_mag(g)
        bp_rp_error = uncertainties.colour_error_mag(g, bp_rp)
        parallax += parallax_error * normal[2]
    cut = jnp.minimum(view.motion_cut, _WIDEST_CUT)
    width = cut * jnp.sqrt(dispersion**2 + (_kms_per_mas_yr(view) * motion_error) ** 2)
    velocity = _mean_velocity(lon, lat, view) + (2 * uniform[4:6] - 1) * width
    pm_lon, pm_lat = velocity / _kms_per_mas_yr(view)
    return MemberList(
        lon=lon,
        lat=lat,
        parallax=parallax,
        parallax_error=parallax_error,
        pm_lon=pm_lon,
        pm_lat=pm_lat,
        pm_lon_error=motion_error[0],
        pm_lat_error=motion_error[1],
        g=g,
        bp_rp=bp_rp,
        g_error=g_error,
        bp_rp_error=bp_rp_error,
        probability=jnp.ones_like(g),
        mask=jnp.ones_like(g, bool),
    )


def _field_photometry(uniform, normal, view: Viewpoint):
    """Return the apparent G and BP-RP of field stars (size,) [mag], from two numbers of each kind."""
    # Down to the magnitude where the list ends; at most 12 magnitudes brighter.
    faintest = jnp.where(jnp.isfinite(view.faint_limit), view.faint_limit, 20.0)
    g = faintest + jnp.maximum(jnp.log10(uniform[0]) / _COUNTS, -12.0)
    absolute_g = g - view.distance_modulus - extinction.EXTINCTION_G * view.extinction
    dwarf = interpolation.interpolate(
        absolute_g + _MODULUS_SCATTER * normal[0], _GRID_LOW, _GRID_STEP, _DWARF_COLOUR
    )
    is_giant = (uniform[1] < _GIANT_SHARE) & (absolute_g < _GIANT_MAGNITUDE)
    colour = jnp.where(is_giant, _GIANT_COLOUR, dwarf) + _COLOUR_SCATTER * normal[1]
    return g, colour + (extinction.EXTINCTION_BP - extinction.EXTINCTION_RP) * view.extinction
