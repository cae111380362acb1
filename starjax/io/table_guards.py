"""Checks of table files before a library reads them: no network, no other file, no memory beyond their size.

The libraries trust what a header declares, and fetch what it points to.
"""

import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from xml.parsers import expat

import yaml
from astropy.io import fits

from starjax import errors
from starjax.io import decompress

# Tables of the Gaia archive have 152 columns; FITS allows 999.
MAX_COLUMNS = 4096
# Nesting of elements in VOTables and headers; genuine files have fewer than ten levels.
_MAX_DEPTH = 64
# Rows that astropy allocates memory for at once, even if there are fewer.
_ROWS_AT_ONCE = 512
# Size of the blocks of a FITS file [bytes]; headers and data fill whole ones.
_FITS_BLOCK = 2880
# Values of attributes that an element of a VOTable leaves out.
_VOTABLE_DEFAULTS = {
    "encoding": "base64",
    "nrows": "0",
    "arraysize": "1",
    "unit": "",
    "name": "",
    "value": "",
}
# YAML tags that astropy writes to the headers of ECSV and Parquet.
_YAML_TAGS = (
    None,
    "!",
    "!astropy.table.SerializedColumn",
    "!astropy.units.Unit",
    "!astropy.units.UnrecognizedUnit",
    "!astropy.coordinates.Angle",
)
# By the standard of the Virtual Observatory, and by VizieR.
_CUT = re.compile(r"QUERY_STATUS: OVERFLOW|truncated result", re.IGNORECASE)
_YAML_PLAIN = re.compile(r"tag:yaml\.org,2002:(omap|str|int|float|bool|null|seq|map)")


class FileError(errors.StarjaxError):
    """A file that cannot be read as a table; the message says why, and the caller adds the path."""


