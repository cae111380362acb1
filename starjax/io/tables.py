"""Reading of tables, in the formats of member catalogues."""

import csv
import hashlib
import io
import itertools
import warnings
import zlib
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd
from astropy.io import fits, votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

from starjax.io import decompress, files, table_guards
from starjax.io.table_guards import FileError

__all__ = ["MISSING", "FileError", "load_table", "stem"]

# What text tables write for a missing value, in lower case.
MISSING = ("", "nan", "null", "none", "na", "n/a", "--", "-")
_ECSV_MARK = b"# %ECSV"
# Separators of text tables that are not read.
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# What the libraries raise for damaged files.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    zlib.error,
    csv.Error,
    ExpatError,
    AstropyWarning,
    fits.VerifyError,
)


def load_table(path: Path) -> tuple[Table, str]:
    """Read the table in a file.

    Returns:
      The table, with the units that the file gives, and the SHA-256 digest of the file. In text formats
      without units, such as CSV, every column is text.

    Raises:
      FileError: the file is missing, damaged, of an unknown format, or has two columns of the same name.
    """
    kind = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    if kind.lower() not in _READERS:
        which = f"of kind {kind}" if kind else "without a file extension"
        raise FileError(f"files {which} are not known; known are {', '.join(_READERS)}")
    try:
        stored = files.read_bytes(path)
        content = decompress.decompress(stored) if path.suffix.lower() == ".gz" else stored
        with warnings.catch_warnings():
            # Unknown units matter only in columns that are used, where they raise an error later.
            warnings.simplefilter("ignore", AstropyWarning)
            # Of a FITS file that ends too early astropy would return what there is.
            warnings.filterwarnings("error", ".*may have been truncated.*")
            return _READERS[kind.lower()](content), hashlib.sha256(stored).hexdigest()
    except FileNotFoundError as error:
        raise FileError("there is no such file") from error
    except (FileError, files.NotAFileError):
        raise
    except MemoryError as error:
        raise FileError("needs more memory than there is, or is damaged and declares a wrong size") from error
    except OSError as error:
        if error.errno not in files.REMEDIES:  # a library found damage
            raise FileError(_damaged(kind, error)) from error
        raise FileError(f"cannot be read ({error.strerror}): {files.REMEDIES[error.errno]}") from error
    except _DAMAGE as error:
        raise FileError(_damaged(kind, error)) from error


def _damaged(kind: str, error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return f"cannot be read as {kind}: {lines[0]:.300}; is it complete, and in this format?"


def stem(path: Path) -> str:
    """Return the name of a file without its folder and file extension."""
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in _READERS else path.name


def _csv(content: bytes) -> Table:
    if content.lstrip(b"\xef\xbb\xbf").startswith(_ECSV_MARK):
        return _ecsv(content)
    lines = itertools.dropwhile(lambda line: line.startswith("#"), io.StringIO(_decode(content), newline=""))
    # Everything as text: identifiers keep their digits, and messages can quote what is not a number.
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
    names = [name.strip() for name in next(rows, [])]
    if not names:
        raise FileError("is empty")
    separator = next((name for name in _SEPARATORS if name in names[0]), None) if len(names) == 1 else None
    if separator:
        raise FileError(
            f"has columns separated by {_SEPARATORS[separator]}: write it with commas between the columns, "
            "and points in the numbers"
        )
    if all(map(_is_number, filter(None, names))):
        raise FileError(
            "has numbers where the names of the columns should be: write these on a line of their own before "
            "the first star, without #"
        )
    table_guards.check_names(names)
    stars = []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise FileError(
                f"has {len(row)} values in row {number}, but {len(names)} column names: it is truncated, or "
                "has a comma too few or too many"
            )
        stars.append(row)
    # As objects: in an array of text, every row would take the memory of the longest.
    return Table({name: np.array([row[i] for row in stars], object) for i, name in enumerate(names)})


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(
            f"is not text in UTF-8 (byte {error.start + 1} is {content[error.start]:#x}): save it in that "
            "encoding"
        ) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _ecsv(content: bytes) -> Table:
    # The header is YAML in comments; the first line after it is the column names.
    text = _decode(content)
    lines = text.splitlines()
    data = [line for line in lines if line and not line.startswith("#")]
    table_guards.check_lines(data, content)
    table_guards.check_yaml("\n".join(line[2:] for line in lines if line.startswith("# ")))
    delimiter = "," if "delimiter: ','" in text else " "
    table_guards.check_names([name.strip('"') for name in (data or [""])[0].split(delimiter)])
    # Not as one text: without line breaks, it would be taken for the name of a file, or an address.
    # Gaia's own files write `null` for a missing value.
    return Table.read(lines, format="ascii.ecsv", fill_values=[("", "0"), ("null", "0")])


def _fits(content: bytes) -> Table:
    end = table_guards.check_fits(content)
    # What follows the first table has not been checked, and is cut off.
    with fits.open(io.BytesIO(content[:end])) as units:
        tables = [unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise FileError("contains no table")
        table_guards.check_names(tables[0].columns.names)
        return Table.read(tables[0])


def _votable(content: bytes) -> Table:
    table_guards.check_votable(content)
    table = votable.parse(io.BytesIO(content)).get_first_table()
    table_guards.check_names([field.name or field.ID for field in table.fields])
    return table.to_table(use_names_over_ids=True)


def from_data_frame(frame: pd.DataFrame) -> Table:
    """Return a data frame as a table; the levels of its index that have names are columns as well.

    Raises:
      FileError: two columns have the same name.
    """
    levels = [name for name in frame.index.names if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=levels) if levels else frame
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise FileError(f"has more than one column {', '.join(repeated.unique())}")
    return Table.from_pandas(frame)


def _parquet(content: bytes) -> Table:
    import pyarrow as pa  # slow to import, and rarely needed
    import pyarrow.parquet as parquet

    # Copied to memory of pyarrow, whose threads may release it after an error was raised. To release memory
    # of Python they would need the interpreter, and if that is shutting down, the process is aborted.
    copy = pa.BufferOutputStream()
    copy.write(content)
    buffer = copy.getvalue()
    try:
        table_guards.check_parquet(buffer)
        schema = parquet.read_schema(pa.BufferReader(buffer))
        table_guards.check_names(schema.names)
        header = (schema.metadata or {}).get(b"table_meta_yaml")
        if header is not None:
            # Written by astropy, which keeps units there, and masks in further columns.
            table_guards.check_yaml(header.decode())
            return Table.read(pa.BufferReader(buffer), format="parquet")
        # Nullable types keep all digits of identifiers if some are missing.
        return from_data_frame(pd.read_parquet(pa.BufferReader(buffer), dtype_backend="numpy_nullable"))
    except pa.ArrowException as error:
        raise FileError(f"is damaged ({error!s:.200})") from error


_READERS = {
    ".csv": _csv,
    ".ecsv": _ecsv,
    ".parquet": _parquet,
    ".fits": _fits,
    ".fit": _fits,
    ".vot": _votable,
    ".votable": _votable,
    ".xml": _votable,
}
