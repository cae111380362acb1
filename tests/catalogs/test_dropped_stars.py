"""Stars that are left out are counted, named by their rows, and shown where they are listed."""

import dataclasses

import numpy as np
import pytest
from astropy.table import Table

from starjax.catalogs import member_list
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.dropped_stars import Reason
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View

ALL = ("x", "y", "z", "vx", "vy", "vz")
PROJECTED = ("y", "z", "vy", "vz")


def test_non_members_are_counted(cluster, view):
    cluster.table["pmra"][:60] += 300
    members = derive_features(cluster.table, PROJECTED, dataclasses.replace(view, clip=True))
    assert (members.num_non_member, members.num_left_out) == (60, 0)


def test_stars_that_are_left_out_are_where_they_are_listed(cluster, view):
    table = cluster.table.copy()
    table["phot_g_mean_mag"], table["bp_rp"] = 10.0, 1.0
    whole = derive_features(table, PROJECTED, view).table
    table["pmra"][3] = np.nan
    table["ra"][5] = np.nan
    table["source_id"] = np.arange(len(table))
    table["source_id"][8] = table["source_id"][7]
    table["ra"][8], table["dec"][8] = table["ra"][7], table["dec"][7]
    members = derive_features(table, PROJECTED, dataclasses.replace(view, extinction_v_mag=0.5))
    # Without the star that has no position, and the one that is in another row.
    assert list(members.left_out["row"]) == [4]
    [star] = members.left_out.to_dict("records")
    assert (star["lon_deg"], star["lat_deg"]) == pytest.approx(tuple(whole.loc[3, ["lon_deg", "lat_deg"]]))
    near = (members.table["dist_pc"] - 47.0).abs().idxmin()
    assert star["abs_mag_g"] == pytest.approx(members.table["abs_mag_g"][near], abs=0.01)
    assert star["bp_rp_0"] == pytest.approx(members.table["bp_rp_0"][near])
    assert not len(derive_features(cluster.table, PROJECTED, view).left_out)


def test_the_motion_of_a_star_that_is_left_out_is_relative_to_the_cluster(cluster, view):
    whole = derive_features(cluster.table, PROJECTED, view).table
    cluster.table["pmra"][3] += 300
    members = derive_features(cluster.table, PROJECTED, dataclasses.replace(view, clip=True))
    # The velocities of the others are those of the cluster, so that it does not change.
    keys = ["pm_lon_coslat_mas_yr", "pm_lat_mas_yr"]
    change = members.left_out.loc[0, keys].to_numpy(float) - whole.loc[3, keys].to_numpy(float)
    assert list(members.left_out["row"]) == [4]
    assert np.hypot(*change) == pytest.approx(300, abs=0.5)


def test_binaries_are_left_out_if_radial_velocities_are_features(cluster, view):
    cluster.table["radial_velocity"][7] += 30
    view = dataclasses.replace(view, clip=True)
    members = derive_features(cluster.table, ALL, view)
    assert 8 not in members.table["row"].to_numpy()
    assert any("as that of a binary may be: 1 star (row 8)" in note for note in members.notes)
    assert 8 in derive_features(cluster.table, PROJECTED, view).table["row"].to_numpy()


def test_duplicates_and_missing_values_are_counted(cluster, view):
    table = cluster.table
    table["source_id"] = np.arange(400)
    table["source_id"][10] = 3
    table["ra"][10], table["dec"][10] = table["ra"][3], table["dec"][3] + 5 / 3600
    table["ra"][20], table["dec"][20] = table["ra"][19], table["dec"][19] + 0.05 / 3600
    table["ra"][30], table["dec"][30] = table["ra"][29], table["dec"][29] + 0.2 / 3600
    table["dec"][40] = np.nan
    table["pmra"][[50, 60]] = np.nan
    members = derive_features(table, PROJECTED, view)
    assert sorted(set(range(1, 401)) - set(members.table["row"])) == [11, 21, 41, 51, 61]
    for said in (
        "the position is missing: 1 star (row 41)",
        "the same source_id: 1 star (row 11)",
        'within 0.1": 1 star (row 21)',
        "the proper motion is missing: 2 stars (rows 51, 61)",
    ):
        assert sum(said in note for note in members.notes) == 1, said
    np.testing.assert_array_equal(members.table["source_id"], members.table["row"] - 1)
    assert [(one.reason, one.rows) for one in members.dropped if one.rows] == [
        (Reason.NO_POSITION, (41,)),
        (Reason.SAME_SOURCE_ID, (11,)),
        (Reason.SAME_POSITION, (21,)),
        (Reason.NO_PROPER_MOTION, (51, 61)),
    ]
    # Repeated rows lack nothing.
    assert (members.num_left_out, members.num_non_member) == (3, 0)


