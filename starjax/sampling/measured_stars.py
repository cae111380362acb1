"""The stars of a cluster as Gaia measures them: unresolved binaries, projection, magnitudes and errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.gaia import extinction, uncertainties
from starjax.ops import fusion, interpolation, random
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import Viewpoint

# Pairs closer than the resolution are one source, with an edge of this relative width, and pairs of unequal
# stars further apart by this fraction a magnitude. In Gaia EDR3 pairs of equal stars are one source below
# about 0.65", and those that differ by 5 mag below 1.5" (Fabricius et al. 2021, A&A 649, A5, section 4.3).
_EDGE, _BY_CONTRAST = 0.18, 0.25
# Binaries of shorter periods than this [yr] move about their centre of mass often enough during the mission
# that their mean motion is that of the centre of mass.
_MISSION_YR = 5.0
_PC_PER_AU = np.pi / 648_000
# The colours BP-RP by which real dwarfs are redder than simulated ones of the same magnitude [mag], on a grid
# of simulated colours: from the dwarfs of Pecaut & Mamajek 2013 (see `gaia.photometry`), and for F to K
# stars from the Pleiades. The simulations' tracks are a little too blue, and the atmospheres of their cool
# stars lack absorption in BP. Hot stars are not corrected: at one temperature (8,000 and 10,000 K) they are
# already 0.02 to 0.03 mag redder than Pecaut & Mamajek's dwarfs, whose magnitudes are no measure, since most
# clusters are younger.
_GRID_LOW, _GRID_STEP = 0.2, 0.1
_SIMULATED = (
    *(0.3, 0.7, 1.2, 1.4, 1.56, 1.70, 1.86, 1.96, 2.05),
    *(2.13, 2.25, 2.40, 2.58, 2.81, 3.06, 3.33, 3.61, 4.0),
)
_REDDER = (
    *(0.0, 0.03, 0.03, 0.07, 0.11, 0.11, 0.13, 0.18, 0.27),
    *(0.35, 0.42, 0.45, 0.44, 0.34, 0.31, 0.24, 0.17, 0.02),
)
_CORRECTION = interpolation.make_table(
    np.interp(np.arange(_GRID_LOW, 4.05, _GRID_STEP), _SIMULATED, _REDDER).astype(np.float32)
)


class TrueStars(NamedTuple):
    """Stars of a snapshot (K,), in the frame of the simulation.

    Attributes:
      position, velocity: (3, K) [pc], [km/s].
      mass: [Msun].
      g, rp, bp_rp: absolute magnitudes and intrinsic colour [mag].
      semi_major_axis: of the binary [AU].
      companion: 1, -1 or 0, see `quantities`.
      mask: True for stars, False for padded positions.
    """

    position: jax.Array
    velocity: jax.Array
    mass: jax.Array
    g: jax.Array
    rp: jax.Array
    bp_rp: jax.Array
    semi_major_axis: jax.Array
    companion: jax.Array
    mask: jax.Array


class MemberList(NamedTuple):
    """Sources (K,) of a member list.

    Attributes:
      lon, lat: offsets from the true centre along Galactic longitude and latitude [rad].
      parallax, parallax_error: [mas].
      pm_lon, pm_lat, pm_lon_error, pm_lat_error: proper motions, with the factor cos(lat) in pm_lon
        [mas/yr].
      g, bp_rp, g_error, bp_rp_error: apparent magnitude and colour [mag].
      probability: of membership.
      mask: True for sources in the list.
    """

    lon: jax.Array
    lat: jax.Array
    parallax: jax.Array
    parallax_error: jax.Array
    pm_lon: jax.Array
    pm_lat: jax.Array
    pm_lon_error: jax.Array
    pm_lat_error: jax.Array
    g: jax.Array
    bp_rp: jax.Array
    g_error: jax.Array
    bp_rp_error: jax.Array
    probability: jax.Array
    mask: jax.Array


def to_stars(star_KxC: jax.Array, mask_K: jax.Array) -> TrueStars:
    """Return stars from their columns, of which the first are `quantities.OBSERVER`."""
    x, y, z, vx, vy, vz, mass, g, bp_rp, rp, axis, companion = star_KxC.T[: len(quantities.OBSERVER)]
    return TrueStars(
        jnp.stack([x, y, z]), jnp.stack([vx, vy, vz]), mass, g, rp, bp_rp, axis, companion, mask_K
    )


# Sets of random numbers that `measure` needs.
NUM_SALT = 3


def measure(salts: jax.Array, stars: TrueStars, view: Viewpoint, observer: Observer) -> MemberList:
    """Return what Gaia measures of all stars of a snapshot, whatever their brightness.

    Args:
      salts: of its random numbers (NUM_SALT, 2), see `ops.random`.
      stars: the stars.
      view: the circumstances.
      observer: the settings.
    """
    binary_salt, extinction_salt, noise_salt = salts
    if observer.resolution_arcsec:
        stars = fusion.materialize(merge_binaries(binary_salt, stars, view, observer.resolution_arcsec))
    position = view.axes @ stars.position + view.distance * jnp.array([[1.0], [0.0], [0.0]])
    velocity = view.axes @ stars.velocity + view.velocity[:, None]
    lon, lat, distance, along_lon, along_lat = project(position, velocity)
    g, bp_rp = _apparent(extinction_salt, stars, distance, view, observer)
    per_pc = quantities.KMS_PER_PC_MAS_YR * distance
    exact = MemberList(
        lon=lon,
        lat=lat,
        parallax=1000 / distance + view.zero_point,
        parallax_error=jnp.zeros_like(distance),
        pm_lon=along_lon / per_pc,
        pm_lat=along_lat / per_pc,
        pm_lon_error=jnp.zeros_like(distance),
        pm_lat_error=jnp.zeros_like(distance),
        g=g,
        bp_rp=bp_rp,
        g_error=jnp.zeros_like(distance),
        bp_rp_error=jnp.zeros_like(distance),
        probability=jnp.ones_like(distance),
        mask=stars.mask,
    )
    exact = fusion.materialize(exact)
    return _with_errors(noise_salt, exact) if observer.gaia_errors else exact


def merge_binaries(salt: jax.Array, stars: TrueStars, view: Viewpoint, resolution_arcsec: float) -> TrueStars:
    """Return the stars, with pairs that Gaia does not resolve as one star, in the row of the brighter one.

    Fluxes add. The place is that of the photocentre. So is the motion, unless the orbit is short: then it is
    that of the centre of mass. Resolved pairs are as far apart as was drawn.

    Args:
      salt: of its random numbers.
      stars: the stars.
      view: the circumstances.
      resolution_arcsec: separation below which equal stars are one source.
    """
    # Of a fainter star, the next row is that of another system, and not used.
    other = jax.tree.map(lambda x: jnp.roll(x, -1, axis=-1), stars)
    cosine, edge_number = random.uniform(salt, (2, *stars.g.shape))
    # The cosine of the angle between the line of sight and the line between the stars is uniform.
    separation = stars.semi_major_axis * jnp.sqrt(1 - cosine**2) / view.distance
    edge = 1 + _EDGE * random.to_normal(edge_number) + _BY_CONTRAST * jnp.abs(other.g - stars.g)
    # Beyond about 2" even a bright star hides nothing.
    threshold = resolution_arcsec * jnp.clip(edge, 0.0, 3.0)
    # The companion of the last row may be beyond the rows that are observed.
    is_merged = (stars.companion > 0) & (other.companion < 0) & (separation < threshold)
    is_fainter = stars.companion < 0
    is_hidden = is_fainter & jnp.roll(is_merged, 1)
    # Places in data sets are too coarse for the separations of binaries. The direction makes no difference.
    apart = view.axes[1][:, None] * (separation * view.distance * _PC_PER_AU)[None]
    beside = jnp.roll(stars.position + apart, 1, axis=1)
    position = jnp.where(is_fainter, beside, stars.position)
    difference = {name: getattr(other, name) - getattr(stars, name) for name in ("g", "rp", "bp_rp")}
    flux = {
        "g": _flux(difference["g"]),
        "rp": _flux(difference["rp"]),
        "bp": _flux(difference["rp"] + difference["bp_rp"]),
    }
    gain = {band: jnp.where(is_merged, 2.5 * jnp.log10(1 + value), 0) for band, value in flux.items()}
    light_share = flux["g"] / (1 + flux["g"])
    total_mass = stars.mass + other.mass
    # Kepler's third law in years, AU and solar masses, without the square roots.
    is_short = stars.semi_major_axis**3 < _MISSION_YR**2 * total_mass
    motion_share = jnp.where(is_short, other.mass / total_mass, light_share)
    light_step, motion_step = (jnp.where(is_merged, share, 0)[None] for share in (light_share, motion_share))
    return stars._replace(
        position=position + light_step * apart,
        velocity=stars.velocity + motion_step * (other.velocity - stars.velocity),
        g=stars.g - gain["g"],
        rp=stars.rp - gain["rp"],
        bp_rp=stars.bp_rp - gain["bp"] + gain["rp"],
        mask=stars.mask & ~is_hidden,
    )


def _flux(magnitude):
    return jnp.exp(-0.4 * jnp.log(10.0) * magnitude)


def project(position, velocity):
    """Return what is seen of points in space, with axes x along the line of sight, y and z across.

    Args:
      position, velocity: (3, K) [pc], [km/s].

    Returns:
      Longitude and latitude [rad], distance [pc], and velocities along longitude and latitude [km/s], (K,)
      each.
    """
    x, y, z = position
    vx, vy, vz = velocity
    across = jnp.hypot(x, y)
    distance = jnp.hypot(across, z)
    cos_lon, sin_lon, cos_lat, sin_lat = x / across, y / across, across / distance, z / distance
    along_lon = vy * cos_lon - vx * sin_lon
    along_lat = vz * cos_lat - sin_lat * (vx * cos_lon + vy * sin_lon)
    return jnp.arctan2(y, x), jnp.arctan2(z, across), distance, along_lon, along_lat


def _apparent(salt: jax.Array, stars: TrueStars, distance, view: Viewpoint, observer: Observer):
    """Return apparent G and BP-RP (K,) [mag], without errors of measurement."""
    extinction_v = jnp.broadcast_to(view.extinction, distance.shape)
    if observer.differential_extinction:
        share = observer.differential_extinction * random.normal(salt, distance.shape)
        extinction_v = extinction_v * jnp.maximum(1 + share, 0)
    return extinction.reddened(
        stars.g + 5 * jnp.log10(distance / 10), correct_colour(stars.bp_rp, view.colour_error), extinction_v
    )


def correct_colour(bp_rp, error):
    """Return the colours BP-RP of real stars for those that the stellar models give.

    Args:
      bp_rp: [mag].
      error: errors of the correction (2,): an offset [mag], and a fraction of the correction.
    """
    correction = interpolation.interpolate(bp_rp, _GRID_LOW, _GRID_STEP, _CORRECTION)
    return bp_rp + error[0] + (1 + error[1]) * correction


def _with_errors(salt: jax.Array, exact: MemberList) -> MemberList:
    """Return the list with Gaia's errors."""
    parallax_error = uncertainties.parallax_error_mas(exact.g)
    pm_lon_error, pm_lat_error = uncertainties.proper_motion_error_mas_yr(exact.g)
    errors = {
        "parallax": parallax_error,
        "pm_lon": pm_lon_error,
        "pm_lat": pm_lat_error,
        "g": uncertainties.magnitude_error_mag(exact.g),
        "bp_rp": uncertainties.colour_error_mag(exact.g, exact.bp_rp),
    }
    normal = random.normal(salt, (len(errors), *exact.g.shape))
    measured = {
        name: getattr(exact, name) + error * number
        for number, (name, error) in zip(normal, errors.items(), strict=True)
    }
    return exact._replace(**measured, **{f"{name}_error": error for name, error in errors.items()})
