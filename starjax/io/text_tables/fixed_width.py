"""Reading of text tables in columns of fixed width: those of the CDS and of the AAS journals (MRT), and IPAC.

Astropy reads their descriptions. The rows are cut by Arrow, since astropy would need 100 times their memory.
"""

import fnmatch
import re

from astropy.io import ascii as astropy_ascii
from astropy.table import Table

from starjax.io import table_guards
from starjax.io.table_guards import FileError
from starjax.io.text_tables import columns

_DESCRIPTION = re.compile(r"^[ \t]*Byte-by-byte Description of file:(.*)$", re.IGNORECASE | re.MULTILINE)
_LINE = re.compile(r"^(?:-{6,}|={7,})[ \t]*$", re.MULTILINE)
# Bytes, format and unit of a column; its name and explanation follow.
_COLUMN = re.compile(r"\s*(?:\d+\s*-)?\s*\d+\s+\S+\s+(\S+)\s+\S")
_HEAD_OF_IPAC = re.compile(r"\A(?:[\\|].*(?:\n|\Z))+")


def find_description(readme: str, name: str) -> str:
    """Return what a ReadMe of the CDS says on a file, from its name on; empty if it does not describe it."""
    for found in _DESCRIPTION.finditer(readme):
        if any(fnmatch.fnmatch(name, pattern) for pattern in re.split(r"[,\s]+", found[1]) if pattern):
            return readme[found.start() :].lstrip()
    return ""


def read_cds(text: str) -> Table:
    """Return the table in a text that begins with its description.

    Raises:
      FileError: it has no rows, or the description cannot be read.
    """
    text = text.replace("\r\n", "\n")
    starts = [found.start() for found in _DESCRIPTION.finditer(text)]
    ends = [found.end() for found in _LINE.finditer(text)]
    description, body = (text[starts[0] : ends[-1]], text[ends[-1] + 1 :]) if starts and ends else ("", "")
    if not body.strip() or body.lstrip().startswith("(End)"):
        raise FileError("describes tables, and has no rows: give the file beside it that has the stars")
    return read_rows(description.lstrip(), body)


def read_rows(description: str, body: str) -> Table:
    """Return the table of rows that the CDS describes elsewhere."""
    lines = description.split("\n")
    for line in lines:
        if column := _COLUMN.match(line):
            table_guards.check_unit(column[1])
    return _cut(astropy_ascii.get_reader(astropy_ascii.Cds), lines, body, "")


def read_ipac(text: str) -> Table:
    """Return the table in a text in the format of IPAC.

    Raises:
      FileError: its header cannot be read.
    """
    text = text.replace("\r\n", "\n").lstrip()
    [head] = _HEAD_OF_IPAC.findall(text)[:1] or [""]
    lines = [line.rstrip() for line in head.split("\n")]
    for line in lines:
        for unit in line.split("|") if line.startswith("|") else ():
            table_guards.check_unit(unit.strip())
    return _cut(astropy_ascii.get_reader(astropy_ascii.Ipac), lines, text[len(head) :], "null")


def _cut(reader: astropy_ascii.BaseReader, header: list[str], body: str, missing: str) -> Table:
    import pyarrow.compute as compute

    reader.header.get_cols(header)
    described = reader.header.cols
    table_guards.check_names([column.name for column in described])
    [rows] = columns.split(body, "\1", 1, quote=None)
    length = compute.max(compute.binary_length(rows)).as_py() or 0
    # Columns may overlap.
    width = sum(max(min(column.end, length) - column.start, 0) for column in described)
    table_guards.check_memory(width * len(rows), len(body))
    texts = {
        column.name: compute.utf8_slice_codeunits(rows, max(column.start, 0), max(column.end, 0))
        for column in described
    }
    fills: dict[str, set[str]] = {column.name: {missing} for column in described}
    for fill, _, *names in reader.data.fill_values:
        for name in names:
            fills[name].add(fill)
    table = columns.table(texts, fills)
    for column in described:
        table[column.name].unit = getattr(column, "unit", None)
    return table