@pytest.mark.parametrize(("view", "num_left"), [(View(), 350), (View(min_probability=0), 400)])
def test_improbable_members_are_left_out_and_shown(cluster, view, num_left):
    probability = np.full(400, 0.5)
    probability[:50], probability[50] = 0.49, np.nan
    cluster.table["membership_probability"] = probability
    members = derive_features(cluster.table, PROJECTED, dataclasses.replace(view, clip=False))
    assert len(members.table) == num_left
    assert len(members.left_out) == 400 - num_left
    # They are no reason to flag a prediction.
    assert (members.num_left_out, members.num_non_member) == (0, 0)
    said = (
        "Left out because the membership probability is below 0.5: 50 stars (rows 1, 2, 3, 4, 5 and 45 more)."
    )
    assert (said in members.notes) is (num_left < 400)
    with pytest.raises(CatalogError, match=r"only 1 star with .* 0\.9 \(min_probability\);"):
        derive_features(cluster.table, PROJECTED, View(min_probability=0.9))


def test_a_star_that_is_listed_twice_stays_if_one_of_its_rows_is_probable(cluster, view):
    table = cluster.table
    table["source_id"], table["membership_probability"] = np.arange(400), 0.9
    table["source_id"][10], table["membership_probability"][10] = 3, 0.1
    table["ra"][10], table["dec"][10] = table["ra"][3], table["dec"][3]
    table["ra"][20], table["dec"][20] = table["ra"][19], table["dec"][19]
    table["membership_probability"][20] = 0.2
    members = derive_features(table, PROJECTED, view)
    assert [(one.reason, one.rows) for one in members.dropped if one.rows] == [(Reason.IMPROBABLE, (11, 21))]


def test_stars_at_different_places_are_not_the_same_by_their_identity(cluster, view):
    table = cluster.table
    table["source_id"] = np.arange(400).astype(str).astype("<U10")
    table["source_id"][[5, 6, 9]] = "to be done"
    members = derive_features(table, PROJECTED, view)
    assert len(members.table) == 400
    assert any("same source_id: to be done (rows 6, 7, 10)" in note for note in members.notes)


@pytest.mark.parametrize("by_position", [False, True])
def test_of_repeated_rows_the_most_complete_is_kept(cluster, view, by_position):
    table = cluster.table
    table["source_id"] = np.arange(400)
    # A chain: the first is near the second, and the second near the third.
    for i in (4, 5):
        table["ra"][i], table["dec"][i] = table["ra"][3], table["dec"][3] + (i - 3) * 0.08 / 3600
        if not by_position:
            table["source_id"][i] = 3
    table["radial_velocity"][[3, 5]] = np.nan
    for ordered in (table, table[::-1]):
        members = derive_features(ordered, PROJECTED, view)
        assert sorted(set(range(1, 401)) - set(members.table["row"])) == [4, 6]


def test_missing_identities_are_not_duplicates(cluster, view):
    texts = np.where(np.arange(400) < 5, "", np.arange(400).astype(str))
    columns = {name: cluster.table[name] for name in cluster.table.colnames if name != "row"}
    table = member_list.check_member_list(Table({"source_id": texts, **columns}), "here")
    assert len(derive_features(table, PROJECTED, view).table) == 400


@pytest.mark.parametrize("num_star", [0, 9, 10])
def test_ten_stars_are_needed(make_cluster, num_star):
    table = make_cluster(num_star=10).table[:num_star]
    if num_star == 10:
        assert len(derive_features(table, PROJECTED, View(clip=False)).feature) == 10
    else:
        with pytest.raises(CatalogError, match=f"only {num_star} stars have a position; at least 10"):
            derive_features(table, PROJECTED, View())
