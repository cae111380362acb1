"""The extinction of a cluster is stated, or that of a map, or assumed; what is unlikely is flagged."""

import numpy as np
import pytest

from starjax.catalogs.features import derive_features
from starjax.catalogs.member_list import read_member_list
from starjax.catalogs.stated import extinction
from starjax.catalogs.stated.extinction import describe_assumed, find_extinction
from starjax.catalogs.stated.view import View
from starjax.configs import gaia
from starjax.gaia.dust_maps import DustMap

CENTRE = (130.05, 19.62)


def dust_map(*samples, name="bayestar2019", is_total=False):
    return DustMap(name, lambda at: np.array(samples), 2.742, is_total)


@pytest.mark.parametrize(("stated", "used"), [(None, 0.1), (0.0, 0.02), (0.004, 0.02), (0.05, 0.05)])
def test_the_error_is_never_less_than_in_training(stated, used):
    found = find_extinction(View(extinction_v_mag=0.3, extinction_v_error_mag=stated), CENTRE, 185.0)
    assert (found.v_mag, found.v_error_mag, found.source) == (0.3, used, "given")
    least, _ = gaia.get_config().observer.extinction_error_range_v_mag
    assert least == extinction.LEAST_ERROR


@pytest.mark.parametrize(
    ("view", "expected", "said"),
    [
        (
            View(extinction_map=dust_map(0.08, 0.1, 0.12)),
            (0.2742, 0.05484, "bayestar2019"),
            "A_V of 0.274 ± 0.055",
        ),
        (
            View(extinction_map=dust_map(0.1, name="sfd", is_total=True)),
            (0.2742, 0.1, "sfd"),
            "too large if some",
        ),
        (View(extinction_v_mag=0.5, extinction_map=dust_map(0.1)), (0.5, 0.1, "given"), "(given"),
        (
            View(extinction_map=dust_map(np.nan)),
            (0, 0.1, "assumed"),
            "the map bayestar2019 has no value there",
        ),
        (View(), (0, 0.1, "assumed"), "state extinction_v_mag"),
    ],
)
def test_a_map_counts_where_none_is_stated(view, expected, said):
    found = find_extinction(view, CENTRE, 185.0)
    assert (found.v_mag, found.v_error_mag) == pytest.approx(expected[:2], rel=1e-6)
    assert found.source == expected[2]
    assert said in found.note


@pytest.mark.parametrize(
    ("view", "centre", "distance_pc", "is_flagged"),
    [
        (View(), (280.0, -5.0), 600.0, True),
        (View(), (280.0, -5.0), 250.0, False),
        (View(), (192.86, 27.13), 600.0, False),  # the Galactic pole
        (View(extinction_v_mag=0.0), (280.0, -5.0), 600.0, False),
    ],
)
def test_no_extinction_is_unlikely_far_away_in_the_disc(view, centre, distance_pc, is_flagged):
    found = describe_assumed(find_extinction(view, centre, distance_pc), centre, distance_pc)
    assert bool(found) == is_flagged


def test_the_map_is_asked_at_the_cluster_as_fitted_and_flags_only_what_uses_it(member_list_file):
    asked = []

    def query(at):
        asked.append((at.icrs.ra.deg, at.icrs.dec.deg, at.distance.pc))
        return np.array([0.1])

    table, keys = read_member_list(member_list_file), ("abs_mag_g", "bp_rp_0")
    found = derive_features(table, keys, View(extinction_map=DustMap("sfd", query, 2.742)))
    assert asked == [pytest.approx((*found.centre, found.distance_pc))]
    assert found.extinction.source == "sfd"
    clear = derive_features(table, keys, View(extinction_v_mag=0.0)).feature
    assert np.median(clear[:, 1] - found.feature[:, 1]) == pytest.approx(0.2742 * 0.43, rel=0.1)
    far, named = View(distance_pc=400.0, clip=False), "no extinction is given"
    assert [named in reason for reason in derive_features(table, keys, far).caveats].count(True) == 1
    assert not any(named in reason for reason in derive_features(table, ("y", "z"), far).caveats)
