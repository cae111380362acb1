"""Recognition of the format of a table by its content, since names of files are often wrong."""

import codecs
import re

from starjax.io.table_guards import FileError

# Characters in which a text format shows itself; descriptions of the CDS follow an abstract.
_MAX_HEAD = 2**18
_CONVERT = "save it as CSV"
_UNPACK = "decompress it first"
_IN_PYTHON = "read it in Python, and give the data frame or table to starjax, or save it as CSV or Parquet"
# By the first bytes: what a file is, and what to do.
_OTHERS: dict[bytes, tuple[str, str]] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("a spreadsheet of Excel (.xls)", _CONVERT),
    b"\x89HDF\r\n\x1a\n": ("HDF5", _IN_PYTHON),
    b"\x93NUMPY": ("an array of numpy", _IN_PYTHON),
    b"ARROW1": ("Arrow or Feather", _IN_PYTHON),
    b"FEA1": ("Feather", _IN_PYTHON),
    b"SQLite format 3": ("a database of SQLite", "export the table as CSV"),
    b"%PDF": ("a PDF", "ask for the table, or look for it in VizieR"),
    b"{\\rtf": ("a text with styles (RTF)", "save it as plain text"),
    b"\x89PNG": ("an image", "give the table instead"),
    b"\xff\xd8\xff": ("an image", "give the table instead"),
    b"\x1f\x9d": ("compressed by compress (.Z)", _UNPACK),
    b"\x28\xb5\x2f\xfd": ("compressed by Zstandard", _UNPACK),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it, and give the table in it"),
    b"Rar!": ("a RAR archive", "unpack it, and give the table in it"),
    b"version https://git-lfs": ("a pointer of Git LFS, and not the table", "fetch it by git lfs pull"),
}
# By the beginning of the text.
_OTHER_TEXTS = {
    r"(?is)(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b": (
        "a web page (HTML), perhaps one with an error message",
        "open it in a browser, and download the table again",
    ),
    r"<\?xml\b(?![\s\S]*<(?:\w+:)?VOTABLE\b)": ("XML, and not a VOTable", _CONVERT),
    r"\{\s*\"|\[\s*[\[{]": ("JSON", _IN_PYTHON),
    r"(?:%.*\n|\s)*\\(?:begin|documentclass|usepackage|startlongtable)\b": ("LaTeX", _CONVERT),
}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_VOTABLE = re.compile(r"<(?:\w+:)?VOTABLE\b")
# Keywords and comments, one to four lines of the header, and a row, which no bar encloses.
_IPAC = re.compile(r"(?:\\.*\n)*(?:\|.*\|[ \t]*\n){1,4}(?![|+]).*\S")
_DESCRIBED = re.compile(r"^[ \t]*Byte-by-byte Description of file", re.IGNORECASE | re.MULTILINE)


def recognize(content: bytes) -> str:
    """Return the format of a table: FITS, Parquet, VOTable, ECSV, IPAC, CDS or text.

    Raises:
      FileError: it has another one; the message says which.
    """
    for mark, (what, remedy) in _OTHERS.items():
        if content.startswith(mark):
            raise _refusal(what, remedy)
    if _PICKLE.match(content):
        raise _refusal("a pickle of Python", _IN_PYTHON)
    if content.startswith(b"PK\x03\x04"):
        raise _refusal(*_describe_zip(content))
    if content[257:262] == b"ustar":
        raise _refusal("a tar archive", "unpack it, and give the table in it")
    if content.startswith(b"SIMPLE  ="):
        return "FITS"
    if content.startswith(b"PAR1"):
        return "Parquet"
    return _recognize_text(_head(content))


def _refusal(what: str, remedy: str) -> FileError:
    return FileError(f"is {what}, which is not read: {remedy}")


def _describe_zip(content: bytes) -> tuple[str, str]:
    first = content[30:2048]
    # The list of all files is at the end.
    if b"xl/workbook" in content[-(2**14) :]:
        return "a spreadsheet of Excel (.xlsx)", _CONVERT
    if first.startswith(b"mimetypeapplication/vnd.oasis.opendocument"):
        return "a spreadsheet of LibreOffice (.ods)", _CONVERT
    if b".npy" in first:
        return "an archive of numpy (.npz)", _IN_PYTHON
    return "a zip archive", "unpack it, and give the table in it"


def _head(content: bytes) -> str:
    """Return the beginning as text, with line feeds; bytes that are no ASCII do not matter here."""
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    head = content[:_MAX_HEAD].decode("utf-16" if is_utf_16 else "latin-1", errors="replace")
    return head.removeprefix("\xef\xbb\xbf").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _recognize_text(head: str) -> str:
    if head.startswith("# %ECSV"):
        return "ECSV"
    start = head.lstrip()
    for pattern, (what, remedy) in _OTHER_TEXTS.items():
        if re.match(pattern, start):
            raise _refusal(what, remedy)
    if start.startswith("<") and _VOTABLE.search(start):
        return "VOTable"
    if _DESCRIBED.search(head):
        return "CDS"
    return "IPAC" if _IPAC.match(start) else "text"
