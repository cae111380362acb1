"""Reading of tables, in the formats of member catalogues."""

import csv
import hashlib
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.io import fits, votable
from astropy.table import Column, MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning

from starjax.io import decompress, files, table_formats, table_guards
from starjax.io.table_guards import FileError
from starjax.io.text_tables import delimited, fixed_width
from starjax.io.text_tables.columns import MISSING

__all__ = ["MISSING", "FileError", "load_table", "stem"]

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
    lzma.LZMAError,
    csv.Error,
    ExpatError,
    AstropyWarning,
    fits.VerifyError,
)
_ADDRESS = re.compile(r"(https?|s?ftp|ftps|s3|gs):/|(vos|ivo):", re.IGNORECASE)
_MEMBERS = re.compile(r"member|star", re.IGNORECASE)
# Right ascension and declination in the catalogues of the CDS, of which older ones have nothing else.
_SEXAGESIMAL = ("RAh", "RAm", "RAs", "DE-", "DEd", "DEm", "DEs")
_RIGHT_ASCENSION = re.compile(r"_?ra(_?deg|j2000|[._]?icrs)?", re.IGNORECASE)
# What the CDS puts beside its tables.
# Names of the descriptions of a folder of CDS tables, and the size of the largest that is read.
READMES = ("ReadMe", "ReadMe.txt", "README", "readme.txt")
_MAX_README = 2**22
# Ends of names that are no part of the name of a list.
_COMPRESSED = (".gz", ".bz2", ".xz")
_SUFFIXES = (
    *(".csv", ".tsv", ".txt", ".dat", ".ecsv", ".tbl", ".ipac", ".mrt"),
    *(".parquet", ".fits", ".fit", ".vot", ".votable", ".xml"),
)


def load_table(path: Path, wanted: Sequence[Callable[[list[str]], bool]] = ()) -> tuple[Table, str]:
    """Read a table in a file, whose format its content tells.

    Args:
      wanted: what is asked of the names of columns, the most important first. Of several tables in a file
        that one is read which alone satisfies the first (or the first of all tables, if none does), is named
        as members or stars, or satisfies the others.

    Returns:
      The table, with the units that the file gives, and the SHA-256 digest of the file.

    Raises:
      FileError: the file is missing, damaged, of an unknown format, or has two columns of the same name; more
        than one table could be meant.
    """
    if _ADDRESS.match(str(path)):
        raise FileError("is an address: download it first, and give the name of the file")
    kind = "a compressed file"
    try:
        stored = files.read_bytes(path)
        digest = hashlib.sha256(stored).hexdigest()
        content = decompress.decompress(stored) if decompress.is_compressed(stored) else stored
        kind = table_formats.recognize(content)
        with warnings.catch_warnings():
            # Unknown units matter only in columns that are used, where they raise an error later.
            warnings.simplefilter("ignore", AstropyWarning)
            # Of a FITS file that ends too early astropy would return what there is.
            warnings.filterwarnings("error", ".*may have been truncated.*")
            found = iter([_text(content, path)]) if kind == "text" else _READERS[kind](content)
            return _choose([_with_position(table) for table in found], wanted), digest
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
    return f"cannot be read as {kind}: {lines[0]:.300}; is it complete?"


def _choose(tables: Sequence[Table], wanted: Sequence[Callable[[list[str]], bool]]) -> Table:
    if not tables:
        raise FileError("contains no table")
    left = [table for table in tables if all(is_wanted(table.colnames) for is_wanted in wanted[:1])]
    if not wanted or not left:
        return tables[0]
    left = [table for table in left if len(table)] or left
    left = [table for table in left if _MEMBERS.search(table.meta.get("name", ""))] or left
    for is_wanted in wanted[1:]:
        left = [table for table in left if is_wanted(table.colnames)] or left
    if len({(len(table), *table.colnames) for table in left}) > 1:
        listed = [
            f"{number} {table.meta.get('name', '')} ({len(table)} rows, {', '.join(table.colnames):.200})"
            for number, table in enumerate(tables, start=1)
            if any(table is one for one in left)
        ]
        raise FileError(
            f"has several tables that could be meant: {'; '.join(listed):.1000}. Save the one with the "
            "members in a file of its own"
        )
    return left[0]


def _with_position(table: Table) -> Table:
    """Return a table with columns RAJ2000 and DEJ2000 [deg], if it has these only in parts."""
    if not set(_SEXAGESIMAL) <= set(table.colnames) or any(map(_RIGHT_ASCENSION.fullmatch, table.colnames)):
        return table
    sign = np.array([str(value).strip() == "-" for value in table["DE-"]])
    parts = [np.ma.filled(table[name].astype(object), np.nan) for name in _SEXAGESIMAL if name != "DE-"]
    hour, minute, second, degree, arcminute, arcsecond = (
        pd.to_numeric(pd.Series(part), errors="coerce").to_numpy(float) for part in parts
    )
    table["RAJ2000"] = Column(15 * (hour + minute / 60 + second / 3600), unit=u.deg)
    dec = degree + arcminute / 60 + arcsecond / 3600
    table["DEJ2000"] = Column(np.where(sign, -dec, dec), unit=u.deg)
    return table


def stem(path: Path) -> str:
    """Return the name of a file without its folder and file extension."""
    path = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def _text(content: bytes, path: Path) -> Table:
    name = path.stem if path.suffix.lower() in _COMPRESSED else path.name
    for readme in map(path.with_name, READMES):
        if readme.is_file() and readme.stat().st_size <= _MAX_README:
            description = fixed_width.find_description(readme.read_text("latin-1"), name)
            if description:
                return fixed_width.read_rows(description, delimited.decode(content))
    return delimited.read(delimited.decode(content))


def _cds(content: bytes) -> Iterator[Table]:
    yield fixed_width.read_cds(delimited.decode(content))


def _ipac(content: bytes) -> Iterator[Table]:
    yield fixed_width.read_ipac(delimited.decode(content))


def _ecsv(content: bytes) -> Iterator[Table]:
    # The header is YAML in comments; the first line after it is the column names.
    text = delimited.decode(content)
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
            table = _fits_table(units[-1])
            table.meta["name"] = units[-1].name
            yield table


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
        found = table.to_table(use_names_over_ids=True)
        found.meta["name"] = table.name or table.ID or ""
        yield found


def from_data_frame(frame: Any) -> Table:
    """Return a data frame as a table; the levels of its index that have names are columns as well.

    Args:
      frame: of pandas, or anything that gives its columns to Arrow, such as a data frame of polars.

    Raises:
      FileError: two columns have the same name.
    """
    if not isinstance(frame, pd.DataFrame):
        import pyarrow as pa  # slow to import

        # Nullable types keep all digits of identifiers if some are missing.
        dtypes = [
            pd.api.types.pandas_dtype(f"{kind}{size}") for kind in ("Int", "UInt") for size in (8, 16, 32, 64)
        ]
        nullable = {pa.from_numpy_dtype(dtype.numpy_dtype): dtype for dtype in dtypes}
        frame = pa.table(frame).to_pandas(types_mapper=nullable.get)
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
    "FITS": _fits,
    "Parquet": _parquet,
    "VOTable": _votable,
    "ECSV": _ecsv,
    "CDS": _cds,
    "IPAC": _ipac,
}