def check_names(names: Sequence[str]) -> None:
    """Raise FileError for columns of the same name, or more columns than any catalogue has."""
    if len(names) > MAX_COLUMNS:
        raise FileError(
            f"has {len(names)} columns, more than {MAX_COLUMNS}: leave out those that are not needed"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise FileError(f"has more than one column {', '.join(map(repr, twice)):.200}: rename or remove one")


def check_memory(num_byte: int, size: int) -> None:
    """Raise FileError for a file of `size` bytes that would need many times as many in memory."""
    if num_byte > 4 * decompress.max_decompressed(size):
        raise FileError(f"would need {num_byte:.1e} bytes of memory, for a file of {size} bytes")


def check_unit(text: str) -> None:
    """Raise FileError for units that astropy would never finish computing, such as 10**99999999 m."""
    # Digits after a point are harmless: they belong to scales such as 0.00001, not to powers.
    if len(text) > 100 or re.search(r"(?<![\d.])\d{5,}", text):
        raise FileError(f"has a unit {text!r:.60}: give a short one, with numbers of at most four digits")


def check_complete(note: str) -> None:
    """Raise FileError for what archives write into a result that they have cut."""
    if _CUT.search(note):
        raise FileError(
            f"says that it lacks stars ({note.strip()!r:.100}): repeat the query with a higher limit of rows"
        )


def check_fits(content: bytes) -> Iterator[int]:
    """Check the headers up to each table in turn, and yield the position where that ends.

    Raises:
      FileError: a header declares more than the file contains.
    """
    file = io.BytesIO(content)
    end = len(content.rstrip(b"\0 "))  # some writers fill the last block, or more
    while file.tell() < end:
        header = fits.Header.fromfile(file)
        for key, value in header.items():
            if "UNI" in key:  # TUNIT1, TCUNI1, TIMEUNIT
                check_unit(str(value))
        num_axis = _natural(header, "NAXIS")
        if num_axis > 999:
            raise FileError(f"declares {num_axis} axes")
        axes = [_natural(header, f"NAXIS{i + 1}") for i in range(num_axis)]
        values = math.prod(axes) if axes else 0
        num_more = _natural(header, "PCOUNT") if "PCOUNT" in header else 0
        num_group = _natural(header, "GCOUNT") if "GCOUNT" in header else 1
        # FITS standard 4.0, equation 2.
        size = _bits_per_value(header) // 8 * num_group * (num_more + values)
        # Each axis by itself as well: beside an axis of length 0, any number of rows would take no byte.
        if size > max(len(content) - file.tell(), 0) or max([0, *axes]) > len(content):
            raise FileError(
                f"is truncated or forged: a header declares {max([size, *axes])} bytes or rows to follow"
            )
        if "XTENSION" in header and header["XTENSION"] in ("BINTABLE", "TABLE"):
            num_column = _natural(header, "TFIELDS")
            if num_column > 999:
                raise FileError(f"declares {num_column} columns")
            for i in range(1, num_column + 1):
                # The arrays of all rows may be the same part of the file, which would be copied for each.
                if re.match(r"\s*\d*[PQ]", str(_card(header, f"TFORM{i}"))):
                    raise FileError(f"has arrays of varying length in column {i}: remove that column")
            yield file.tell() + -(-size // _FITS_BLOCK) * _FITS_BLOCK
        file.seek(file.tell() + -(-size // _FITS_BLOCK) * _FITS_BLOCK)


def _card(header: fits.Header, key: str):
    """Return the value of a card that FITS requires."""
    if key not in header:
        raise FileError(f"is damaged: a header has no {key}")
    return header[key]


def _natural(header: fits.Header, key: str) -> int:
    value = _card(header, key)
    if type(value) is not int or value < 0:
        raise FileError(f"is damaged: a header declares {key}={value!r:.40}, which is not a natural number")
    return value


def _bits_per_value(header: fits.Header) -> int:
    value = _card(header, "BITPIX")  # negative for floats
    if value not in (8, 16, 32, 64, -32, -64):
        raise FileError(f"is damaged: a header declares BITPIX={value!r:.40}")
    return abs(value)


def check_votable(content: bytes) -> None:
    """Raise FileError for links to other data, entities, or declarations of more than the file contains."""
    depth = num_field = num_row = num_value = 0

    def start(name, given):
        nonlocal depth, num_field, num_row, num_value
        attributes = _VOTABLE_DEFAULTS | given
        depth += 1
        if depth > _MAX_DEPTH:
            raise FileError(f"has elements nested more than {_MAX_DEPTH} levels deep")
        check_unit(attributes["unit"])
        name = name.rpartition(":")[2]
        if name == "STREAM" and "href" in attributes:
            raise FileError(
                f"has its data elsewhere ({attributes['href']!r:.80}), which is not fetched: save it with "
                "the data"
            )
        # The alternatives include gzip, which would be decompressed without a limit.
        if name == "STREAM" and attributes["encoding"].strip() != "base64":
            raise FileError(
                f"has its data encoded as {attributes['encoding']!r:.40}: save it as TABLEDATA or in base64"
            )
        # Astropy allocates memory for as many rows; each takes at least a byte of the file.
        if name == "TABLE" and not 0 <= int(attributes["nrows"]) <= len(content):
            raise FileError(f"declares {attributes['nrows']!r:.40} rows, in a file of {len(content)} bytes")
        if name == "FIELD":
            num_field += 1
            num_value += math.prod(int(size) for size in re.findall(r"\d+", attributes["arraysize"]))
        if name == "TR":
            num_row += 1
        if name == "INFO":
            check_complete(f"{attributes['name']}: {attributes['value']}")

    def end(name):
        nonlocal depth
        depth -= 1

    def declare(*args):
        raise FileError("declares entities, which no member catalogue needs")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.EntityDeclHandler = start, end, declare
    parser.Parse(content, True)
    if num_field > MAX_COLUMNS:
        raise FileError(f"has {num_field} columns, more than {MAX_COLUMNS}")
    # 16 bytes: a complex number in double precision, the largest type of a value.
    check_memory(16 * num_value * max(num_row, _ROWS_AT_ONCE), len(content))


def check_yaml(text: str) -> None:
    """Raise FileError for headers that create objects, or that grow by merging parts into each other."""
    depth, key, units = 0, None, set()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise FileError(f"has lists nested more than {_MAX_DEPTH} levels deep in its header")
            tag = getattr(event, "tag", None)
            if tag not in _YAML_TAGS and not _YAML_PLAIN.fullmatch(tag):
                raise FileError(f"has {tag!r:.80} in its header, which no member catalogue needs")
            # The scalar after the key `unit` is a unit. With an alias for either it would not be recognized,
            # other than that of a unit of astropy, inside which there is a key `unit` as well.
            value, anchor = getattr(event, "value", ""), getattr(event, "anchor", None)
            is_alias = isinstance(event, yaml.AliasEvent)
            if isinstance(event, yaml.MappingStartEvent) and tag == "!astropy.units.Unit":
                units.add(anchor)
            elif anchor and not is_alias:
                units.discard(anchor)
            if (value == "unit" and anchor) or (key == "unit" and is_alias and anchor not in units):
                raise FileError("has a reference instead of a unit in its header: write the unit out")
            if key == "unit":
                check_unit(value)
            key = value
            if value == "<<":
                raise FileError("merges one part of its header into another, which no member catalogue needs")
            sizes = re.fullmatch(r"\s*\w+\s*\[(.*)\]\s*", value, re.DOTALL)  # of a column of arrays
            if sizes and math.prod(int(size) for size in re.findall(r"\d+", sizes[1])) > MAX_COLUMNS:
                raise FileError(f"has a column of {value!r:.40}, which are too many values per row")
    except yaml.YAMLError as error:
        raise FileError(f"has a damaged header ({error!s:.200})") from error


def check_lines(lines: Sequence[str], content: bytes) -> None:
    """Raise FileError if one line is far longer than the others: astropy pads all to the longest."""
    # 4 bytes: a character in an array of text.
    check_memory(4 * len(lines) * max(map(len, lines), default=0), len(content))


def check_parquet(content) -> None:
    """Check that a Parquet file, given as a buffer of pyarrow, does not expand to many times its size.

    Raises:
      FileError: its rows or texts would.
      pyarrow.ArrowException: it is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(pa.BufferReader(content))
    check_memory(8 * file.metadata.num_rows * file.metadata.num_columns, len(content))
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    check_memory(sum(group.total_byte_size for group in groups), len(content))
    texts = [
        file.schema.column(i).path
        for i in range(len(file.schema))
        if file.schema.column(i).physical_type == "BYTE_ARRAY"
    ]
    # Metadata may be forged, and a repeated text is stored only once: the content is counted as well. Read as
    # dictionaries, texts take the memory of the file, and their total length follows without copying them.
    file = parquet.ParquetFile(pa.BufferReader(content), read_dictionary=texts)
    total = 0
    for batch in file.iter_batches():
        for column in batch.columns:
            total += column.nbytes
            if isinstance(column, pa.DictionaryArray):
                lengths = compute.binary_length(column.dictionary).take(column.indices)
                total += compute.sum(lengths).as_py() or 0
        check_memory(total, len(content))
