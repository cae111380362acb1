"""Text tables in the forms of other programs are read, or named."""

import re

import numpy as np
import pytest
from astropy.io import ascii as astropy_ascii
from astropy.table import Table

from starjax.io import tables
from starjax.io.text_tables import delimited

NAMES = ["source_id", "ra", "dec", "name"]
ROWS = [["5", "10.5", "-0.25", "Plêiades"], ["6", "11.125", "", "B, C"], ["7", "1.25e1", "0.5", "-"]]


def written(separator, *, comment="", decimal=".", units="", dashes=False):
    rows = [[value.replace(".", decimal) for value in row] for row in ROWS]
    rows = [[f'"{value}"' if separator in value else value for value in row] for row in rows]
    lines = [NAMES, *([units.split(" ")] if units else []), *([["---"] * 4] if dashes else []), *rows]
    return "\n".join([comment + separator.join(lines[0]), *map(separator.join, lines[1:])]) + "\n"


DIALECTS = {
    "comma": written(","),
    "semicolon": written(";"),
    "tab": written("\t"),
    "bar": written("|"),
    "spreadsheet": "sep=;\n" + written(";"),
    "decimal commas": written(";", decimal=","),
    "header in a comment": "# of a paper\n#\n" + written(",", comment="# "),
    "units": written(",", units="- deg deg "),
    "VizieR": "#\n#   VizieR\n#\n" + written("|", units=" deg deg ", dashes=True) + "\n#END#\n",
    "VizieR, tabs": "#INFO\tx=1\n\n" + written("\t", units=" deg deg ", dashes=True),
    "header and units in comments": "# of a paper\n# "
    + ",".join(NAMES)
    + "\n# -,deg,deg,-\n"
    + written(",").split("\n", 1)[1],
    "VizieR, units with numbers": written("|", units="10-3mag deg deg ", dashes=True),
    "comments between": written(",").replace("6,", "# note\n6,"),
    "bars at both ends": re.sub("(?m)^(.*)$", r"| \1 |", written("|", dashes=True).strip()) + "\n",
    "psql": written(" | ").replace("dec | name\n", "dec | name\n---+----+---+---\n") + "(3 rows)\n\n",
    "mysql": "+---+---+---+---+\n"
    + re.sub("(?m)^(.*)$", r"| \1 |", written("|").strip())
    + "\n+---+---+---+---+\n3 rows in set (0.00 sec)\n",
    "titles and notes": "Members of the Pleiades\nTable 2, of a paper\n\n"
    + written(",")
    + "\nNotes: names are those of a\n  book, or missing.\n",
    "other comments": "! of a paper\n% twice\n" + written(";").replace("6;", "// note\n6;"),
    "header after %": "% of a paper\n" + written("\t", comment="% "),
    "quoted decimal commas": written(",")
    .replace("10.5,-0.25", '"10,5", "-0,25"')
    .replace("11.125", '"11,125"')
    .replace("1.25e1,0.5", '"1,25e1","0,5"'),
    "old line ends": written(",").replace("\n", "\r"),
    "blanks between": written(",").replace("\n", "\n  \n"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(tmp_path, dialect, encoding):
    (tmp_path / "list.csv").write_bytes(DIALECTS[dialect].encode(encoding))
    found, _ = tables.load_table(tmp_path / "list.csv")
    assert found.colnames == NAMES
    assert [[str(value) for value in row] for row in found] == ROWS
    if "units" in dialect or "VizieR" in dialect:
        units = [str(found[name].unit) for name in NAMES]
        assert units == ["0.001 mag" if "numbers" in dialect else "None", "deg", "deg", "None"]


@pytest.mark.parametrize("form", ["basic", "commented_header", "tab", "csv"])
def test_what_astropy_writes(form):
    table = Table({"ra": [1.5, 2.5, 1e-7], "dec": [3.0, 4.0, 5.0], "name": ["a b", "c", "d"]})
    lines = []
    astropy_ascii.write(table, Lines(lines), format=form)
    found = delimited.read("".join(lines))
    assert found["ra"].astype(float).tolist() == table["ra"].tolist()
    assert found["name"].tolist() == table["name"].tolist()


class Lines:
    """A file whose text goes to a list."""

    def __init__(self, texts):
        self.write = texts.append


def test_commas_between_thousands_are_not_decimal():
    found = delimited.read("ra;dec;note\n1.5;2.5;1,234\n")
    assert list(found[0]) == ["1.5", "2.5", "1,234"]
    assert delimited.read("ra;name\n1;a,b\n2;1,5\n")["name"].tolist() == ["a,b", "1,5"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"# of a paper\n1.5,2\n", "numbers where the names of the columns should be"),
        (b"# ra,dec,pmra\n1.5,2\n", "numbers where the names of the columns should be"),
        (b"# nothing else\n", "is empty"),
        (b"ra;dec\n1,5;2\n3\n", "has 1 values in row 2, but 2 column names: .* a semicolon too few"),
        (b"ra\tdec\n1\t2\t3\n", "has 3 values in row 1, but 2 column names: .* a tab too few"),
        (b"ra,dec\n1,5,2,5\n", "has 4 values in row 1, but 2 column names"),
        (b"ra,dec\ndeg,m*10**99999999\n1,2\n", "has a unit 'm"),
        (b"name,ra,dec\na,1,2\n#1,3,4\n", "begins with # and has as many values as a star .'#1,3,4'"),
        (b'name\tra\n"a\t1\nb\t2\nc"\t3\n', "a line break between quotation marks in row 1"),
        (b"ra,dec\n1,2\nHD 1\n", "has 1 values in row 2, but 2 column names"),
        (b"1.5 2.5\n3.5 4.5\n", "if it is from the CDS, put its ReadMe beside it"),
        (b"ra,dec\n1,2\n#++++ truncated result (the maximum of 50 rows)\n", "says that it lacks stars"),
        (bytes(range(256)), "is not text in UTF-8, UTF-16 or Latin-1"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, content, said):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(tables.FileError, match=said):
        tables.load_table(tmp_path / "list.txt")


def test_stars_without_numbers_are_not_units():
    found = delimited.read("ra,dec,name\nnan,,Magellan\n1,2,b\n")
    np.testing.assert_array_equal(found["name"], ["Magellan", "b"])


def test_numbers_lose_nothing():
    """Names that look like numbers stay as they are, and identities keep their digits."""
    rows = [
        ("1.5", "4611686018427387905", "3.10", "007", "18446744073709551615", "1.23456789012"),
        ("nan", "", "3.1", "7", "1", "-2.23456789e1"),
        ("+2", "--", "a", "8", "2", "NULL"),
    ]
    found = delimited.read("a,b,c,d,e,f\n" + "".join(",".join(row) + "\n" for row in rows))
    assert found["b"].dtype == np.int64
    assert found["b"].tolist() == [4611686018427387905, None, None]
    for i, name in ((0, "a"), (2, "c"), (3, "d"), (4, "e")):
        assert found[name].tolist() == [row[i] for row in rows]
    np.testing.assert_array_equal(found["f"], [1.23456789012, -22.3456789, np.nan])
