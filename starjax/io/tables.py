"""Reading of tables, in the formats of member catalogues."""

import csv
import hashlib
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning

from starjax.io import decompress, files, table_guards, text_tables
from starjax.io.table_guards import FileError
from starjax.io.text_tables import MISSING

__all__ = ["MISSING", "FileError", "load_table", "stem"]

_ECSV_MARK = "# %ECSV"
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


def load_table(path: Path, is_wanted: Callable[[list[str]], bool] = bool) -> tuple[Table, str]:
    """Read a table in a file.

    Args:
      is_wanted: whether a table with these column names is the one; of several tables in a file the first
        that is wanted is read, or the first of all.

    Returns:
      The table, with the units that the file gives, and the SHA-256 digest of the file. Of text without an
      ECSV header, every column is text.

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
            return _first(_READERS[kind.lower()](content), is_wanted), hashlib.sha256(stored).hexdigest()
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


def _first(tables: Iterator[Table], is_wanted: Callable[[list[str]], bool]) -> Table:
    others = []
    for table in tables:
        if is_wanted(table.colnames):
            return table
        others.append(table)
    if not others:
        raise FileError("contains no table")
    return others[0]


def _damaged(kind: str, error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return f"cannot be read as {kind}: {lines[0]:.300}; is it complete, and in this format?"


def stem(path: Path) -> str:
    """Return the name of a file without its folder and file extension."""
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in _READERS else path.name


def _text(content: bytes) -> Iterator[Table]:
    text = text_tables.decode(content)
    if text.startswith(_ECSV_MARK):
        yield from _ecsv(content)
    else:
        yield text_tables.read(text)


def _ecsv(content: bytes) -> Iterator[Table]:
    # The header is YAML in comments; the first line after it is the column names.
    text = text_tables.decode(content)
    lines = text.splitlines()
    data = [line for line in lines if line and not line.startswith("#")]
    table_guards.check_lines(data, content)
    table_guards.check_yaml("\n".join(line[2:] for line in lines if line.startswith("# ")))
    delimiter = "," if "delimiter: ','" in text else " "
    table_guards.check_names([name.strip('"') for name in (data or [""])[0].split(delimiter)])
    # Not as one text: without line breaks, it would be taken for the name of a file, or an address.
    # Gaia's own files write `null` for a missing value.
    yield Table.read(lines, format="ascii.ecsv", fill_values=[("", "0"), ("null", "0")])


def _fits(content: bytes) -> Iterator[Table]:
    for end in table_guards.check_fits(content):
        # What follows has not been checked, and is cut off.
        with fits.open(io.BytesIO(content[:end])) as units:
            table_guards.check_names(units[-1].columns.names)
            yield _fits_table(units[-1])


def _fits_table(unit: fits.BinTableHDU | fits.TableHDU) -> Table:
    """Return a table of a FITS file, masked where its header says that values are missing.

    `Table.read` looks for the missing value among scaled ones, and fails for text and unsigned numbers.
    """
    stored = unit.data.view(np.ndarray)
    table = Table()
    for column in unit.columns:
        raw, values = stored[column.name], unit.data[column.name]
        mask = np.zeros(np.shape(values), bool)
        if raw.dtype.kind == "S":
            mask = np.isin(np.char.strip(raw), [b"", str(column.null).strip().encode()])
        elif raw.dtype.kind in "iu" and column.null is not None:
            mask = raw == column.null
        table[column.name] = MaskedColumn(
            raw if column.format.format == "A" else values,
            mask=mask,
            unit=column.unit and u.Unit(column.unit, format="fits", parse_strict="silent"),
        )
    return table


def _votable(content: bytes) -> Iterator[Table]:
    table_guards.check_votable(content)
    for table in votable.parse(io.BytesIO(content)).iter_tables():
        table_guards.check_names([field.name or field.ID for field in table.fields])
        yield table.to_table(use_names_over_ids=True)


def from_data_frame(frame: pd.DataFrame) -> Table:
    """Return a data frame as a table; the levels of its index that have names are columns as well.

    Raises:
      FileError: two columns have the same name.
    """
    names = frame.index.names
    levels = [i for i, name in enumerate(names) if name is not None and name not in frame.columns]
    frame = frame.reset_index(level=levels, allow_duplicates=True) if levels else frame
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise FileError(f"has more than one column {', '.join(repeated.unique())}")
    return Table.from_pandas(frame)


def _parquet(content: bytes) -> Iterator[Table]:
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
            yield Table.read(pa.BufferReader(buffer), format="parquet")
        else:
            # Nullable types keep all digits of identifiers if some are missing.
            yield from_data_frame(pd.read_parquet(pa.BufferReader(buffer), dtype_backend="numpy_nullable"))
    except pa.ArrowException as error:
        raise FileError(f"is damaged ({error!s:.200})") from error


_READERS = {
    ".csv": _text,
    ".tsv": _text,
    ".txt": _text,
    ".ecsv": _ecsv,
    ".parquet": _parquet,
    ".fits": _fits,
    ".fit": _fits,
    ".vot": _votable,
    ".votable": _votable,
    ".xml": _votable,
}
