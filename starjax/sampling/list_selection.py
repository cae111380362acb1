"""The stars that a member list lacks, and the field stars that it has too much."""

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.catalogs import photometry
from starjax.gaia import extinction, uncertainties
from starjax.ops import interpolation, medians, random
from starjax.sampling.measured_stars import MemberList
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import View

# Fraction of the stars beyond the bright limit that a list has all the same.
_BRIGHT_SHARE = 0.3
# Standard deviation of a normal distribution in median absolute values.
_TO_STANDARD = 1.4826
# A cut in motion that a list surely has, if none is drawn: membership codes select by motion [std. dev.].
_WIDEST_CUT = 5.0
# Field stars: their number grows by this factor in dex a magnitude, as star counts do at 12 < G < 18; they
# are dwarfs at distances near the cluster's with this scatter of the distance modulus, and of the colour
# [mag]; and some are giants, redder at the same magnitude.
_COUNTS, _MODULUS_SCATTER, _COLOUR_SCATTER = 0.25, 0.5, 0.15
_GIANT_SHARE, _GIANT_COLOUR, _GIANT_MAGNITUDE = 0.2, 1.2, 3.5
# Absolute G of dwarfs, on a uniform grid, and their colours.
_GRID_LOW, _GRID_STEP = 0.0, 0.25
_DWARF_COLOUR = photometry.colour_on_main_sequence(np.arange(_GRID_LOW, 15, _GRID_STEP), 10.0).astype(
    np.float32
)
# Probabilities of membership: 1 - 0.5 u^n with a uniform u. Those of the lists of Almeida et al. 2023 are
# above 0.93 for nine of ten stars, and lists end at 0.5.
_MEMBER_POWER, _FIELD_POWER = 8, 2


def select(key: jax.Array, sources: MemberList, view: View, observer: Observer) -> MemberList:
    """Return the list with the members that a survey and a membership code leave, and field stars.

    Field stars take the rows of sources that are not in the list, as long as there are some.
    """
    member_key, field_key, probability_key = jax.random.split(key, 3)
    bright_number, missing_number = random.uniform(member_key, (2, *sources.g.shape))
    is_kept = (sources.g > view.bright_limit) | (bright_number < _BRIGHT_SHARE)
    mask = sources.mask & (sources.g < view.faint_limit) & is_kept & (missing_number > view.missing_fraction)
    radius = view.distance * jnp.hypot(sources.lon, sources.lat)
    mask &= radius < view.radius
    dispersion = jnp.zeros(())
    if observer.motion_cut_range:
        residual, error = (residual_velocity(sources, view), _velocity_errors(sources, view))
        dispersion = _TO_STANDARD * medians.masked_median(jnp.abs(residual).reshape(2, -1), mask)[:, None]
        deviation = jnp.abs(residual) / jnp.sqrt(dispersion**2 + error**2)
        mask &= (deviation < view.motion_cut).all(axis=0)
    sources = sources._replace(mask=mask)
    if not observer.field_fraction_range:
        return sources
    return _add_field(field_key, probability_key, sources, radius, dispersion, view, observer)


def residual_velocity(sources: MemberList, view: View):
    """Return the velocities along longitude and latitude minus the cluster's (2, K) [km/s]."""
    cos_lon, sin_lon = jnp.cos(sources.lon), jnp.sin(sources.lon)
    cos_lat, sin_lat = jnp.cos(sources.lat), jnp.sin(sources.lat)
    vx, vy, vz = view.velocity
    mean = [vy * cos_lon - vx * sin_lon, vz * cos_lat - sin_lat * (vx * cos_lon + vy * sin_lon)]
    per_mas_yr = quantities.KMS_PER_PC_MAS_YR * view.distance
    return per_mas_yr * jnp.stack([sources.pm_lon, sources.pm_lat]) - jnp.stack(mean)


