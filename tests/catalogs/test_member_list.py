"""A catalogue is the same in every format; errors name file, columns and rows."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.io import votable
from astropy.table import Table

from starjax.catalogs import column_values, feature_notes, member_list
from tests.catalogs.member_lists import IDENTITIES, RADIAL, csv, stars, write


@pytest.mark.parametrize("kind", [".csv", ".ecsv", ".parquet", ".fits", ".vot", ".xml"])
def test_every_format_gives_the_same(tmp_path, kind):
    whole = stars()
    found = member_list.read_member_list(write(whole, tmp_path / f"members{kind}"))
    assert found.colnames == [
        "row",
        *(name for name in member_list.column_units() if name in whole.colnames),
        "source_id",
    ]
    assert found["row"].tolist() == list(range(1, 13))
    assert found["source_id"].dtype == np.int64
    np.testing.assert_array_equal(found["source_id"], IDENTITIES)
    for name in ("ra", "dec", "parallax", "pmra", "phot_g_mean_mag"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-12)
        assert found[name].unit == member_list.column_units()[name]
    np.testing.assert_array_equal(found["radial_velocity"], RADIAL)
    assert list(member_list.split_clusters(found)) == ["members"]


@pytest.mark.parametrize("kind", [".csv.gz", ".fits.gz", ".vot.gz"])
def test_compressed(tmp_path, kind):
    path = tmp_path / f"members{kind}"
    whole = stars()
    write(whole, tmp_path / f"members{kind}")
    np.testing.assert_allclose(member_list.read_member_list(path)["ra"], whole["ra"], rtol=1e-12)
    assert list(member_list.split_clusters(member_list.read_member_list(path))) == ["members"]


def test_units_as_written_by_the_gaia_archive(tmp_path):
    table = stars()
    table["pmra"].unit, table["radial_velocity"].unit = None, None
    document = votable.from_table(table)
    for field in document.get_first_table().fields:
        if field.name in ("pmra", "radial_velocity"):
            field._unit = u.Unit(
                {"pmra": "mas.yr**-1", "radial_velocity": "km.s**-1"}[field.name], format="vounit"
            )
        if field.name == "name":
            field._unit = u.UnrecognizedUnit("log(cm.s**-2)")
    document.to_xml(str(tmp_path / "members.vot"))
    np.testing.assert_allclose(member_list.read_member_list(tmp_path / "members.vot")["pmra"], table["pmra"])


def test_columns_by_other_names(tmp_path):
    table = stars()
    table.rename_columns(["ra", "dec", "source_id"], ["RAJ2000", "DEJ2000", "Gaia"])
    table["ra"] = "04 26 01"  # not the one that is meant
    path = write(table, tmp_path / "members.csv")
    found = member_list.read_member_list(path, {"ra": "RAJ2000", "dec": "DEJ2000", "source_id": "Gaia"})
    np.testing.assert_allclose(found["ra"], table["RAJ2000"])
    np.testing.assert_array_equal(found["source_id"], IDENTITIES)
    with pytest.raises(
        column_values.CatalogError, match=r"members\.csv has no column RA; it has Gaia, RAJ2000"
    ):
        member_list.read_member_list(path, {"ra": "RA"})
    with pytest.raises(
        column_values.CatalogError, match="right_ascension is not a column of a member catalogue"
    ):
        member_list.read_member_list(path, {"right_ascension": "RAJ2000"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "ra,dec\n1,2\n3,04 26 01\n5,\n",
            r"list\.csv: column dec holds '04 26 01' instead of a decimal number in row 2",
        ),
        ("ra,dec,parallax\n1,2,x\n3,4,5\n5,6,x\n", "column parallax holds 'x' instead.* in rows 1, 3"),
        ("ra,dec\n1,2\n3,95\n", "column dec is 95 in row 2, not between -90 and 90"),
        ("ra,dec,phot_g_mean_mag\n1,2,-42\n", "phot_g_mean_mag is -42 in row 1, not between -2 and 40 mag"),
        ("ra,dec,bp_rp\n1,2,57.1\n", "bp_rp is 57.1 in row 1, not between"),
        ("ra,dec,radial_velocity\n1,2,5000\n", "radial_velocity is 5000 in row 1, not between"),
        ("ra,dec\n1,2\n500,5\n", "column ra is 500 in row 2"),
        ("ra,dec\n1,2\n-inf,5\n", "column ra is infinite in row 2"),
        ("ra,dec,distance\n1,2,5\n3,4,-7\n", "column distance is -7 in row 2: it should be positive"),
        ("ra,dec,pmra_error\n1,2,5\n3,4,-7\n", "pmra_error is -7 in row 2: it should not be negative"),
        ("ra,dec,ra\n1,2,5\n", r"list\.csv: has more than one column 'ra'"),
        ("ra,dec\n1,2\n4,5,6\n", "has 3 values in row 2"),
        ("ra,dec\n", "has no stars"),
        ("", "is empty"),
        ("# nothing else\n", "is empty"),
        ("ra,b\n1,2\n", "has no column dec; it has ra, b"),
        ("ra,dec,cluster\n1,2,-1\n3,4,\n", "column cluster names no cluster in any row"),
    ],
)
def test_errors_name_column_and_rows(tmp_path, text, said):
    with pytest.raises(column_values.CatalogError, match=said):
        member_list.read_member_list(csv(tmp_path, text))


@pytest.mark.parametrize("kind", [".csv.gz", ".ecsv", ".parquet", ".fits", ".vot"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_damaged_files_are_named(tmp_path, kind, share):
    path = write(stars(), tmp_path / f"members{kind}")
    whole = path.read_bytes()
    if kind == ".fits":
        whole = whole[:-2880]
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(column_values.CatalogError, match=r"members\..*"):
        member_list.read_member_list(path)


def test_files_of_other_formats_are_refused(tmp_path):
    with pytest.raises(column_values.CatalogError, match=r"gone\.csv: there is no such file"):
        member_list.read_member_list(tmp_path / "gone.csv")
    with pytest.raises(column_values.CatalogError, match=r"list\.csv: is a PDF, which is not read"):
        member_list.read_member_list(csv(tmp_path, "%PDF-1.4\n"))


def test_comments_spaces_and_marks_of_missing_values(tmp_path):
    text = "\ufeff# from a paper\n# twice\n ra, dec ,parallax\n1 , 2,null\n3,4,--\n5,6,NaN\n7,8, 9\n"
    found = member_list.read_member_list(csv(tmp_path, text))
    np.testing.assert_array_equal(found["parallax"], [np.nan, np.nan, np.nan, 9])
    np.testing.assert_array_equal(found["ra"], [1, 3, 5, 7])


def test_clusters_are_in_the_order_of_the_catalogue(tmp_path):
    text = "ra,dec,cluster\n1,2,Pleiades\n3,4,Hyades\n5,6,Pleiades\n"
    found = member_list.split_clusters(member_list.read_member_list(csv(tmp_path, text)))
    assert {name: part["row"].tolist() for name, part in found.items()} == {"Pleiades": [1, 3], "Hyades": [2]}
    assert list(found) == ["Pleiades", "Hyades"]


@pytest.mark.parametrize("nobody", ["", "-1", "noise", "Field", "nan", "--", -1, np.nan])
def test_stars_without_a_cluster_are_left_out(nobody):
    numbers = [3.0, nobody, 3.0] if not isinstance(nobody, str) else ["3", nobody, "3.0"]
    table = Table({"ra": [1.0, 3, 5], "dec": [2.0, 4, 6]})
    table["cluster"] = numbers
    found = member_list.check_member_list(table, "here")
    assert {name: part["row"].tolist() for name, part in member_list.split_clusters(found).items()} == {
        "3": [1, 3]
    }
    assert found.meta["remarks"] == ["Left out because cluster names no cluster: 1 star (row 2)."]


def test_spellings_of_a_cluster_are_one_cluster(tmp_path):
    text = "ra,dec,cluster\n1,2,NGC 2632\n3,4,ngc2632\n5,6,NGC 2682\n7,8,NGC_2632\n"
    found = member_list.read_member_list(csv(tmp_path, text))
    clusters = member_list.split_clusters(found)
    assert {name: part["row"].tolist() for name, part in clusters.items()} == {
        "NGC 2632": [1, 2, 4],
        "NGC 2682": [3],
    }
    assert feature_notes.describe_columns(found)[-1] == (
        "Counted as one cluster: NGC 2632 = ngc2632 = NGC_2632."
    )


def test_unused_columns_are_named():
    table = stars()
    table["speed"], table["colour"] = 1.0, 0.5
    assert member_list.check_member_list(table, "here").meta["unused"] == ["name", "speed", "colour"]
    found = member_list.check_member_list(table, "here", {"bp_rp": "colour"})
    assert found.meta["unused"] == ["name", "speed"]


def test_named_levels_of_an_index_are_columns(tmp_path):
    """As pandas keeps them after `set_index` or `groupby`, in memory and in a Parquet file."""
    frame = pd.DataFrame({"cluster": ["a", "b"], "ra": [1.0, 2.0], "dec": [3.0, 4.0]}).set_index("cluster")
    frame.to_parquet(tmp_path / "index.parquet")
    for found in (
        member_list.check_member_list(frame, "here"),
        member_list.read_member_list(tmp_path / "index.parquet"),
    ):
        assert found["cluster"].tolist() == ["a", "b"]


def test_a_data_frame_with_a_repeated_column_is_an_error():
    frame = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["ra", "dec", "ra"])
    with pytest.raises(column_values.CatalogError, match="here has more than one column ra"):
        member_list.check_member_list(frame, "here")


@pytest.mark.parametrize("names", [["a", "a"], ["cluster", None], [0, "cluster"]])
def test_levels_of_an_index_by_any_name(names):
    frame = pd.DataFrame({"ra": [1.0, 2.0], "dec": [3.0, 4.0]})
    frame.index = pd.MultiIndex.from_arrays([["u", "v"], ["w", "x"]], names=names)
    if names == ["a", "a"]:
        with pytest.raises(column_values.CatalogError, match="here has more than one column a"):
            member_list.check_member_list(frame, "here")
    else:
        found = member_list.check_member_list(frame, "here")
        assert found["cluster"].tolist() == (["w", "x"] if names[0] == 0 else ["u", "v"])
    assert list(frame) == ["ra", "dec"]


@pytest.mark.parametrize(
    "table", [{"ra": [1.0], "dec": [2.0]}, np.zeros(1, [("ra", "f8"), ("dec", "f8")]), pd.Series([1.0]), None]
)
def test_what_is_not_a_table_is_named(table):
    with pytest.raises(
        column_values.CatalogError, match=r"here is a .*an astropy Table, a data frame of pandas"
    ):
        member_list.check_member_list(table, "here")


def test_what_gives_its_columns_to_arrow_is_a_table():
    """As data frames of polars do, which give columns of texts as views."""
    table = pa.table({"source_id": [IDENTITIES[0], None], "ra": [1.0, 2.0], "dec": [3.0, None]})
    table = table.append_column("cluster", pa.array(["a", "b"], pa.string_view()))
    found = member_list.check_member_list(table, "here")
    assert found["source_id"].tolist() == [IDENTITIES[0], None]
    np.testing.assert_array_equal(found["dec"], [3.0, np.nan])
    assert found["cluster"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("ra", "dec", "unit"),
    [
        ("04:26:01.5", "-00:30:15", None),
        ("04 26 01.5", "-0 30 15.0", '"h:m:s"'),
        ("04h26m01.5s", "-00d30m15s", None),
        ("4h 26m 1.5s", "-0° 30' 15.0\"", None),
        ("66:30:22.5", "-00:30:15", '"d:m:s"'),
    ],
)
def test_sexagesimal_positions(ra, dec, unit):
    table = Table({"ra": [ra, "", ra], "dec": [dec, dec, "--"]})
    table["ra"].unit = unit and u.Unit(unit, parse_strict="silent")
    found = member_list.check_member_list(table, "here")
    np.testing.assert_allclose(found["ra"], [66.50625, np.nan, 66.50625])
    np.testing.assert_allclose(found["dec"], [-0.5041666667, -0.5041666667, np.nan])
    assert found.meta["is_unit_stated"]


@pytest.mark.parametrize(
    ("name", "unit"), [("RA (d:m:s)", None), ("ra_deg", None), ("ra", "deg"), ("RA(deg)", None)]
)
def test_sexagesimal_right_ascensions_are_in_degrees_if_these_are_stated(name, unit):
    table = Table({name: ["131:58:20.3"], "dec": ["-35:46:39"], "parallax": [5.0]})
    table[name].unit = unit
    assert member_list.check_member_list(table, "x")["ra"][0] == pytest.approx(131 + 58 / 60 + 20.3 / 3600)


def test_sexagesimal_positions_that_do_not_exist():
    table = Table({"ra": ["04:66:01", "04:26:01"], "dec": ["1:2:3", "1:2:3"]})
    with pytest.raises(column_values.CatalogError, match=r"here: column ra .*'minute' was found"):
        member_list.check_member_list(table, "here")


def test_missing_values_of_every_type_of_pandas():
    frame = pd.DataFrame({"ra": [1.0, 2.0], "dec": [3.0, 4.0]})
    frame["parallax"] = pd.Series([5.0, pd.NA], dtype=object)
    frame["pmra"] = pd.array([5.0, None], dtype="Float64")
    frame["pmdec"] = pd.array(["5.0", None], dtype="string")
    found = member_list.check_member_list(frame, "here")
    for name in ("parallax", "pmra", "pmdec"):
        np.testing.assert_array_equal(found[name], [5, np.nan])


def test_names_of_columns_that_are_not_text_are_shown():
    frame = pd.DataFrame([[1.0, 2.0]], columns=pd.MultiIndex.from_product([["gaia"], ["ra", "dec"]]))
    with pytest.raises(column_values.CatalogError, match=r"no column ra, dec; it has \('gaia', 'ra'\)"):
        member_list.check_member_list(frame, "here")
