"""Decompression with a limit, since a few kilobytes can expand to fill any memory.

zlib compresses by up to a factor of 1032. The caches of the pipeline reach 1.4 to 2.2 and tables of text
about 10, so that `MAX_RATIO` leaves a wide margin. Small files may be more repetitive: up to `ALWAYS` bytes
are allowed.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable

from starjax import errors

MAX_RATIO = 32
ALWAYS = 2**24
# By the first bytes. Files, and not decompressors, which would stop after the first of several parts.
_OPEN: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class DecompressError(errors.StarjaxError):
    """Compressed content that expands beyond the limit for its size."""


def max_decompressed(size: int) -> int:
    """Return the bytes that the content of a file of `size` bytes may have after decompression."""
    return max(ALWAYS, MAX_RATIO * size)


def is_compressed(content: bytes) -> bool:
    """Return whether content is that of a file compressed by gzip, bzip2 or xz."""
    return content.startswith(tuple(_OPEN))


def decompress(content: bytes) -> bytes:
    """Decompress content in the format of gzip, bzip2, xz or, if it is none of these, zlib.

    Raises:
      DecompressError: the result is larger than `max_decompressed`; no more than that is ever in memory.
      OSError, EOFError, zlib.error, lzma.LZMAError: the content is damaged.
    """
    limit = max_decompressed(len(content))
    # One byte more than is allowed, to tell a result of just that size from one that was cut off.
    if is_compressed(content):
        open_file = next(opening for mark, opening in _OPEN.items() if content.startswith(mark))
        with open_file(io.BytesIO(content)) as file:
            decompressed = file.read(limit + 1)
    else:
        stream = zlib.decompressobj()
        decompressed = stream.decompress(content, limit + 1)
        # zlib returns what there is of truncated content, without an error.
        if len(decompressed) <= limit and not stream.eof:
            raise EOFError("the compressed content is truncated")
    if len(decompressed) > limit:
        raise DecompressError(
            f"its {len(content)} bytes expand to more than {limit}, which real data never do: do not use "
            "it unless you trust its source, and then decompress it first"
        )
    return decompressed