def _velocity_errors(sources: MemberList, view: View):
    per_mas_yr = quantities.KMS_PER_PC_MAS_YR * view.distance
    return per_mas_yr * jnp.stack([sources.pm_lon_error, sources.pm_lat_error])


def _add_field(key, probability_key, sources: MemberList, radius, dispersion, view: View, observer: Observer):
    """Return the list with field stars, and with probabilities of membership in half of all lists."""
    row_number, number = random.uniform(probability_key, (2, *sources.g.shape))
    num = sources.mask.sum()
    # On average; a rank among the free rows would take a sum over all of them for each.
    wanted = view.field_fraction / (1 - view.field_fraction) * num
    share = wanted / jnp.maximum(sources.mask.size - num, 1)
    is_field = ~sources.mask & (row_number < share)
    field = _draw_field(key, sources, jnp.max(jnp.where(sources.mask, radius, 0)), dispersion, view, observer)
    merged = jax.tree.map(lambda star, other: jnp.where(is_field, other, star), sources, field)
    probability = 1 - 0.5 * jnp.where(is_field, number**_FIELD_POWER, number**_MEMBER_POWER)
    return merged._replace(
        probability=jnp.where(view.has_probabilities, probability, 1.0), mask=sources.mask | is_field
    )


def _draw_field(key, sources: MemberList, radius, dispersion, view: View, observer: Observer) -> MemberList:
    """Return field stars (K,) spread evenly over a circle of `radius` [pc], within the cut in motion."""
    number = random.uniform(key, (9, *sources.g.shape))
    uniform, normal = (number[:6], random.to_normal(number[6:]))
    distance = radius / view.distance * jnp.sqrt(uniform[0])
    angle = 2 * jnp.pi * uniform[1]
    # Down to the magnitude where the list ends; at most 12 magnitudes brighter.
    faintest = jnp.where(jnp.isfinite(view.faint_limit), view.faint_limit, 20.0)
    g = faintest + jnp.maximum(jnp.log10(uniform[2]) / _COUNTS, -12.0)
    is_giant = uniform[3] < _GIANT_SHARE
    absolute_g = g - view.distance_modulus - extinction.EXTINCTION_G * view.extinction
    dwarf = interpolation.interpolate(
        absolute_g + _MODULUS_SCATTER * normal[0], _GRID_LOW, _GRID_STEP, _DWARF_COLOUR
    )
    is_giant &= absolute_g < _GIANT_MAGNITUDE
    colour = jnp.where(is_giant, _GIANT_COLOUR, dwarf) + _COLOUR_SCATTER * normal[1]
    reddening = (extinction.EXTINCTION_BP - extinction.EXTINCTION_RP) * view.extinction
    field = sources._replace(
        lon=distance * jnp.cos(angle), lat=distance * jnp.sin(angle), g=g, bp_rp=colour + reddening
    )
    parallax = jnp.broadcast_to(1000 / view.distance + view.zero_point, g.shape)
    if observer.gaia_errors:
        lon_error, lat_error = uncertainties.proper_motion_error_mas_yr(g)
        parallax_error = uncertainties.parallax_error_mas(g)
        field = field._replace(
            parallax_error=parallax_error,
            pm_lon_error=lon_error,
            pm_lat_error=lat_error,
            g_error=uncertainties.magnitude_error_mag(g),
            bp_rp_error=uncertainties.colour_error_mag(g, field.bp_rp),
        )
        parallax += parallax_error * normal[2]
    cut = jnp.minimum(view.motion_cut, _WIDEST_CUT)
    width = cut * jnp.sqrt(dispersion**2 + _velocity_errors(field, view) ** 2)
    still = field._replace(pm_lon=jnp.zeros_like(g), pm_lat=jnp.zeros_like(g))
    velocity = (2 * uniform[4:6] - 1) * width - residual_velocity(still, view)
    pm_lon, pm_lat = velocity / (quantities.KMS_PER_PC_MAS_YR * view.distance)
    return field._replace(parallax=parallax, pm_lon=pm_lon, pm_lat=pm_lat)
