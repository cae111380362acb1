"""Reading of `.npz` archives, by numpy once the headers have been checked.

Nothing is extracted to disk: members are looked up by name and read into memory.
"""

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from starjax.io import decompress, files

# What zipfile and numpy raise for damaged archives.
DAMAGE = (
    EOFError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,  # zipfile: a member is marked as encrypted, or its compression is unknown
    SyntaxError,  # numpy: a header is indented
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,  # numpy: a header is truncated
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return those of the named arrays that an archive contains.

    Raises:
      one of DAMAGE: the archive is damaged, has two members of one name, or would need much more memory than
        its size.
      files.NotAFileError: it is a pipe or a device.
    """
    files.check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.removesuffix(".npy") in names]
        # zipfile reads the last of them, other readers the first.
        if len(set(members)) < len(members):
            raise ValueError("it has more than one member of the same name")
        entries = {name: archive.getinfo(f"{name}.npy") for name in names if f"{name}.npy" in members}
        size = sum(entry.file_size for entry in entries.values())
        if size > decompress.max_decompressed(path.stat().st_size):
            raise ValueError(f"it would need {size} bytes of memory, which no real archive of its size does")
        return {name: _read(archive, entry) for name, entry in entries.items()}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    # numpy allocates as much as the header declares, before it looks for the values.
    with archive.open(entry) as file:
        shape, _, dtype = read_header(file, entry.filename)
        if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError(f"{entry.filename} does not have the length that its header declares")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def read_header(file, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array of numbers or text; the position in the file is then that of its values.

    Returns:
      shape, whether the order is Fortran's, and dtype.

    Raises:
      one of DAMAGE: it is something else.
    """
    # Version 3 is for field names of structured arrays, which are not read anyway.
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is in an unknown format {version}")
    numpy_read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    try:
        shape, is_fortran, dtype = numpy_read_header(file)
    except MemoryError as error:  # of Python's parser, which numpy uses
        raise ValueError(f"{name} has too many brackets in its header") from error
    # Values of no bytes, such as texts of length 0, would allow any shape in a small file.
    if dtype.kind not in "biufU" or not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"{name} is {dtype} of shape {shape}, not numbers or text")
    return shape, is_fortran, dtype
