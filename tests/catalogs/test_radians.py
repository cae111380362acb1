"""Positions in radians that are taken for degrees."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from starjax.catalogs import member_list


def test_radians_are_noticed():
    random = np.random.default_rng(0)
    ra, dec = random.normal(67, 5, 200), random.normal(17, 5, 200)
    parallax = np.full(200, 21.0)
    radians = Table({"ra": np.radians(ra), "dec": np.radians(dec), "parallax": parallax})
    with pytest.raises(member_list.CatalogError, match="hyades: columns ra and dec seem to be in radians"):
        member_list.check_member_list(radians, "hyades")
    by_distance = Table({"ra": radians["ra"], "dec": radians["dec"], "distance": 1000 / parallax})
    with pytest.raises(member_list.CatalogError, match="seem to be in radians"):
        member_list.check_member_list(by_distance, "hyades")
    radians["ra"].unit = radians["dec"].unit = u.rad
    np.testing.assert_allclose(member_list.check_member_list(radians, "hyades")["ra"], ra)
    # As many degrees as that make sense: a cluster at 1 kpc near the equinox.
    near = Table(
        {"ra": random.normal(3, 0.2, 200), "dec": random.normal(0, 0.2, 200), "parallax": parallax / 21}
    )
    np.testing.assert_array_equal(member_list.check_member_list(near, "equinox")["ra"], near["ra"])
