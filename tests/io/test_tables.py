"""Tables written by astropy."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from starjax.catalogs import member_list
from starjax.io import tables


def test_a_file_needs_a_known_extension(tmp_path):
    with pytest.raises(tables.FileError, match="files without a file extension are not known"):
        tables.load_table(tmp_path / "members")


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ra;dec\n1,5;2\n", "columns separated by semicolons"),
        ("ra\tdec\n1\t2\n", "columns separated by tabs"),
        ("ra|dec\n1|2\n", "columns separated by bars"),
        ("# ra,dec\n1.5,2\n", "numbers where the names of the columns should be"),
    ],
)
def test_text_in_another_form_is_named(tmp_path, text, said):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(tables.FileError, match=said):
        tables.load_table(tmp_path / "list.csv")


def test_null_is_missing_in_the_files_of_gaia(tmp_path):
    table = Table({"ra": [1.0, 2.0], "dec": [3.0, 4.0], "pmra": [5.0, 6.0]})
    table.write(tmp_path / "list.ecsv", format="ascii.ecsv", delimiter=",")
    text = (tmp_path / "list.ecsv").read_text()
    (tmp_path / "list.ecsv").write_text(text.replace("5.0", "null"))
    found = member_list.read_member_list(tmp_path / "list.ecsv")
    np.testing.assert_array_equal(found["pmra"], [np.nan, 6.0])
