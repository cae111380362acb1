"""What may be made from a pickle: arrays and data frames, each by a function that checks what it is given.

No class and no function of a library ever comes into the hands of a pickle. What it names is looked up here, and is
either a `Maker`, which stands for a function and may be called, or a `Kind`, which stands for a class, and may be handed to a
maker. States are rebuilt from their checked parts, since numpy, pandas and pyarrow trust theirs: a forged one
makes them read beyond their memory.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping

import numpy as np
from joblib import numpy_pickle

from starjax import errors


class UnpickleError(errors.StarjaxError):
    """A file that is damaged, or that asks for something not admitted."""


class ForbiddenGlobalError(UnpickleError):
    """A pickle that names something not admitted."""


class Room:
    """How much a pickle may make, by its size [bytes].

    What a file holds is in it once, so that no number of elements exceeds its bytes; and what is copied of it, each part
    once or twice. A pickle can name one part many times, which this stops.
    """

    def __init__(self, size: int):
        self.size = size
        self._left = 4 * size + 2**20
        self._unfinished = {}

    def count(self, number) -> int:
        """A number of elements."""
        if type(number) is not int or not 0 <= number <= self.size:
            raise UnpickleError("it names more elements than it has bytes")
        return number

    def take(self, num_byte: int) -> None:
        """Reserves memory for a copy."""
        self._left -= num_byte
        if self._left < 0:
            raise UnpickleError("it would take much more memory than it has bytes")

    def begin(self, made):
        """Remembers that an object has no state yet."""
        self._unfinished[id(made)] = made
        return made

    def finish(self, made) -> None:
        """Says that an object gets its state now; it gets one only."""
        if self._unfinished.pop(id(made), None) is None:
            raise ForbiddenGlobalError(f"it would change a {type(made).__name__}: nothing of it was done")

    def need_nothing_unfinished(self) -> None:
        """Refuses a file of which some objects have no state; empty arrays and types of numbers need none."""
        if any(not isinstance(made, np.ndarray | np.dtype) for made in self._unfinished.values()):
            raise UnpickleError("it holds a table without content")

    def need_whole(self, made) -> None:
        """Refuses what may still change after it was checked."""
        if id(made) in self._unfinished:
            raise UnpickleError(f"it uses a {type(made).__name__} before that has a state")


@dataclasses.dataclass(frozen=True)
class Kind:
    """Stands for a class; `new` makes an instance without state, if a pickle may."""

    name: str
    new: Callable[[Room], object] | None = None


@dataclasses.dataclass(frozen=True)
class Maker:
    """Stands for a function."""

    name: str
    make: Callable[..., object]


class ArrayWrapper(numpy_pickle.NumpyArrayWrapper):
    """Joblib's announcement of an array that stands behind it, by default one of joblib <= 1.1."""

    def __init__(self):
        super().__init__(np.ndarray, (0,), "C", np.dtype(np.float64), numpy_array_alignment_bytes=None)


NDARRAY = Kind("ndarray")


def need(is_right: bool, what: str) -> None:
    """Refuses a part of a file that is not what the libraries write."""
    if not is_right:
        raise UnpickleError(f"it holds a forged or damaged {what}")


def is_key(value) -> bool:
    """Whether a value may be a key: a name, a number, or a tuple of these.

    Python goes through nested tuples without a bound when it hashes them, and breaks down.
    """
    return _is_scalar(value) or (type(value) is tuple and all(map(_is_scalar, value)))


def _is_scalar(value) -> bool:
    return type(value) in (str, bytes, int, float, bool, type(None)) or isinstance(value, np.number | np.bool)


# ---- builtins


def _slice(room, start, stop, step):
    return slice(room.count(start), room.count(stop), None if step is None else room.count(step))


def _bytearray(room, content=b""):
    need(type(content) is bytes, "bytearray")
    room.take(len(content))
    return bytearray(content)


def _bytes(room):
    return b""


def _complex(room, real, imag):
    need(type(real) is type(imag) is float, "complex number")
    return complex(real, imag)


def _encode(room, text, encoding):
    """How protocol 2 spells bytes."""
    need(type(text) is str and encoding == "latin1", "text of bytes")
    room.take(len(text))
    return text.encode("latin1")


