"""Synthetic clusters of known positions and velocities, observed by astropy."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, Galactic, SkyCoord
from astropy.table import Table

from starjax.catalogs import member_list
from starjax.catalogs.stated.view import View


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A member catalogue and its truth.

    Attributes:
      table: the catalogue.
      position, motion: of the stars relative to the cluster (n, 3) [pc, km/s], along the Galaxy's axes, with
        x away from the Sun in the plane.
      sky: the stars without errors.
      centre: (ra, dec) [deg].
      velocity: of the cluster (3,) [km/s].
    """

    table: Table
    position: np.ndarray
    motion: np.ndarray
    sky: SkyCoord
    centre: tuple[float, float]
    velocity: np.ndarray


def make_cluster(
    *,
    num_star=400,
    distance=47.0,
    width=4.0,
    dispersion=0.3,
    velocity=(-42.0, -19.0, -1.0),
    towards=(180.0, -22.0),
    parallax_error=0.0,
    motion_error=0.0,
    radial_error=0.0,
    seed=0,
):
    """Return a cluster at Galactic (l, b) `towards` [deg], normal in positions [pc] and velocities [km/s]."""
    random = np.random.default_rng(seed)
    position = random.normal(0, width, (num_star, 3))
    motion = random.normal(0, dispersion, (num_star, 3))
    lon, lat = np.radians(towards)
    rotation = np.array([[np.cos(lon), -np.sin(lon), 0], [np.sin(lon), np.cos(lon), 0], [0, 0, 1]])
    middle = distance * np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    moving = CartesianDifferential(*(motion @ rotation.T + velocity).T * u.km / u.s)
    placed = CartesianRepresentation(*(position @ rotation.T + middle).T * u.pc, differentials=moving)
    sky = SkyCoord(Galactic(placed)).icrs
    centre = SkyCoord(*towards, unit="deg", frame="galactic").icrs
    observed = {
        "parallax": (1000 / sky.distance.pc, parallax_error),
        "pmra": (sky.pm_ra_cosdec.to_value(u.mas / u.yr), motion_error),
        "pmdec": (sky.pm_dec.to_value(u.mas / u.yr), motion_error),
        "radial_velocity": (sky.radial_velocity.to_value(u.km / u.s), radial_error),
    }
    table = Table({"ra": sky.ra.deg, "dec": sky.dec.deg})
    for name, (truth, error) in observed.items():
        table[name] = random.normal(truth, error)
        # Errors of zero would count as missing.
        table[f"{name}_error"] = np.full(num_star, max(error, 1e-9))
    table = member_list.check_member_list(table, "synthetic.csv")
    return Cluster(table, position, motion, sky, (centre.ra.deg, centre.dec.deg), np.array(velocity))


@pytest.fixture(name="make_cluster", scope="session")
def make_cluster_fixture():
    return make_cluster


@pytest.fixture
def cluster(make_cluster):
    return make_cluster()


@pytest.fixture
def view(cluster):
    return View(centre=cluster.centre, distance_pc=47.0, clip=False)
