"""Make the packaged example catalogue: a simulated cluster as a list of members from Gaia would show it.

The packaged file, `starjax/catalogs/example/members.ecsv`, is what this command makes:

    python -m tools.make_example_catalog --out=members.ecsv

The stars, their errors and the field stars among them are those of the observer of `starjax.sampling`, which
shows clusters to models in training; here they are placed on the sky.
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, MaskedColumn, Table

from starjax import quantities
from starjax.catalogs import member_list
from starjax.datasets import shard
from starjax.datasets.load import CLUSTERS_DIRECTORY
from starjax.datasets.shard_files import shard_path
from starjax.io import files
from starjax.sampling import observer
from starjax.sampling.measured_stars import MemberList
from starjax.sampling.observer_settings import Observer
from starjax.sampling.viewpoint import Viewpoint

# A snapshot of a test simulation, from which no model has learned.
SPLIT, RUN_ID, TIME_MYR = "test", "r28", 150.0
# Distance [pc] and extinction A_V [mag] of the cluster; the direction and the motion are drawn.
DISTANCE_PC, EXTINCTION_V_MAG = 190.0, 0.1
# Lists of members often end at this magnitude, and some of the listed stars belong to the field.
FAINT_LIMIT_MAG, MISSING_FRACTION, FIELD_FRACTION = 18.0, 0.1, 0.05
OBSERVER = Observer(
    distance_range_pc=(DISTANCE_PC, DISTANCE_PC),
    scale_height_pc=70.0,
    velocity_dispersion_kms=(12.0, 8.0, 5.0),
    resolution_arcsec=0.65,
    extinction_range_v_mag=(EXTINCTION_V_MAG, EXTINCTION_V_MAG),
    differential_extinction=0.05,
    gaia_errors=True,
    faint_limit_range_mag=(FAINT_LIMIT_MAG, FAINT_LIMIT_MAG),
    missing_fraction_range=(MISSING_FRACTION, MISSING_FRACTION),
    motion_cut_range=(5.0, 5.0),
    field_fraction_range=(FIELD_FRACTION, FIELD_FRACTION),
)
# The first seed of a list with probabilities of membership.
SEED = 0

# Approximate limit of Gaia for radial velocities, and the fraction of the brighter members that have one.
_FAINTEST_RADIAL_MAG, _RADIAL_FRACTION = 14.0, 0.9
# Real lists lack values, and the example should show what happens then.
_NUM_WITHOUT_COLOUR, _NUM_WITHOUT_MOTION = 2, 3
# Decimal places of the columns; those that are not named have four.
_DIGITS = {"ra": 9, "dec": 9, "radial_velocity": 2, "radial_velocity_error": 2, "membership_probability": 3}
# Axes of the simulations along Galactic ones: x points away from the Galactic centre.
_TO_GALACTIC = np.array([-1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Listed:
    """The listed sources (n,) as the observer gives them.

    Attributes:
      view: the circumstances.
      sources: the list.
      radial_velocity: [km/s].
      is_field: True for field stars, which have no radial velocity.
    """

    view: Viewpoint
    sources: MemberList
    radial_velocity: np.ndarray
    is_field: np.ndarray


def snapshot() -> shard.Shard:
    """Return the chosen snapshot with the columns that the observer needs, and its targets."""
    whole = shard.load_shard(shard_path(CLUSTERS_DIRECTORY, "raw", SPLIT))
    whole = whole.select(quantities.OBSERVER, ("time", quantities.MASS))
    is_chosen = (whole.run_id == RUN_ID) & (np.abs(whole.target[:, 0] - TIME_MYR) < 0.1)
    return observer.sort_by_brightness(whole.take(np.flatnonzero(is_chosen)))


def observe() -> Listed:
    """Return the list of the chosen snapshot."""
    star_KxC, key = jnp.asarray(snapshot().feature), jax.random.key(SEED)
    mask_K = jnp.ones(len(star_KxC), bool)
    view, sources = observer.observe_list(key, star_KxC, mask_K, OBSERVER)
    # Field stars are drawn last: the same list without them has the same members.
    without_field = dataclasses.replace(OBSERVER, field_fraction_range=())
    _, members = observer.observe_list(key, star_KxC, mask_K, without_field)
    lon, lat = np.asarray(sources.lon), np.asarray(sources.lat)
    line_of_sight = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    velocity = np.asarray(view.axes) @ np.asarray(star_KxC[:, 3:6]).T + np.asarray(view.velocity)[:, None]
    listed = np.asarray(sources.mask)
    return Listed(
        view=jax.tree.map(np.asarray, view),
        sources=jax.tree.map(lambda column: np.asarray(column, np.float64)[listed], sources),
        radial_velocity=(line_of_sight * velocity).sum(axis=0)[listed],
        is_field=~np.asarray(members.mask)[listed],
    )


def direction(view: Viewpoint) -> SkyCoord:
    """Return the direction of the centre, in Galactic coordinates."""
    (x, y, z), _, across = view.axes * _TO_GALACTIC
    # Latitude increases to the north; where it does not, the simulation is mirrored in the Galactic plane.
    z *= np.sign(across[2])
    return SkyCoord(l=np.arctan2(y, x) * u.rad, b=np.arcsin(z) * u.rad, frame="galactic")


def _measure(listed: Listed, random: np.random.Generator) -> Table:
    """Return the columns of Gaia, with made-up `source_id`."""
    sources, num = listed.sources, len(listed.is_field)
    offsets = direction(listed.view).skyoffset_frame()

    def to_icrs(pm_lon, pm_lat) -> SkyCoord:
        motions = {"pm_lon_coslat": pm_lon * u.mas / u.yr, "pm_lat": pm_lat * u.mas / u.yr}
        return SkyCoord(sources.lon * u.rad, sources.lat * u.rad, **motions, frame=offsets).icrs

    stars = to_icrs(sources.pm_lon, sources.pm_lat)
    # The errors along both axes of the observer, turned to the axes of the catalogue.
    errors = [to_icrs(sources.pm_lon_error, 0 * sources.lon), to_icrs(0 * sources.lon, sources.pm_lat_error)]
    # From 0.3 km/s for bright stars to 4 km/s at the faint end, about as in Gaia DR3.
    fainter = np.minimum(sources.g, _FAINTEST_RADIAL_MAG) - _FAINTEST_RADIAL_MAG
    radial_error = 0.3 + 3.7 * 10 ** (0.6 * fainter)
    no_radial = (sources.g > _FAINTEST_RADIAL_MAG) | (random.random(num) > _RADIAL_FRACTION) | listed.is_field
    columns = {
        "ra": stars.ra.deg,
        "dec": stars.dec.deg,
        "parallax": MaskedColumn(sources.parallax),
        "parallax_error": MaskedColumn(sources.parallax_error),
        "pmra": MaskedColumn(stars.pm_ra_cosdec.value),
        "pmra_error": MaskedColumn(np.hypot(*(one.pm_ra_cosdec.value for one in errors))),
        "pmdec": MaskedColumn(stars.pm_dec.value),
        "pmdec_error": MaskedColumn(np.hypot(*(one.pm_dec.value for one in errors))),
        "radial_velocity": MaskedColumn(random.normal(listed.radial_velocity, radial_error), mask=no_radial),
        "radial_velocity_error": MaskedColumn(radial_error, mask=no_radial),
        "phot_g_mean_mag": Column(sources.g),
        "bp_rp": MaskedColumn(sources.bp_rp),
        "membership_probability": Column(sources.probability),
    }
    return Table(columns)


def make_example(listed: Listed) -> Table:
    """Return the member catalogue, by right ascension."""
    random = np.random.default_rng(SEED)
    table = _measure(listed, random)
    # The order of the simulation has information that no catalogue has.
    table.sort("ra")
    table.add_column(Column(10**17 + np.arange(len(table)), name="source_id"), index=0)
    table["bp_rp"].mask[random.choice(len(table), _NUM_WITHOUT_COLOUR, replace=False)] = True
    faint = np.argsort(table["phot_g_mean_mag"])[-len(table) // 4 :]
    # Gaia has sources with positions only, most of them faint.
    without = random.choice(faint, _NUM_WITHOUT_MOTION, replace=False)
    for name in ("parallax", "parallax_error", "pmra", "pmra_error", "pmdec", "pmdec_error"):
        table[name].mask[without] = True
    for name in table.colnames[1:]:
        table[name] = np.round(table[name], _DIGITS.get(name, 4))
        table[name].unit = member_list.GAIA_UNITS.get(name)
    table.meta["comments"] = [f"{RUN_ID} at {TIME_MYR} Myr, simulated: see README.md"]
    return table


def describe(listed: Listed) -> str:
    """Return what the README of the example says of the list, in sentences."""
    age, mass = snapshot().target[0]
    centre = direction(listed.view)
    radial, along_lon, along_lat = listed.view.velocity
    return (
        f"{len(listed.is_field)} stars, {listed.is_field.sum()} of them of the field; age {age:.1f} Myr, "
        f"mass {mass:.1f} Msun; Galactic longitude {centre.l.deg:.2f}, latitude {centre.b.deg:.2f} deg; "
        f"velocity {radial:.2f} km/s along the line of sight, {along_lon:.2f} and {along_lat:.2f} km/s along "
        "longitude and latitude"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True, help="the file to write, .ecsv")
    out = options.parse_args(argv).out
    if out.suffix != ".ecsv" or out.exists():
        options.error(f"--out={out} should be a new file that ends in .ecsv")
    listed = observe()
    table = make_example(listed)
    with files.atomic_write(out) as temporary:
        table.write(temporary, format="ascii.ecsv", delimiter=",")
    print(f"wrote {out}: {describe(listed)}")


if __name__ == "__main__":
    main()
