"""Files of tables, in the formats that member lists come in."""

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

# What stands in text for a value that is not there, in small letters.
MISSING = ("", "nan", "null", "none", "na", "n/a", "--", "-")
_ECSV_MARK = b"# %ECSV"
# What the libraries raise of files that are damaged.
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
    """The table in a file, with the units it states, and the SHA-256 of the file; in text tables without units, every column is text.

    Raises:
      FileError: the file is missing, damaged, of an unknown format, or has two columns of one name.
    """
    kind = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    if kind.lower() not in _READERS:
        raise FileError(
            f"files of kind {kind or 'without an ending'} are not known; known are {', '.join(_READERS)}"
        )
    try:
        as_it_is = files.read_bytes(path)
        content = decompress.decompress(as_it_is) if path.suffix.lower() == ".gz" else as_it_is
        with warnings.catch_warnings():
            # Units that astropy does not know matter only in columns that are used, and are refused there.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", ".*may have been truncated.*")
            return _READERS[kind.lower()](content), hashlib.sha256(as_it_is).hexdigest()
    except FileNotFoundError as error:
        raise FileError("there is no such file") from error
    except (FileError, files.NotAFileError):
        raise
    except MemoryError as error:
        raise FileError(
            "there is not enough memory to read it, or it is damaged and says that it is large"
        ) from error
    except OSError as error:
        if error.errno not in files.REMEDIES:  # of a library, which found damage
            raise FileError(_damaged(kind, error)) from error
        raise FileError(f"{error.strerror}: {files.REMEDIES[error.errno]}") from error
    except _DAMAGE as error:
        raise FileError(_damaged(kind, error)) from error


def _damaged(kind: str, error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return f"cannot be read as {kind}: {lines[0]:.300}; is it whole, and of this format?"


def stem(path: Path) -> str:
    """The name of a file without folder and endings of formats."""
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in _READERS else path.name


def _csv(content: bytes) -> Table:
    if content.lstrip(b"\xef\xbb\xbf").startswith(_ECSV_MARK):
        return _ecsv(content)
    lines = itertools.dropwhile(
        lambda line: line.startswith("#"), io.StringIO(content.decode("utf-8-sig"), newline="")
    )
    # Everything as text: identities keep their digits, and what is not a number can be named.
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
    names = [name.strip() for name in next(rows, [])]
    if not names:
        raise FileError("is empty")
    table_guards.check_names(names)
    stars = []
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise FileError(
                f"has {len(row)} values in row {number}, and {len(names)} names of columns: it is cut off there, or a comma "
                "is missing, or one too many"
            )
        stars.append(row)
    # As objects: an array of text would be as wide in every row as in the longest.
    return Table({name: np.array([row[i] for row in stars], object) for i, name in enumerate(names)})


def _ecsv(content: bytes) -> Table:
    text = content.decode("utf-8-sig")
    lines = text.splitlines()
    data = [line for line in lines if line and not line.startswith("#")]
    table_guards.check_lines(data, content)
    table_guards.check_yaml("\n".join(line[2:] for line in lines if line.startswith("# ")))
    delimiter = "," if "delimiter: ','" in text else " "
    table_guards.check_names([name.strip('"') for name in (data or [""])[0].split(delimiter)])
    # Text of one line would be taken for the name of a file, or an address.
    return Table.read(lines, format="ascii.ecsv")


def _fits(content: bytes) -> Table:
    end = table_guards.check_fits(content)
    with fits.open(io.BytesIO(content[:end])) as units:
        tables = [unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise FileError("holds no table")
        table_guards.check_names(tables[0].columns.names)
        return Table.read(tables[0])


def _votable(content: bytes) -> Table:
    table_guards.check_votable(content)
    table = votable.parse(io.BytesIO(content)).get_first_table()
    table_guards.check_names([field.name or field.ID for field in table.fields])
    return table.to_table(use_names_over_ids=True)


def _parquet(content: bytes) -> Table:
    import pyarrow as pa  # slow to import, and seldom needed
    import pyarrow.parquet as parquet

    # A copy in pyarrow's own memory: its threads may let go of it after an error was raised, and what is Python's would have to wait
    # for an interpreter that ends, upon which the process is aborted.
    copy = pa.BufferOutputStream()
    copy.write(content)
    buffer = copy.getvalue()
    try:
        table_guards.check_parquet(buffer)
        schema = parquet.read_schema(pa.BufferReader(buffer))
        table_guards.check_names(schema.names)
        header = (schema.metadata or {}).get(b"table_meta_yaml")
        if header is not None:
            # By astropy, which keeps units there, and what is missing in columns beside.
            table_guards.check_yaml(header.decode())
            return Table.read(pa.BufferReader(buffer), format="parquet")
        # Nullable types keep the digits of identities where some are missing.
        return Table.from_pandas(pd.read_parquet(pa.BufferReader(buffer), dtype_backend="numpy_nullable"))
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
