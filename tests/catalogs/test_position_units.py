"""Positions in hours or radians, whose unit is not stated, are noticed."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from starjax.catalogs import member_list, membership
from starjax.catalogs.column_values import CatalogError


def check_degrees(table):
    membership.check_degrees(member_list.check_member_list(table, "hyades"))


def test_radians_are_noticed():
    random = np.random.default_rng(0)
    ra, dec = random.normal(67, 5, 200), random.normal(17, 5, 200)
    parallax = np.full(200, 21.0)
    radians = Table({"ra": np.radians(ra), "dec": np.radians(dec), "parallax": parallax})
    with pytest.raises(CatalogError, match="hyades: columns ra and dec seem to be in radians"):
        check_degrees(radians)
    by_distance = Table({"ra": radians["ra"], "dec": radians["dec"], "distance": 1000 / parallax})
    with pytest.raises(CatalogError, match="seem to be in radians"):
        check_degrees(by_distance)
    radians["ra"].unit = radians["dec"].unit = u.rad
    check_degrees(radians)
    np.testing.assert_allclose(member_list.check_member_list(radians, "hyades")["ra"], ra)
    # As many degrees as that make sense: a cluster at 1 kpc near the equinox.
    near = Table(
        {"ra": random.normal(3, 0.2, 200), "dec": random.normal(0, 0.2, 200), "parallax": parallax / 21}
    )
    check_degrees(near)
    # Parallaxes of zero count as missing.
    check_degrees(Table({"ra": np.radians(ra), "dec": np.radians(dec), "parallax": np.zeros(200)}))


def test_hours_are_noticed():
    random = np.random.default_rng(0)
    table = Table({"ra": random.normal(67, 5, 200) / 15, "dec": random.normal(17, 5, 200)})
    said = r"seems to be in hours; .* 0\.0\d times as wide as high"
    with pytest.raises(CatalogError, match=said):
        check_degrees(table)
    table["ra"].unit = u.hourangle
    check_degrees(table)
    table["ra"].unit, table["dec"] = None, random.normal(17, 0.3, 200)
    check_degrees(table)
