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
