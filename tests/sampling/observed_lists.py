"""Simulated snapshots, and what the observer and the reader of observed lists make of them."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from starjax import quantities
from starjax.catalogs import member_list
from starjax.catalogs.stated.view import View
from starjax.configs import gaia
from starjax.datasets.shard import Shard
from starjax.runs import run_config
from starjax.sampling import list_reading, observer

# Three snapshots of validation simulations of the packaged data set `clusters`: of 113, 46 and 426 Myr.
FILE = Path(__file__).parents[1] / "data" / "observable.npz"
NUM_ROW = 512
SETTINGS = run_config.observer(gaia.get_config())


@functools.cache
def snapshots() -> Shard:
    """Return the snapshots, sorted as the observer needs them."""
    with np.load(FILE) as file:
        feature, ptr = file["feature"], file["ptr"]
    target = np.zeros((len(ptr) - 1, 1), np.float32)
    return observer.sort_by_brightness(Shard(feature, quantities.OBSERVER, target, ("time",), ptr))


def rows(number: int, num_row: int = NUM_ROW):
    """Return the first rows of a snapshot (K, C), and the mask of those that are stars."""
    shard = snapshots()
    stars = shard.feature[shard.ptr[number] : shard.ptr[number + 1]][:num_row]
    padded = np.pad(stars, [(0, num_row - len(stars)), (0, 0)])
    return jnp.asarray(padded), jnp.arange(num_row) < len(stars)


@functools.cache
def compiled(settings=SETTINGS):
    """Return the function `(key, stars, mask) -> (view, list, features, mask of members)`."""

    def observed(key, star_KxC, mask_K):
        view, sources = observer.observe_list(key, star_KxC, mask_K, settings)
        return view, sources, *list_reading.read(sources, view, settings)

    return jax.jit(observed)


def to_catalogue(sources, longitude: float, latitude: float) -> tuple[Table, np.ndarray]:
    """Return a list as a member catalogue in the direction of Galactic coordinates [deg], and its rows."""
    is_listed = np.asarray(sources.mask)
    values = {
        name: np.asarray(value, np.float64)[is_listed]
        for name, value in sources._asdict().items()
        if name != "mask"
    }
    frame = SkyCoord(longitude, latitude, unit="deg", frame="galactic").skyoffset_frame()
    sky = SkyCoord(
        values["lon"] * u.rad,
        values["lat"] * u.rad,
        pm_lon_coslat=values["pm_lon"] * u.mas / u.yr,
        pm_lat=values["pm_lat"] * u.mas / u.yr,
        frame=frame,
    ).icrs
    table = Table(
        {
            "ra": sky.ra.deg,
            "dec": sky.dec.deg,
            "parallax": values["parallax"],
            "parallax_error": values["parallax_error"],
            "pmra": sky.pm_ra_cosdec.to_value(u.mas / u.yr),
            "pmra_error": values["pm_lon_error"],
            "pmdec": sky.pm_dec.to_value(u.mas / u.yr),
            "pmdec_error": values["pm_lat_error"],
            "phot_g_mean_mag": values["g"],
            "bp_rp": values["bp_rp"],
            "membership_probability": values["probability"],
        }
    )
    return member_list.check_member_list(table, "list"), np.flatnonzero(is_listed)


def known_view(view) -> View:
    """Return what the reader of a list knows of the cluster."""
    radial_velocity = float(view.radial_velocity)
    return View(
        radial_velocity_kms=None if np.isnan(radial_velocity) else radial_velocity,
        extinction_v_mag=float(view.extinction_estimate),
        extinction_v_error_mag=float(view.extinction_error),
    )
