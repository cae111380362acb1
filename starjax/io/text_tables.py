"""Reading of text tables in the forms that people and archives write.

Columns are separated by commas, semicolons, tabs, bars or spaces. Numbers may have decimal commas, unless the
columns are separated by commas. Lines that begin with # are comments; the last one before the first star is
the header if no other line is. A row of units and a row of dashes may follow the header, as VizieR writes
them.
"""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from astropy.table import Table

from starjax.io import table_guards
from starjax.io.table_guards import FileError

# What text tables write for a missing value, in lower case.
MISSING = (
    *("", "nan", "-nan", "null", "none", "na", "n/a", "<na>", "#n/a", "masked", "indef"),
    *("-", "--", "---", "...", "?", "\\n"),
)
# What separates columns; spaces do if none of these is in the header.
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_UNIT = re.compile(
    r"\W*(angle|deg(rees?)?|rad(ians?)?|mas|arcsec(onds?)?|h(ou)?rs?|h:m:s|mag|pc|parsec|km)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def decode(content: bytes) -> str:
    """Return text in UTF-8, UTF-16 with its mark, or Windows-1252, of which Latin-1 is a part.

    Raises:
      FileError: it is no text.
    """
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        first = error
    # Every byte may be a letter in old encodings, but text has none of these.
    if not is_utf_16 and not re.search(rb"[\0-\x08\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]", content):
        return content.decode("cp1252")
    raise FileError(
        f"is not text in UTF-8, UTF-16 or Latin-1 (byte {first.start + 1} is {content[first.start]:#x}): "
        "save it as UTF-8"
    ) from first


def read(text: str) -> Table:
    """Return the table in a text, in which every column is text.

    Raises:
      FileError: it has no header, the same name twice, or rows of another length; it says that it was cut.
    """
    lines = io.StringIO(text, newline="")
    comments, header = _read_header(lines)
    rows: Iterable[str] = lines
    if comments and any(map(_is_number, _split(header))):
        units = []
        if len(comments) > 1 and _are_units(_split(comments[-1])):
            units = [comments.pop()]
        named = comments[-1]
        separator = _separator(named)
        if len(_split(named, separator)) == len(_split(header, separator)):
            header, rows = named, itertools.chain(units, [header], lines)
    names, separator = _split(header), _separator(header)
    if all(map(_is_number, filter(None, names))):
        raise FileError(
            "has numbers where the names of the columns should be: write these on a line of their own before "
            "the first star"
        )
    table_guards.check_names(names)
    stars = _read_rows(rows, separator)
    has_dashes = any(map(_are_dashes, stars[:2]))
    has_units = bool(stars) and (_are_units(stars[0]) or (has_dashes and not _are_dashes(stars[0])))
    units = stars.pop(0) if has_units else [""] * len(names)
    del stars[: int(has_dashes)]
    for number, row in enumerate([units, *stars]):
        if len(row) != len(names):
            what = _SEPARATORS.get(separator, "space")
            raise FileError(
                f"has {len(row)} values in row {number}, but {len(names)} column names: it is truncated, or "
                f"has a {what} too few or too many"
            )
    columns = [[row[i] for row in stars] for i in range(len(names))]
    if separator != "," and not any(_has_points(column) for column in columns):
        columns = [_with_points(column) for column in columns]
    # As objects: in an array of text, every row would take the memory of the longest.
    table = Table({name: np.array(values, object) for name, values in zip(names, columns, strict=True)})
    for name, unit in zip(names, units, strict=True):
        table_guards.check_unit(unit)
        if unit.strip(" -"):
            table[name].unit = unit.strip()
    return table


def _read_header(lines: io.StringIO) -> tuple[list[str], str]:
    """Return the comments before the first other line, without #, and that line."""
    comments = []
    for line in lines:
        if line.startswith("#"):
            table_guards.check_complete(line)
            comments += [line.lstrip("#").strip()] if line.strip("# \r\n") else []
        elif line.strip() and not line.startswith("sep="):  # as spreadsheets write and read
            return comments, line
    raise FileError("is empty")


def _separator(line: str) -> str:
    best = max(_SEPARATORS, key=line.count)
    return best if best in line else " "


def _split(line: str, separator: str | None = None) -> list[str]:
    [row] = _read_rows([line], separator or _separator(line)) or [[]]
    return [name.strip() for name in row]


def _read_rows(lines: Iterable[str], separator: str) -> list[list[str]]:
    lines = _without_comments(lines, separator)
    if separator == " ":
        lines = (" ".join(line.split()) for line in lines)
    # Everything as text: identifiers keep their digits, and messages can quote what is not a number.
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    rows = [row for row in reader if len(row) > 1 or "".join(row).strip()]
    for number, row in enumerate(rows, start=1):
        if any("\n" in value or "\r" in value for value in row):
            raise FileError(
                f"has a line break between quotation marks in row {number}: is one of them missing, or one "
                "too many?"
            )
    return rows


def _without_comments(lines: Iterable[str], separator: str) -> Iterator[str]:
    """Yield the lines that are no comments."""
    num_separator = 0
    for line in lines:
        if not line.startswith("#"):
            num_separator = line.count(separator) if line.strip() else num_separator
            yield line
            continue
        table_guards.check_complete(line)
        if separator != " " and 0 < num_separator == line.count(separator):
            raise FileError(
                f"has a line that begins with # and has as many values as a star ({line.strip()!r:.60}): "
                "remove the line if it is a comment, and the # if it is a star"
            )


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _are_units(row: Sequence[str]) -> bool:
    """Return True if some of the values are units, and none is a number."""
    cells = [cell.strip() for cell in row]
    return any(map(_UNIT.match, cells)) and not any(re.match(r"[+-]?[.,]?\d", cell) for cell in cells)


def _are_dashes(row: Sequence[str]) -> bool:
    return any("---" in cell for cell in row) and not "".join(row).strip("-=+ ")


def _has_points(column: Sequence[str]) -> bool:
    return any("." in text and _is_number(text.strip()) for text in column)


def _with_points(column: list[str]) -> list[str]:
    """Return decimal commas as points, if all values are numbers, and the column unchanged if not."""
    values = [text.strip() for text in column]
    given = [text for text in values if text.lower() not in MISSING]
    if not any("," in text for text in given):
        return column
    if not all(_DECIMAL_COMMA.fullmatch(text) or _is_number(text) for text in given):
        return column
    return [text.replace(",", ".") for text in values]
