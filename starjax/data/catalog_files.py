"""Files of tables, in the formats that member lists come in."""

import gzip
import io
import warnings
import zlib
from pathlib import Path
from xml.parsers.expat import ExpatError

import pandas as pd
from astropy.io import fits, votable
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning

from starjax import errors

# What stands in text for a value that is not there, in small letters.
MISSING = ("", "nan", "null", "none", "na", "n/a", "--", "-")
_ECSV_MARK = b"# %ECSV"


class FileError(errors.StarjaxError):
    """A file that cannot be read as a table, and why."""


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
    damages = (
        OSError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        SyntaxError,
        zlib.error,
        ExpatError,
    )
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix.lower() == ".gz" else content
        with warnings.catch_warnings():
            # Units that astropy does not know matter only in columns that are used, and are refused there.
            warnings.simplefilter("ignore", AstropyWarning)
            warnings.filterwarnings("error", ".*may have been truncated.*")
            return _READERS[kind.lower()](content)
    except FileNotFoundError as error:
        raise FileError("there is no such file") from error
    except FileError:
        raise
    except (*damages, AstropyWarning) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise FileError(f"cannot be read as {kind}: {lines[0]}; is it whole, and of this format?") from error


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
    # Everything as text: identities keep their digits, and what is not a number can be named.
    frame = pd.read_csv(
        io.StringIO("".join(lines[comments:])),
        header=None,
        dtype=str,
        keep_default_na=False,
        skipinitialspace=True,
    )
    names = [str(name).strip() for name in frame.iloc[0]]
    _check_unique(names)
    body = frame.iloc[1:].astype(str)
    return Table({name: body[i].to_numpy().astype(str) for i, name in enumerate(names)})


def _check_unique(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileError(f"has more than one column {', '.join(map(repr, twice))}: rename or remove one")


def _ecsv(content: bytes) -> Table:
    text = content.decode("utf-8-sig")
    header = next((line for line in text.splitlines() if line and not line.startswith("#")), "")
    delimiter = "," if "delimiter: ','" in text else " "
    _check_unique([name.strip('"') for name in header.split(delimiter)])
    return Table.read(text, format="ascii.ecsv")


def _fits(content: bytes) -> Table:
    with fits.open(io.BytesIO(content)) as units:
        tables = [unit for unit in units if isinstance(unit, fits.BinTableHDU | fits.TableHDU)]
        if not tables:
            raise FileError("holds no table")
        _check_unique(tables[0].columns.names)
        return Table.read(tables[0])


def _votable(content: bytes) -> Table:
    table = votable.parse(io.BytesIO(content)).get_first_table()
    names = [field.name or field.ID for field in table.fields]
    _check_unique(names)
    return table.to_table(use_names_over_ids=True)


def _parquet(content: bytes) -> Table:
    import pyarrow.parquet as parquet  # slow to import, and seldom needed

    schema = parquet.read_schema(io.BytesIO(content))
    _check_unique(schema.names)
    if b"table_meta_yaml" in (schema.metadata or {}):
        # By astropy, which keeps units there, and what is missing in columns beside.
        return Table.read(io.BytesIO(content), format="parquet")
    # Nullable types keep the digits of identities where some are missing.
    return Table.from_pandas(pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable"))


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
