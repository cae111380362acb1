"""Files of tables, in the formats that member lists come in."""

import csv
import io
import warnings
import zlib
from pathlib import Path
from xml.parsers.expat import ExpatError

import pandas as pd
from astropy.io import fits, votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

from starjax.data import catalog_guards, inflate
from starjax.data.catalog_guards import FileError

__all__ = ["MISSING", "FileError", "load", "stem"]

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
    MemoryError,
    OSError,
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


def load(path: Path) -> Table:
    """The table in a file, with the units it states; in text tables without units, every column is text.

    Raises:
      FileError: the file is missing, damaged, of an unknown format, or has two columns of one name.
    """
    kind = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    if kind.lower() not in _READERS:
        raise FileError(
            f"files of kind {kind or 'without an ending'} are not known; known are {', '.join(_READERS)}"
        )
    try:
        content = path.read_bytes()
        content = inflate.inflate(content) if path.suffix.lower() == ".gz" else content
        with warnings.catch_warnings():
            # Units that astropy does not know matter only in columns that are used, and are refused there.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", ".*may have been truncated.*")
            return _READERS[kind.lower()](content)
    except FileNotFoundError as error:
        raise FileError("there is no such file") from error
    except FileError:
        raise
    except _DAMAGE as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise FileError(
            f"cannot be read as {kind}: {lines[0]:.300}; is it whole, and of this format?"
        ) from error


def stem(path: Path) -> str:
    """The name of a file without folder and endings of formats."""
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in _READERS else path.name


def _csv(content: bytes) -> Table:
    if content.lstrip(b"\xef\xbb\xbf").startswith(_ECSV_MARK):
        return _ecsv(content)
    text = content.decode("utf-8-sig")
    lines = text.splitlines(keepends=True)
    comments = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    first = next(csv.reader(lines[comments:], skipinitialspace=True), [])
    catalog_guards.check_names([name.strip() for name in first])
    # Everything as text: identities keep their digits, and what is not a number can be named.
    frame = pd.read_csv(
        io.StringIO("".join(lines[comments:])),
        header=None,
        dtype=object,
        keep_default_na=False,
        skipinitialspace=True,
    )
    names = [str(name).strip() for name in frame.iloc[0]]
    catalog_guards.check_names(names)
    # As objects: an array of text would be as wide in every row as in the longest.
    return Table({name: frame[i].to_numpy(object)[1:] for i, name in enumerate(names)})


def _ecsv(content: bytes) -> Table:
    text = content.decode("utf-8-sig")
    lines = text.splitlines()
    data = [line for line in lines if line and not line.startswith("#")]
    catalog_guards.check_lines(data, content)
    catalog_guards.check_yaml("\n".join(line[2:] for line in lines if line.startswith("# ")))
    delimiter = "," if "delimiter: ','" in text else " "
    catalog_guards.check_names([name.strip('"') for name in (data or [""])[0].split(delimiter)])
    return Table.read(text, format="ascii.ecsv")


def _fits(content: bytes) -> Table:
    catalog_guards.check_fits(content)
    with fits.open(io.BytesIO(content)) as units:
        tables = [unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise FileError("holds no table")
        catalog_guards.check_names(tables[0].columns.names)
        return Table.read(tables[0])


def _votable(content: bytes) -> Table:
    catalog_guards.check_votable(content)
    table = votable.parse(io.BytesIO(content)).get_first_table()
    catalog_guards.check_names([field.name or field.ID for field in table.fields])
    return table.to_table(use_names_over_ids=True)


def _parquet(content: bytes) -> Table:
    import pyarrow as pa  # slow to import, and seldom needed
    import pyarrow.parquet as parquet

    catalog_guards.check_parquet(content)
    # A buffer, not a file of Python's: threads of pyarrow still let go of that one after the table is read.
    schema = parquet.read_schema(pa.BufferReader(content))
    catalog_guards.check_names(schema.names)
    header = (schema.metadata or {}).get(b"table_meta_yaml")
    if header is not None:
        # By astropy, which keeps units there, and what is missing in columns beside.
        catalog_guards.check_yaml(header.decode())
        return Table.read(pa.BufferReader(content), format="parquet")
    # Nullable types keep the digits of identities where some are missing.
    return Table.from_pandas(pd.read_parquet(pa.BufferReader(content), dtype_backend="numpy_nullable"))


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
