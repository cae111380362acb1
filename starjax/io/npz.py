"""Archives of arrays (`.npz`), read by what numpy offers, once their headers are found to say what they hold.

Nothing is extracted: a member is looked up by its name, and its content goes to memory.
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

# What zipfile and numpy raise of archives that are damaged.
DAMAGE = (
    EOFError,
    KeyError,
    OSError,
    OverflowError,
    RuntimeError,  # zipfile, of an entry that says it is encrypted or compressed in some other way
    SyntaxError,  # numpy, of a header that is indented
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,  # numpy, of a header that breaks off
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names that an archive has.

    Raises:
      one of DAMAGE: the archive is damaged, has two members of one name, or would take much more memory than its
        size.
      files.NoFileError: it is a pipe or a device.
    """
    files.check_regular(path)
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.removesuffix(".npy") in names]
        if len(set(members)) < len(members):
            raise ValueError("it has more than one member of a name")
        entries = {name: archive.getinfo(f"{name}.npy") for name in names if f"{name}.npy" in members}
        size, limit = (
            sum(entry.file_size for entry in entries.values()),
            decompress.max_decompressed(path.stat().st_size),
        )
        if size > limit:
            raise ValueError(f"it would take {size} bytes of memory, which no archive of its size does")
        return {name: _read(archive, entry) for name, entry in entries.items()}


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(entry) as file:
        shape, _, dtype = header(file, entry.filename)
        if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError(f"{entry.filename} is not as long as its header says")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def header(file, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order (whether it is Fortran's) and type of an array of numbers or text; then the file stands at its values.

    Raises:
      one of DAMAGE: it is something else.
    """
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"{name} is in an unknown format {version}")
    read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
    try:
        shape, is_fortran, dtype = read_header(file)
    except MemoryError as error:  # Python's parser, which numpy asks
        raise ValueError(f"{name} has a header of too many brackets") from error
    if dtype.kind not in "biufU" or not dtype.itemsize or any(length < 0 for length in shape):
        raise ValueError(f"{name} is {dtype} of shape {shape}, not numbers or text")
    return shape, is_fortran, dtype
