"""Positions in radians that pass for degrees."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from starjax.data import catalog


def test_radians_are_noticed():
    random = np.random.default_rng(0)
    ra, dec = random.normal(67, 5, 200), random.normal(17, 5, 200)
    parallax = np.full(200, 21.0)
    radians = Table({"ra": np.radians(ra), "dec": np.radians(dec), "parallax": parallax})
    with pytest.raises(catalog.CatalogError, match="hyades: columns ra and dec seem to be in radians"):
        catalog.checked(radians, "hyades")
    by_distance = Table({"ra": radians["ra"], "dec": radians["dec"], "distance": 1000 / parallax})
    with pytest.raises(catalog.CatalogError, match="seem to be in radians"):
        catalog.checked(by_distance, "hyades")
    radians["ra"].unit = radians["dec"].unit = u.rad
    np.testing.assert_allclose(catalog.checked(radians, "hyades")["ra"], ra)
    # As many degrees as that make sense: a cluster at 1 kpc near the equinox.
    near = Table(
        {"ra": random.normal(3, 0.2, 200), "dec": random.normal(0, 0.2, 200), "parallax": parallax / 21}
    )
    np.testing.assert_array_equal(catalog.checked(near, "equinox")["ra"], near["ra"])
