"""Tables of what is known of each cluster: read in all formats, converted, checked."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from starjax.catalogs.cluster_table import cluster_views, describe_unmatched, read_cluster_table
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.membership import View
from tests.catalogs import member_lists

DEFAULT = View(distance_pc=300.0, extinction_v_mag=0.1, clip=False)


def views(path, default=DEFAULT):
    return cluster_views(read_cluster_table(path), default)


def test_missing_values_are_those_of_the_default(tmp_path):
    path = member_lists.csv(
        tmp_path,
        "cluster,distance_pc,radial_velocity_kms,extinction_v_mag,extinction_v_error_mag,ra,dec\n"
        "Pleiades,135,5.6,0.12,0.03,56.6,24.1\n"
        "NGC 752,,,,,,\n"
        "M 67,nan,34.1,,--,,\n",
    )
    assert views(path) == {
        "Pleiades": View((56.6, 24.1), 135, 5.6, 0.0, 0.12, 0.03, clip=False),
        "NGC 752": DEFAULT,
        "M 67": View(distance_pc=300, radial_velocity_kms=34.1, extinction_v_mag=0.1, clip=False),
    }


def test_any_column_but_the_name_may_be_absent_and_others_are_not_used(tmp_path):
    path = member_lists.csv(tmp_path, "age,extinction_v_mag,cluster\n700,0.5,Hyades\n")
    assert read_cluster_table(path).meta["unused"] == ["age"]
    assert views(path, View()) == {"Hyades": View(extinction_v_mag=0.5)}


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".ecsv", ".parquet", ".fits", ".vot"])
def test_all_formats_of_member_catalogues_are_read(tmp_path, ending):
    table = Table({"cluster": ["A", "B"], "distance_pc": MaskedColumn([100.0, 0.0], mask=[False, True])})
    found = views(member_lists.write(table, tmp_path / f"clusters{ending}"))
    assert [view.distance_pc for view in found.values()] == [100, 300]


def test_stated_units_are_converted(tmp_path):
    table = Table({"cluster": ["A"]})
    table["distance_pc"], table["radial_velocity_kms"] = [0.2] * u.kpc, [3000.0] * u.m / u.s
    table["ra"], table["dec"] = [1.0] * u.hourangle, [np.pi / 6] * u.rad
    table["parallax_zero_point_mas"] = [-40.0] * u.uas
    table["extinction_v_mag"] = [0.3] * u.mag
    view = views(member_lists.write(table, tmp_path / "clusters.ecsv"))["A"]
    np.testing.assert_allclose(view.centre, (15, 30))
    assert view.distance_pc == pytest.approx(200)
    assert view.radial_velocity_kms == pytest.approx(3)
    assert view.parallax_zero_point_mas == pytest.approx(-0.04)
    assert view.extinction_v_mag == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,distance_pc\nA,100\n", r"has the columns name, distance_pc: it should have cluster, and"),
        ("cluster,distance\nA,100\n", r"and some of ra, dec, distance_pc"),
        ("cluster,distance_pc\nA,100\nB,1\nA,90\n", r"names the cluster A more than once, in rows 1, 3"),
        ("cluster,distance_pc\nA,100\n,90\n", r"column cluster is empty in row 2: every row needs"),
        ("cluster,distance_pc\nA,far\n", r"column distance_pc holds 'far' instead of a decimal number"),
        ("cluster,distance_pc\nA,0\n", r"column distance_pc is 0 in row 1: it should be positive"),
        ("cluster,distance_pc\nA,inf\n", r"column distance_pc is infinite in row 1"),
        ("cluster,radial_velocity_kms\nA,-999\n", r"column radial_velocity_kms is -999 in row 1"),
        ("cluster,extinction_v_mag\nA,0\nB,-1\n", r"cluster B: extinction_v_mag=-1.0 should not be neg"),
        ("cluster,extinction_v_error_mag\nA,-1\n", r"column extinction_v_error_mag is -1 in row 1"),
        ("cluster,ra,dec\nA,1,2\nB,3,\n", r"only one of ra and dec in row 2: give both, or none"),
        ("cluster,dec\nA,1\n", r"only one of ra and dec in row 1"),
        ("cluster,ra,dec\nA,1,91\n", r"column dec is 91 in row 1, not between -90 and 90"),
    ],
)
def test_the_error_says_what_is_wrong_and_where(tmp_path, text, said):
    path = member_lists.csv(tmp_path, text)
    with pytest.raises(CatalogError, match=said) as error:
        views(path)
    assert str(path) in str(error.value)


def test_a_unit_of_another_kind_is_an_error(tmp_path):
    table = Table({"cluster": ["A"], "distance_pc": [7.4] * u.mas})
    with pytest.raises(CatalogError, match="is in mas, which cannot be converted to pc"):
        read_cluster_table(member_lists.write(table, tmp_path / "clusters.ecsv"))


def test_positions_as_objects_are_an_error(tmp_path):
    table = Table({"cluster": ["A"], "distance_pc": [[1.0, 2.0]]})
    with pytest.raises(CatalogError, match="column distance_pc"):
        read_cluster_table(member_lists.write(table, tmp_path / "clusters.fits"))


def test_many_clusters_without_stars_are_counted():
    assert describe_unmatched([]) == ""
    assert "no cluster A, B:" in describe_unmatched(["A", "B"])
    assert "no cluster A, B, C, D, E and 2 more:" in describe_unmatched("ABCDEFG")
