"""Decompression that stops: a few kilobytes of zlib or gzip can be made to fill any memory.

zlib makes up to 1032 bytes of one. The caches of the pipeline come to 1.4 to 2.2, tables of text to about 10, so that
`MAX_RATIO` leaves a wide margin. What is small may be more repetitive: up to `ALWAYS` it is let through.
"""

import gzip
import io
import zlib

from starjax import errors

MAX_RATIO = 32
ALWAYS = 2**24


class DecompressError(errors.StarjaxError):
    """Content that grows beyond what a file of its size would hold."""


def max_decompressed(size: int) -> int:
    """Bytes that `size` bytes of a file may stand for."""
    return max(ALWAYS, MAX_RATIO * size)


def decompress(content: bytes) -> bytes:
    """What is compressed by zlib or gzip.

    Raises:
      InflateError: it is larger than `largest`; no more than that is ever in memory.
      OSError, EOFError, zlib.error: it is damaged.
    """
    limit = max_decompressed(len(content))
    if content[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            whole = file.read(limit + 1)
    else:
        stream = zlib.decompressobj()
        whole = stream.decompress(content, limit + 1)
        if len(whole) <= limit and not stream.eof:
            raise EOFError("the compressed content is cut off")
    if len(whole) > limit:
        raise DecompressError(
            f"its {len(content)} bytes are compressed from more than {limit}, which no data is: do not use it "
            "unless you know where it comes from, and then decompress it first"
        )
    return whole
