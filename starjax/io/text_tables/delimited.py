"""Reading of text tables in the forms that people and archives write.

Columns are separated by commas, semicolons, tabs, bars or spaces; bars may enclose the lines as well. Numbers
may have decimal commas, in quotation marks if the columns are separated by commas. Lines that begin with #,
!, % or // are comments; the last one before the first star is the header if no other line is. Titles may
precede the header. A row of units and a row of dashes may follow it, as VizieR writes them, and a footer the
stars.
"""

import codecs
import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Sequence

from astropy.table import Table

from starjax.io import table_guards
from starjax.io.table_guards import FileError
from starjax.io.text_tables import columns

# What separates columns; spaces do if none of these is in the header.
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_MARKS = ("#", "!", "%", "//")
_COMMENT = re.compile(r"^(?:#|!|%|//).*", re.MULTILINE)
_UNIT = re.compile(
    r"\W*(angle|deg(rees?)?|rad(ians?)?|mas|arcsec(onds?)?|h(ou)?rs?|h:m:s|mag|pc|parsec|km)\b", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# The lines that databases draw around tables, and the bars at both ends of lines.
_FRAME = re.compile(r"^[ \t]*(\+[-=+]+\+[ \t]*$|\|)|\|[ \t]*$", re.MULTILINE)
_NUM_ROWS = re.compile(r"\n\s*\(?\d+ (?:rows?|records?|sources?|stars?)\b.*\s*\Z")
_NOTE = re.compile(r"\n[ \t]*\n([ \t]*[A-Za-z(*][^\0]*)\Z")
# Characters in which the header has to end, lines that may precede it, and characters of a footer.
_MAX_HEADER, _MAX_TITLES, _MAX_FOOTER = 2**20, 30, 4096


@dataclasses.dataclass(frozen=True)
class _Header:
    """Names and units of the columns, their separator, and the position after which the stars are."""

    names: Sequence[str]
    units: Sequence[str]
    separator: str
    end: int


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
    """Return the table in a text, with columns as `columns.table` makes them.

    Raises:
      FileError: it has no header, the same name twice, or rows of another length; it says that it was cut.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _is_framed(text):
        text = _FRAME.sub("", text)
    header = _read_header(text)
    table_guards.check_names(header.names)
    _check_length(header.units, 0, header)
    body = text[header.end :]
    del text  # hundreds of megabytes, of a list of the whole sky
    body = _without_comments(_without_footer(body, header), header)
    if header.separator == " ":
        body = re.sub(r"^ | $", "", re.sub(r"[^\S\n]+", " ", body), flags=re.MULTILINE)
    elif '"' in body:
        body = re.sub(rf'(^|{re.escape(header.separator)}) +"', r'\1"', body, flags=re.MULTILINE)
    try:
        rows = columns.split(body, header.separator, len(header.names))
    except columns.SplitError as error:
        for number, row in enumerate(_rows(body, header.separator), start=1):
            _check_length(row, number, header)
        raise FileError(f"cannot be read as text ({error!s:.200})") from error
    table = columns.table(dict(zip(header.names, rows, strict=True)))
    for name, unit in zip(header.names, header.units, strict=True):
        table_guards.check_unit(unit)
        if unit.strip(" -"):
            table[name].unit = unit.strip()
    return table


def _is_framed(text: str) -> bool:
    """Return whether the header is enclosed by bars."""
    lines = [line.strip() for line in text[:_MAX_HEADER].split("\n")]
    barred = [line for line in lines if "|" in line and not line.startswith(_MARKS)]
    return bool(barred) and barred[0].startswith("|") and barred[0].endswith("|")


def _read_header(text: str) -> _Header:
    comments, lines, ends = _first_lines(text)
    if not lines:
        raise FileError("is empty")
    if comments and any(map(_is_number, _split(lines[0]))):
        units = []
        if len(comments) > 1 and _are_units(_split(comments[-1])):
            units = _split(comments.pop())
        separator = _separator(comments[-1])
        names = _split(comments[-1], separator)
        if len(names) == len(_split(lines[0], separator)):
            return _Header(names, units or [""] * len(names), separator, ends[0] - len(lines[0]) - 1)
    at = next((i for i in range(len(lines)) if _is_header(lines, i)), 0)
    names, separator = _split(lines[at]), _separator(lines[at])
    if all(map(_is_number, filter(None, names))):
        raise FileError(
            "has numbers where the names of the columns should be: write these on a line of their own before "
            "the first star; if it is from the CDS, put its ReadMe beside it"
        )
    rows = [_split(line, separator) for line in lines[at + 1 : at + 3]]
    has_dashes = any(map(_are_dashes, rows))
    has_units = bool(rows) and (_are_units(rows[0]) or (has_dashes and not _are_dashes(rows[0])))
    units = rows[0] if has_units else [""] * len(names)
    return _Header(names, units, separator, ends[at + has_units + has_dashes])


def _first_lines(text: str) -> tuple[list[str], list[str], list[int]]:
    """Return the comments before the first other line, without marks, some lines, and where these end."""
    comments: list[str] = []
    lines: list[str] = []
    ends, end = [], 0
    for line in text[:_MAX_HEADER].split("\n"):
        end += len(line) + 1
        if line.startswith(_MARKS):
            table_guards.check_complete(line)
            comment = line.lstrip("#!%/").strip()
            comments += [comment] if comment and not lines else []
        elif line.strip() and not line.startswith("sep="):  # as spreadsheets write and read
            lines.append(line)
            ends.append(end)
        if len(lines) == _MAX_TITLES:
            break
    return comments, lines, ends


def _is_header(lines: Sequence[str], at: int) -> bool:
    """Return whether a line has no numbers, and as many values as most of the lines after it."""
    names, rows = _split(lines[at]), lines[at + 1 : at + 6]
    alike = [row for row in rows if len(_split(row, _separator(lines[at]))) == len(names)]
    return len(names) > 1 and not any(map(_is_number, names)) and 2 * len(alike) > len(rows)


def _separator(line: str) -> str:
    best = max(_SEPARATORS, key=line.count)
    return best if best in line else " "


def _split(line: str, separator: str | None = None) -> list[str]:
    separator = separator or _separator(line)
    line = " ".join(line.split()) if separator == " " else line
    [row] = list(csv.reader([line], delimiter=separator, skipinitialspace=True)) or [[]]
    return [name.strip() for name in row]


def _without_footer(body: str, header: _Header) -> str:
    """Return the rows without a number of rows, or notes after a blank line, at the end."""
    last = body[-_MAX_FOOTER:]
    kept = _NUM_ROWS.sub("", "\n" + last)[1:]
    note = _NOTE.search(kept)
    if note and all(len(_split(line, header.separator)) != len(header.names) for line in note[1].split("\n")):
        kept = kept[: note.start()]
    return body if kept == last else body[: len(body) - len(last)] + kept


def _without_comments(body: str, header: _Header) -> str:
    if not body.startswith(_MARKS) and not any(f"\n{mark}" in body for mark in _MARKS):
        return body
    for comment in _COMMENT.finditer(body):
        table_guards.check_complete(comment[0])
        if header.separator != " " and 0 < len(header.names) - 1 == comment[0].count(header.separator):
            raise FileError(
                f"has a line that begins with {comment[0][0]} and has as many values as a star "
                f"({comment[0].strip()!r:.60}): remove the line if it is a comment, and its beginning if it "
                "is a star"
            )
    return _COMMENT.sub("", body)


def _rows(body: str, separator: str) -> Iterator[list[str]]:
    for row in csv.reader(io.StringIO(body, newline=""), delimiter=separator):
        if len(row) > 1 or "".join(row).strip():
            yield row


def _check_length(row: Sequence[str], number: int, header: _Header) -> None:
    if any("\n" in value for value in row):
        raise FileError(
            f"has a line break between quotation marks in row {number}: is one of them missing, or one too "
            "many?"
        )
    if len(row) != len(header.names):
        what = _SEPARATORS.get(header.separator, "space")
        raise FileError(
            f"has {len(row)} values in row {number}, but {len(header.names)} column names: it is truncated, "
            f"or has a {what} too few or too many"
        )


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def _are_units(row: Sequence[str]) -> bool:
    """Return True if some of the values are units, and none is a number."""
    return any(map(_UNIT.match, row)) and not any(re.match(r"[+-]?[.,]?\d", cell) for cell in row)


def _are_dashes(row: Sequence[str]) -> bool:
    return any("---" in cell for cell in row) and not "".join(row).strip("-=+: ")