# ---- numpy


def _dtype(room, name, align=False, copy=True):
    need(
        type(name) is str and re.fullmatch(r"[biufc]\d{1,2}|[SU]\d{1,9}|O8?", name) is not None,
        "type of an array",
    )
    return room.begin(np.dtype(name, copy=True))


def _reconstruct(room, kind, shape, code):
    need(kind is NDARRAY and shape == (0,) and code == b"b", "array")
    return room.begin(np.empty(0, np.int8))


def _check_shape(room, shape, dtype) -> int:
    """The number of values; numpy itself would allocate first, and look for them then."""
    need(type(shape) is tuple and isinstance(dtype, np.dtype), "array")
    for length in shape:
        need(type(length) is int and length >= 0, "array")
    return room.count(math.prod(shape))


def _scalar(room, dtype, content):
    need(isinstance(dtype, np.dtype) and not dtype.hasobject and type(content) is bytes, "number")
    need(len(content) == dtype.itemsize > 0, "number")
    return np.frombuffer(content, dtype)[0]


def _frombuffer(room, buffer, dtype, shape, order):
    num = _check_shape(room, shape, dtype)
    need(type(buffer) in (bytes, bytearray) and not dtype.hasobject, "array")
    need(len(buffer) == num * dtype.itemsize and order in ("C", "F"), "array")
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def set_array(room, array, version, shape, dtype, is_fortran, values):
    num = _check_shape(room, shape, dtype)
    if dtype.hasobject:
        need(type(values) is list and len(values) == num, "array of objects")
        # Arrays within arrays are freed one within another, however deep.
        need(not any(isinstance(value, np.ndarray) for value in values), "array of arrays")
    else:
        need(type(values) in (bytes, bytearray) and len(values) == num * dtype.itemsize, "array")
    room.take(num * dtype.itemsize)
    array.__setstate__((1, shape, dtype, bool(is_fortran), values))


def set_dtype(room, dtype, version, order, *rest):
    need(order in ("<", ">", "|", "=") and rest[:3] == (None, None, None), "type of an array")
    dtype.__setstate__(dtype.newbyteorder(order).__reduce__()[2])


def check_wrapper(room, state: dict, num_byte_left: int) -> dict:
    """The state of joblib's announcement of an array of at most that many bytes."""
    known = ("subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes")
    need(type(state) is dict and state.keys() <= set(known), "description of an array")
    need(state.keys() >= set(known[:4]), "description of an array")
    need(state["subclass"] is NDARRAY and state["order"] in ("C", "F"), "description of an array")
    num = _check_shape(room, state["shape"], state["dtype"])
    need(
        state["dtype"].hasobject or num * state["dtype"].itemsize <= num_byte_left, "description of an array"
    )
    if "numpy_array_alignment_bytes" in state:  # joblib <= 1.1 wrote none
        need(type(state["numpy_array_alignment_bytes"]) is int, "description of an array")
    return state | {"subclass": np.ndarray, "allow_mmap": False}


_ARRAYS = {
    ("_codecs", "encode"): Maker("encode", _encode),
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): Maker("dtype", _dtype),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): Kind("NumpyArrayWrapper", lambda room: ArrayWrapper()),
}
for _module in ("numpy.core", "numpy._core"):  # as numpy 1 and 2 call it
    _ARRAYS[f"{_module}.multiarray", "_reconstruct"] = Maker("_reconstruct", _reconstruct)
    _ARRAYS[f"{_module}.multiarray", "scalar"] = Maker("scalar", _scalar)
    _ARRAYS[f"{_module}.numeric", "_frombuffer"] = Maker("_frombuffer", _frombuffer)
for _module in ("builtins", "__builtin__"):  # the latter in protocol 2
    for _maker in (_slice, _bytearray, _bytes, _complex):
        _ARRAYS[_module, _maker.__name__[1:]] = Maker(_maker.__name__[1:], _maker)

Admitted = Mapping[tuple[str, str], Kind | Maker]
PLAIN: Admitted = {}
"""Builtin containers, text and numbers: pickles of these name nothing at all."""
ARRAYS: Admitted = _ARRAYS
"""What arrays are made of, in the spellings of numpy 1 and 2."""
