"""Make the packaged example catalogue: a simulated cluster as Gaia would list it.

The packaged file, `starjax/catalogs/example/members.ecsv`, is what this command makes:

    python -m tools.make_example_catalog --out=members.ecsv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, Galactic, SkyCoord
from astropy.table import Column, MaskedColumn, Table

from starjax.catalogs import member_list, photometry
from starjax.datasets import shard
from starjax.datasets.load import SAMPLE_DIRECTORY
from starjax.datasets.shard_files import shard_path
from starjax.io import files

# A snapshot of a test simulation, so that no packaged config has learned from it.
SPLIT, RUN_ID, TIME_MYR = "test", "Rad08-zmet0006-M6-0023", 103.7941
# Galactic coordinates of the cluster [deg], and its velocity (U, V, W) relative to the Sun [km/s].
LONGITUDE, LATITUDE, VELOCITY = 150.0, -15.0, (-15.0, -20.0, -8.0)
SEED = 0

# Approximate limits of Gaia for stars and for radial velocities, and the fraction of stars with the latter.
_FAINTEST_MAG, _FAINTEST_RADIAL_MAG, _RADIAL_FRACTION = 20.5, 14.0, 0.9
# Remnants have a log10 luminosity of -10 in the simulations, and are not seen.
_DARK_LOG_L = -9.0
# Real catalogues lack values, and the example should show what happens then.
_NO_COLOUR_FRACTION, _NUM_WITHOUT_MOTION = 0.02, 3
# Decimal places of the columns; magnitudes and values in mas have four.
_DIGITS = dict.fromkeys(member_list.GAIA_UNITS, 4) | {
    "ra": 9,
    "dec": 9,
    "radial_velocity": 2,
    "radial_velocity_error": 2,
}


def make_example(random: np.random.Generator) -> Table:
    """Return the member catalogue of the chosen snapshot, by right ascension, with made-up `source_id`."""
    stars, distance_pc = _snapshot()
    stars = _merge_binaries(stars[stars[:, 6] > _DARK_LOG_L])
    sky = _observe(stars[:, :3], stars[:, 3:6], distance_pc)
    absolute, bp_rp = photometry.on_main_sequence(stars[:, 6])
    magnitude = absolute + 5 * np.log10(sky.distance.pc / 10)
    # Sorted by right ascension, since the order of the simulation has information that no catalogue has.
    order = np.argsort(sky.ra.deg)
    order = order[magnitude[order] < _FAINTEST_MAG]
    table = _measure(sky[order], magnitude[order], bp_rp[order], random)
    table["bp_rp"].mask |= random.random(len(table)) < _NO_COLOUR_FRACTION
    faint = np.argsort(table["phot_g_mean_mag"])[-len(table) // 4 :]
    # Gaia has sources with positions only, most of them faint.
    without = random.choice(faint, _NUM_WITHOUT_MOTION, replace=False)
    for name in ("parallax", "parallax_error", "pmra", "pmra_error", "pmdec", "pmdec_error"):
        table[name].mask[without] = True
    for name in set(table.colnames) & set(_DIGITS):
        table[name] = np.round(table[name], _DIGITS[name])
        table[name].unit = member_list.GAIA_UNITS[name]
    table.meta["comments"] = [f"{RUN_ID} at {TIME_MYR} Myr, simulated: see README.md"]
    return table


def _snapshot() -> tuple[np.ndarray, float]:
    """Return stars (n, 7), x y z [pc] vx vy vz [km/s] log_L_L_sol, and the distance of the observer [pc]."""
    whole = shard.load_shard(shard_path(SAMPLE_DIRECTORY, "raw", SPLIT))
    whole = whole.select(("x", "y", "z", "vx", "vy", "vz", "log_L_L_sol"), ("time",))
    (chosen,) = np.flatnonzero((whole.run_id == RUN_ID) & (np.abs(whole.target[:, 0] - TIME_MYR) < 0.01))
    rows = slice(whole.ptr[chosen], whole.ptr[chosen + 1])
    return np.asarray(whole.feature[rows], np.float64), float(whole.distance_pc[chosen])


def _merge_binaries(stars: np.ndarray) -> np.ndarray:
    """Return the stars with both components of close binaries as one, by their common position."""
    # The simulations list close binaries as two stars at one position; Gaia does not resolve them.
    merged, which = np.unique(stars[:, :6], axis=0, return_inverse=True)
    luminosity = np.bincount(which, 10 ** stars[:, 6])
    return np.column_stack([merged, np.log10(luminosity)])


def _observe(position: np.ndarray, velocity: np.ndarray, distance_pc: float) -> SkyCoord:
    """Return the stars on the sky, with x of the simulation away from the Sun and z towards the pole."""
    lon, lat = np.radians([LONGITUDE, LATITUDE])
    rotation = np.array([[np.cos(lon), -np.sin(lon), 0], [np.sin(lon), np.cos(lon), 0], [0, 0, 1]])
    centre = distance_pc * np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    motion = CartesianDifferential(*(velocity @ rotation.T + VELOCITY).T * u.km / u.s)
    stars = CartesianRepresentation(*(position @ rotation.T + centre).T * u.pc, differentials=motion)
    return SkyCoord(Galactic(stars)).icrs


def astrometric_error_mas(magnitude: np.ndarray) -> np.ndarray:
    """Return standard errors of parallaxes [mas], by the performance pages of Gaia DR3 (cosmos.esa.int)."""
    # The pages define z this way; brighter than 13 mag, errors no longer fall.
    z = 10 ** (0.4 * (np.maximum(magnitude, 13.0) - 15.0))
    return np.sqrt(40 + 800 * z + 30 * z**2) / 1000


def _measure(sky: SkyCoord, magnitude, bp_rp, random: np.random.Generator) -> Table:
    """Return measurements of the stars, with random errors."""
    error = astrometric_error_mas(magnitude)
    # From 0.3 km/s for bright stars to 4 km/s at the faint end, about as in Gaia DR3.
    radial_error = 0.3 + 3.7 * 10 ** (
        0.6 * (np.minimum(magnitude, _FAINTEST_RADIAL_MAG) - _FAINTEST_RADIAL_MAG)
    )
    # By the same pages, errors of proper motions are 1.03 and 0.89 times those of parallaxes.
    measured = {
        "parallax": (1000 / sky.distance.pc, error),
        "pmra": (sky.pm_ra_cosdec.to_value(u.mas / u.yr), 1.03 * error),
        "pmdec": (sky.pm_dec.to_value(u.mas / u.yr), 0.89 * error),
        "radial_velocity": (sky.radial_velocity.to_value(u.km / u.s), radial_error),
    }
    table = Table({"source_id": 10**17 + np.arange(len(sky)), "ra": sky.ra.deg, "dec": sky.dec.deg})
    for name, (truth, standard_error) in measured.items():
        table[name] = MaskedColumn(random.normal(truth, standard_error))
        table[f"{name}_error"] = MaskedColumn(standard_error)
    table["phot_g_mean_mag"], table["bp_rp"] = Column(magnitude), MaskedColumn(bp_rp)
    no_radial = (magnitude > _FAINTEST_RADIAL_MAG) | (random.random(len(sky)) > _RADIAL_FRACTION)
    for name in ("radial_velocity", "radial_velocity_error"):
        table[name].mask = no_radial
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True, help="the file to write, .ecsv")
    out = options.parse_args(argv).out
    if out.suffix != ".ecsv" or out.exists():
        options.error(f"--out={out} should be a new file that ends in .ecsv")
    table = make_example(np.random.default_rng(SEED))
    with files.atomic_write(out) as temporary:
        table.write(temporary, format="ascii.ecsv", delimiter=",")
    print(f"wrote {out} with {len(table)} stars")


if __name__ == "__main__":
    main()
