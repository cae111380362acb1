"""Tables of what is known of each cluster: read in all formats, converted, checked."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated.cluster_table import cluster_views, describe_columns, read_cluster_table
from starjax.catalogs.stated.view import View
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
    assert describe_columns(read_cluster_table(path)) == [f"{path}: columns not used: age"]
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
        ("id,distance_pc\nA,100\n", r"has the columns id, distance_pc: it should have cluster, and"),
        ("cluster,far\nA,100\n", r"and some of ra, dec, distance_pc"),
        ("cluster,Dist,dist\nA,100,90\n", r"Dist and dist could both be distance_pc: remove one"),
        ("cluster,distance_pc\nA,100\nB,1\nA,90\n", r"names the cluster A more than once, in rows 1, 3"),
        ("cluster,distance_pc\nNGC 752,100\nNGC_0752,9\n", r"cluster NGC 752 = NGC_0752 more than once, in"),
        ("cluster,distance_pc\nA,100\n,90\n", r"column cluster is empty in row 2: every row needs"),
        ("cluster,distance_pc\nA,far\n", r"column distance_pc holds 'far' instead of a decimal number"),
        ("cluster,distance_pc\nA,-5\n", r"column distance_pc is -5 in row 1: it should be positive"),
        ("cluster,distance_pc\nA,inf\n", r"column distance_pc is infinite in row 1"),
        ("cluster,radial_velocity_kms\nA,-1234\n", r"column radial_velocity_kms is -1234 in row 1"),
        ("cluster,AV\nA,0\nB,-0.5\n", r"column AV is -0.5 in row 2, not between 0 and 50 mag"),
        ("cluster,AV\nA,0\nB,70\n", r"column AV is 70 in row 2, not between 0 and 50 mag"),
        ("cluster,feh\nA,-12\n", r"column feh is -12 in row 1, not between -5 and 1 dex"),
        ("cluster,extinction_v_error_mag\nA,-2\n", r"column extinction_v_error_mag is -2 in row 1"),
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


def test_fill_values_are_missing_ones_and_said(tmp_path):
    text = (
        "cluster,ra,dec,distance_kpc,e_distance_kpc,radial_velocity,AV,e_AV,feh,parallax_zero_point_mas\n"
        "A,-999,-999,-999,-1,-999.9,99.99,99.999,-99.99,-999\n"
        "B,56,24,0.135,0.002,5.6,0.12,0.03,-0.05,-0.04\n"
    )
    table = read_cluster_table(member_lists.csv(tmp_path, text))
    found = cluster_views(table, DEFAULT)
    assert found["A"] == DEFAULT
    assert views(member_lists.csv(tmp_path, "cluster,e_AV\nA,0\n"))["A"].extinction_v_error_mag == 0
    assert found["B"].distance_pc == pytest.approx(135)
    assert (found["B"].extinction_v_mag, found["B"].metallicity) == (0.12, -0.05)
    said = describe_columns(table)[-1]
    assert "Counted as missing values: " in said
    assert "extinction_v_mag of 99.99 (row 1)" in said


def test_rows_without_a_value_have_that_of_the_modulus_and_of_percentiles(tmp_path):
    text = (
        "cluster,dist50,DistMod,dist16,dist84,e_distance,AV50,e_AV,AV16,AV84\n"
        "A,,6.0,150,170,,0.2,,0.1,0.5\n"
        "B,183,6.5,180,190,2,0.2,0.05,0.1,0.5\n"
        "C,,,,,,,,,\n"
    )
    found = views(member_lists.csv(tmp_path, text), View())
    assert found["A"].distance_pc == pytest.approx(10**2.2)
    assert (found["A"].distance_error_pc, found["A"].extinction_v_error_mag) == (10, 0.2)
    assert (found["B"].distance_pc, found["B"].distance_error_pc) == (183, 2)
    assert found["B"].extinction_v_error_mag == 0.05
    assert found["C"] == View()


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("Cluster,RA(deg),DE_ICRS (deg),distance_kpc,rv_kms", "A,130.1,19.5,0.186,35"),
        ("Cluster,RA_ICRS_1,DE_ICRS_1,Dist [pc],RV (km/s)", "A,130.1,19.5,186,35"),
        ("Cluster,RA [hms],Dec [dms],DIST_PC,HRV [m/s]", "A,08 40 24,+19 30 00,186,35000"),
        ("Cluster,RAJ2000,DEJ2000,Distance (kpc),rv", "A,08:40:24,+19:30:00,0.186,35"),
    ],
)
def test_units_in_names_and_sexagesimal_positions_are_read(tmp_path, head, row):
    (view,) = views(member_lists.csv(tmp_path, f"{head}\n{row}\n"), View()).values()
    np.testing.assert_allclose(view.centre, (130.1, 19.5))
    assert (view.distance_pc, view.radial_velocity_kms) == pytest.approx((186, 35))


# The heads of the tables of clusters of Cantat-Gaudin et al. 2020, Hunt & Reffert 2024, and Dias et al. 2021,
# as VizieR and CDS write them, with a row of each.
PUBLISHED = {
    "cantat-gaudin": (
        "Cluster,RA_ICRS,DE_ICRS,nbstars07,AgeNN,AVNN,DMNN,DistPc\nNGC_2632,130.054,19.621,685,8.83,0.0,6.35,186\n",
        {"centre": (130.054, 19.621), "distance_pc": 186, "extinction_v_mag": 0},
    ),
    "hunt": (
        "Name RAdeg DEdeg dist16 dist50 dist84 RV AV16 AV50 AV84\n"
        "NGC_2632 130 19.6 182 183 185 35.1 0.1 0.2 0.5\n",
        {
            "centre": (130, 19.6),
            "distance_pc": 183,
            "distance_error_pc": 1.5,
            "radial_velocity_kms": 35.1,
            "extinction_v_mag": 0.2,
            "extinction_v_error_mag": 0.2,
        },
    ),
    "dias": (
        "Cluster;RA_ICRS;DE_ICRS;Dist;e_Dist;RV;[Fe/H];Av;e_Av\n;deg;deg;kpc;kpc;km/s;[Sun];mag;mag\n"
        "NGC_2632;130;19.6;0.183;0.002;35;0.14;0.09;0.03\n",
        {
            "centre": (130, 19.6),
            "distance_pc": 183,
            "distance_error_pc": 2,
            "radial_velocity_kms": 35,
            "metallicity": 0.14,
            "extinction_v_mag": 0.09,
            "extinction_v_error_mag": 0.03,
        },
    ),
    "modulus": ("Cluster,DistMod\nNGC_2632,6.0\n", {"distance_pc": 10**2.2}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_of_published_tables_are_recognized(tmp_path, name):
    text, expected = PUBLISHED[name]
    (view,) = views(member_lists.csv(tmp_path, text), View()).values()
    stated = {key: value for key, value in vars(view).items() if value != getattr(View(), key)}
    assert stated.keys() == {key for key, value in expected.items() if value != getattr(View(), key)}
    for key, value in stated.items():
        assert value == pytest.approx(expected[key]), key
