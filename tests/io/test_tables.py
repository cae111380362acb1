"""Tables written by astropy."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table

from starjax.catalogs import column_values, member_list
from starjax.io import tables


@pytest.mark.parametrize("kind", ["csv", "ecsv", "fits", "vot", "parquet"])
def test_masked_values_are_missing(kind, tmp_path):
    """In Parquet, astropy writes zeros for masked values, and the mask as another column."""
    table = Table({"ra": 10.0 + np.arange(12), "dec": np.zeros(12), "source_id": 10**18 + np.arange(12)})
    missing = np.arange(12) % 3 == 0
    table["pmra"] = MaskedColumn(np.arange(12) + 1.0, mask=missing, unit="mas/yr")
    path = tmp_path / f"list.{kind}"
    table.write(path, format={"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}.get(kind, kind))
    found = member_list.read_member_list(path)
    np.testing.assert_array_equal(np.isnan(found["pmra"]), missing)
    np.testing.assert_array_equal(found["pmra"][~missing], table["pmra"][~missing])
    np.testing.assert_array_equal(found["source_id"], table["source_id"])


def test_null_is_missing_in_the_files_of_gaia(tmp_path):
    table = Table({"ra": [1.0, 2.0], "dec": [3.0, 4.0], "pmra": [5.0, 6.0]})
    table.write(tmp_path / "list.ecsv", format="ascii.ecsv", delimiter=",")
    text = (tmp_path / "list.ecsv").read_text()
    (tmp_path / "list.ecsv").write_text(text.replace("5.0", "null"))
    found = member_list.read_member_list(tmp_path / "list.ecsv")
    np.testing.assert_array_equal(found["pmra"], [np.nan, 6.0])


@pytest.mark.parametrize(
    "scaling", [{}, {"TSCAL2": 0.01}, {"TSCAL2": 0.01, "TZERO2": 50.0}, {"TZERO2": 2**31}]
)
def test_missing_values_of_whole_numbers_in_fits(tmp_path, scaling):
    columns = [
        fits.Column("ra", "D", array=np.ones(3)),
        fits.Column("pmra", "J", null=-999, array=np.array([150, -999, 350]), unit="mas/yr"),
        fits.Column("name", "A3", array=np.array(["a", "", "c"])),
    ]
    unit = fits.BinTableHDU.from_columns(columns)
    unit.header.update(scaling)
    unit.writeto(tmp_path / "list.fits")
    found, _ = tables.load_table(tmp_path / "list.fits")
    assert found["pmra"].mask.tolist() == [False, True, False]
    scale, zero = scaling.get("TSCAL2", 1), scaling.get("TZERO2", 0)
    np.testing.assert_allclose(found["pmra"][[0, 2]].astype(float), np.array([150, 350]) * scale + zero)
    assert found["pmra"].unit == u.mas / u.yr
    assert found["name"].mask.tolist() == [False, True, False]


def test_missing_values_of_text_in_fits(tmp_path):
    columns = [
        fits.Column("ra", "F10.4", array=np.array([1.5, 2.5, 3.5])),
        fits.Column("pmra", "F10.4", null="---", array=np.array([1.5, 4.5, 3.5]), unit="mas/yr"),
        fits.Column("n", "I5", null="-9", array=np.array([1, 2, -9])),
    ]
    fits.TableHDU.from_columns(columns).writeto(tmp_path / "list.fits")
    content = (tmp_path / "list.fits").read_bytes()
    (tmp_path / "list.fits").write_bytes(content.replace(b"    4.5000", b"       ---"))
    found, _ = tables.load_table(tmp_path / "list.fits")
    assert found["pmra"].mask.tolist() == [False, True, False]
    assert found["n"].mask.tolist() == [False, False, True]
    assert found["ra"].tolist() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("kind", ["fits", "vot"])
def test_the_list_may_be_the_second_table(tmp_path, kind):
    other, stars = Table({"start": [1.0, 2.0]}), Table({"ra": [1.0], "dec": [2.0]})
    path = tmp_path / f"list.{kind}"
    for order in ([other, stars], [stars, other], [other, stars, stars[:0]]):
        if kind == "fits":
            units = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros(5)), *map(fits.table_to_hdu, order)]
            fits.HDUList(units).writeto(path, overwrite=True)
        else:
            document = votable.from_table(order[0])
            for table in order[1:]:
                document.resources.append(votable.from_table(table).resources[0])
            document.to_xml(str(path))
        assert member_list.read_member_list(path)["ra"].tolist() == [1.0]
        assert tables.load_table(path)[0].colnames == order[0].colnames


@pytest.mark.parametrize("kind", ["fits", "vot"])
def test_of_several_tables_with_positions_the_members_are_read(tmp_path, kind):
    """By the name of the table, then by its columns; otherwise the file is refused."""
    field = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "flux": [1.0, 2.0]})
    stars = Table({"ra": [5.0], "dec": [6.0], "pmra": [7.0]})
    path = tmp_path / f"list.{kind}"

    def write(*named):
        if kind == "fits":
            units = [fits.table_to_hdu(table) for _, table in named]
            for unit, (name, _) in zip(units, named, strict=True):
                unit.name = name
            fits.HDUList([fits.PrimaryHDU(), *units]).writeto(path, overwrite=True)
        else:
            documents = [votable.from_table(table, table_id=name) for name, table in named]
            documents[0].resources.extend(document.resources[0] for document in documents[1:])
            documents[0].to_xml(str(path))

    for named in [
        [("sky", field), ("other", stars)],
        [("sky", field), ("MEMBERS", stars)],
        [("sky", stars[:0]), ("other", field), ("m67_stars", stars[["ra", "dec"]])],
        [("sky", stars), ("again", stars)],
    ]:
        write(*named)
        assert member_list.read_member_list(path)["ra"].tolist() == [5.0]
    write(("sky", field), ("more", field[["ra", "dec"]]))
    said = r"several tables.*: 1 sky \(2 rows, ra, dec, flux\); 2 more \(2 rows, ra, dec\)\. Save the one"
    with pytest.raises(column_values.CatalogError, match=said if kind == "vot" else "(?i)" + said):
        member_list.read_member_list(path)


@pytest.mark.parametrize(
    ("name", "value"), [("QUERY_STATUS", "OVERFLOW"), ("Warning", "truncated result (50)")]
)
def test_a_result_that_was_cut_is_refused(tmp_path, name, value):
    path = tmp_path / "list.vot"
    document = votable.from_table(Table({"ra": [1.0], "dec": [2.0]}))
    for status in ("OK", value):
        document.resources[0].infos.append(votable.tree.Info(name=name, value=status))
        document.to_xml(str(path))
        if status == "OK":
            assert len(tables.load_table(path)[0]) == 1
    with pytest.raises(tables.FileError, match=r"says that it lacks stars.*higher limit of rows"):
        tables.load_table(path)
