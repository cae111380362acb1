"""Tables of the CDS, of the AAS journals and of IPAC, as astropy writes them and as archives do."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from starjax.catalogs import member_list
from starjax.io import tables

# From a catalogue of the CDS (J/A+A/618/A93, shortened), with a position in the style of older ones.
README = """J/A+A/618/A93       Gaia DR2 open clusters in the Milky Way (Cantat-Gaudin+, 2018)
================================================================================
Description:
    We list members.

Byte-by-byte Description of file: table1.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label    Explanations
--------------------------------------------------------------------------------
   1- 17  A17   ---     Cluster  Cluster name
--------------------------------------------------------------------------------

Byte-by-byte Description of file: members.dat part*.dat
--------------------------------------------------------------------------------
   Bytes Format Units   Label    Explanations
--------------------------------------------------------------------------------
   1- 19  I19   ---     Source   Gaia DR2 identifier,
                                 2 lines
  21- 22  I2    h       RAh      Hour of right ascension (J2000)
  24- 25  I2    min     RAm      Minute of right ascension
  27- 31  F5.2  s       RAs      Second of right ascension
      33  A1    ---     DE-      Sign of declination
  34- 35  I2    deg     DEd      Degree of declination
  37- 38  I2    arcmin  DEm      Arcminute of declination
  40- 43  F4.1  arcsec  DEs      Arcsecond of declination
  45- 51  F7.3  mas/yr  pmRA     ?=-99.999 Proper motion
  53- 60  A8    ---     Cluster  ?=- Name
--------------------------------------------------------------------------------

================================================================================
(End)        A. Person [CDS]  01-Jan-2020
"""
ROWS = """4611686018427387905 04 26 01.50 -00 30 15.5   1.500 3.10
4611686018427387906 04 26 02.00 +10 00 00.0 -99.999 M 45
                  7 23 59 59.00 -10 30 00.0         HD 1
"""


@pytest.mark.parametrize("name", ["members.dat", "part1.dat"])
def test_a_readme_of_the_cds_describes_the_files_beside_it(tmp_path, name):
    (tmp_path / "ReadMe").write_text(README)
    (tmp_path / name).write_text(ROWS)
    found, _ = tables.load_table(tmp_path / name)
    assert found["Source"].tolist() == [4611686018427387905, 4611686018427387906, 7]
    assert found["pmRA"].unit == u.mas / u.yr
    assert found["Cluster"].tolist()[::2] == ["3.10", "HD 1"]
    stars = member_list.read_member_list(tmp_path / name)
    np.testing.assert_allclose(stars["ra"], [66.50625, 66.508333333, 359.995833333])
    np.testing.assert_allclose(stars["dec"], [-0.504305556, 10, -10.5])
    np.testing.assert_array_equal(stars["pmra"], [1.5, np.nan, np.nan])


def test_a_readme_is_no_list(tmp_path):
    (tmp_path / "ReadMe").write_text(README)
    (tmp_path / "other.dat").write_text(ROWS)
    with pytest.raises(tables.FileError, match="describes tables, and has no rows"):
        tables.load_table(tmp_path / "ReadMe")
    with pytest.raises(tables.FileError, match="put its ReadMe beside it"):
        tables.load_table(tmp_path / "other.dat")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("form", ["ascii.mrt", "ascii.ipac"])
def test_what_astropy_writes(tmp_path, form, end):
    table = Table({"RAdeg": [10.25, 11.5, 350.125], "DEdeg": [-1.5, 2.25, 80.5]}, units=["deg", "deg"])
    table["pmRA"] = MaskedColumn([1.5, 2.5, 3.5], mask=[False, True, False], unit="mas/yr")
    table["Gaia"] = 4611686018427387905 + np.arange(3)
    table["Name"] = ["a b", "HD 1", "c"]
    path = tmp_path / "list.txt"
    table.write(path, format=form)
    path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))
    found, _ = tables.load_table(path)
    assert found.colnames == table.colnames
    assert found["RAdeg"].unit == u.deg
    assert u.Unit(found["pmRA"].unit) == u.mas / u.yr
    assert found["Gaia"].tolist() == table["Gaia"].tolist()
    assert found["Name"].tolist() == table["Name"].tolist()
    stars = member_list.read_member_list(path)
    np.testing.assert_allclose(stars["ra"], table["RAdeg"])
    np.testing.assert_array_equal(stars["pmra"], [1.5, np.nan, 3.5])


def test_a_table_of_irsa(tmp_path):
    """Null values are in the fourth line of the header."""
    (tmp_path / "list.tbl").write_text(
        "\\fixlen = T\n\\ a comment\n"
        "|ra        |dec       |pmra     |name  |\n"
        "|double    |double    |double   |char  |\n"
        "|deg       |deg       |mas/yr   |      |\n"
        "|null      |null      |-9.9     |null  |\n"
        " 10.5       -20.25        1.25    a b   \n"
        " 11.5        20.25       -9.9     null  \n"
    )
    stars = member_list.read_member_list(tmp_path / "list.tbl")
    assert stars["dec"].tolist() == [-20.25, 20.25]
    np.testing.assert_array_equal(stars["pmra"], [1.25, np.nan])
