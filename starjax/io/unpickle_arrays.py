"""Arrays from pickles, each created by a function that checks its arguments.

A pickle never gets hold of a class or function of a library. The names in it are looked up here, and give
either an `AllowedFunction`, which stands for a function and may be called, or an `AllowedClass`, which stands
for a class and may be an argument of such a function. States are rebuilt from checked parts, since numpy,
pandas and pyarrow trust theirs: a forged state makes them read beyond their memory.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping

import numpy as np
from joblib import numpy_pickle

from starjax import errors


class UnpickleError(errors.StarjaxError):
    """A file that is damaged, or that asks for something outside the allowlist."""


class ForbiddenGlobalError(UnpickleError):
    """A pickle that names something outside the allowlist, or would change what it must not."""


class Budget:
    """The memory that the objects of a pickle may take, and which of these objects are incomplete.

    Every element takes at least one byte of the file, so that no count exceeds its size [bytes]. Each part of
    the file is copied once or twice; the budget stops a pickle that refers to one part many times.
    """

    def __init__(self, size: int):
        self.size = size
        # A margin for copies, and a MiB for small files, whose objects are large compared with them.
        self._left = 4 * size + 2**20
        # By id, since arrays and frames cannot be hashed; the values keep the ids from being used again.
        self._incomplete: dict[int, object] = {}

    def check_count(self, number) -> int:
        """Return a number of elements; raise UnpickleError if it exceeds the size of the file."""
        if type(number) is not int or not 0 <= number <= self.size:
            raise UnpickleError("it declares more elements than it has bytes")
        return number

    def reserve(self, num_byte: int) -> None:
        """Reserve memory for a copy."""
        self._left -= num_byte
        if self._left < 0:
            raise UnpickleError("it would need much more memory than it has bytes")

    def begin(self, instance):
        """Register an object whose state is not set yet, and return it."""
        self._incomplete[id(instance)] = instance
        return instance

    def finish(self, instance) -> None:
        """Register that the state of an object is being set, which happens only once."""
        if self._incomplete.pop(id(instance), None) is None:
            raise ForbiddenGlobalError(f"it would change a {type(instance).__name__}: nothing in it was run")

    def require_all_complete(self) -> None:
        """Raise UnpickleError if an object is incomplete; empty arrays and dtypes need no state."""
        if any(not isinstance(instance, np.ndarray | np.dtype) for instance in self._incomplete.values()):
            raise UnpickleError("it contains a table without content")

    def require_complete(self, instance) -> None:
        """Raise UnpickleError if an object is incomplete, since it could change after having been checked."""
        if id(instance) in self._incomplete:
            raise UnpickleError(f"it uses a {type(instance).__name__} whose state is not set yet")


@dataclasses.dataclass(frozen=True)
class AllowedClass:
    """A stand-in for a class; `new` creates an instance without state, if a pickle may do so."""

    name: str
    new: Callable[[Budget], object] | None = None


@dataclasses.dataclass(frozen=True)
class AllowedFunction:
    """A stand-in for a function; `call` checks the arguments."""

    name: str
    call: Callable[..., object]


class ArrayWrapper(numpy_pickle.NumpyArrayWrapper):
    """Joblib's description of the array that follows it in the file; by default that of joblib <= 1.1."""

    def __init__(self):
        super().__init__(np.ndarray, (0,), "C", np.dtype(np.float64), numpy_array_alignment_bytes=None)


NDARRAY = AllowedClass("ndarray")


def require(is_valid: bool, what: str) -> None:
    """Raise UnpickleError for a part of a file that the libraries would not have written."""
    if not is_valid:
        raise UnpickleError(f"it contains a forged or damaged {what}")


def is_key(value) -> bool:
    """Return whether a value may be a key: text, a number, or a tuple of these.

    Python hashes nested tuples recursively without a limit, which can crash the interpreter.
    """
    return _is_scalar(value) or (type(value) is tuple and all(map(_is_scalar, value)))


def _is_scalar(value) -> bool:
    return type(value) in (str, bytes, int, float, bool, type(None)) or isinstance(value, np.number | np.bool)


# ---- builtins


def _slice(budget, start, stop, step):
    return slice(
        budget.check_count(start),
        budget.check_count(stop),
        None if step is None else budget.check_count(step),
    )


def _bytearray(budget, content=b""):
    require(type(content) is bytes, "bytearray")
    budget.reserve(len(content))
    return bytearray(content)


def _bytes(budget):
    """Return no bytes, which protocol 2 spells as a call without arguments."""
    return b""


def _complex(budget, real, imag):
    require(type(real) is type(imag) is float, "complex number")
    return complex(real, imag)


def _encode(budget, text, encoding):
    """Return bytes, which protocol 2 spells as encoded text."""
    require(type(text) is str and encoding == "latin1", "text of bytes")
    budget.reserve(len(text))
    return text.encode("latin1")


# ---- numpy


def _dtype(budget, name, align=False, copy=True):
    require(
        type(name) is str and re.fullmatch(r"[biufc]\d{1,2}|[SU]\d{1,9}|O8?", name) is not None,
        "type of an array",
    )
    # A copy, since the pickle sets its byte order: numpy's own instances are shared by all arrays.
    return budget.begin(np.dtype(name, copy=True))


def _reconstruct(budget, kind, shape, code):
    # These arguments are always the same; shape, type and values follow as the state.
    require(kind is NDARRAY and shape == (0,) and code == b"b", "array")
    return budget.begin(np.empty(0, np.int8))


def _check_shape(budget, shape, dtype) -> int:
    """Return the number of values; numpy itself would allocate memory for them before looking for them."""
    require(type(shape) is tuple and isinstance(dtype, np.dtype), "array")
    for length in shape:
        require(type(length) is int and length >= 0, "array")
    return budget.check_count(math.prod(shape))


def _scalar(budget, dtype, content):
    require(isinstance(dtype, np.dtype) and not dtype.hasobject and type(content) is bytes, "number")
    require(len(content) == dtype.itemsize > 0, "number")
    return np.frombuffer(content, dtype)[0]


def _frombuffer(budget, buffer, dtype, shape, order):
    num = _check_shape(budget, shape, dtype)
    require(type(buffer) in (bytes, bytearray) and not dtype.hasobject, "array")
    require(len(buffer) == num * dtype.itemsize and order in ("C", "F"), "array")
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def set_array(budget, array, version, shape, dtype, is_fortran, values):
    """Set the state of an array, once shape, type and values fit together."""
    num = _check_shape(budget, shape, dtype)
    if dtype.hasobject:
        require(type(values) is list and len(values) == num, "array of objects")
        # Nested arrays are freed recursively without a limit.
        require(not any(isinstance(value, np.ndarray) for value in values), "array of arrays")
    else:
        require(type(values) in (bytes, bytearray) and len(values) == num * dtype.itemsize, "array")
    budget.reserve(num * dtype.itemsize)
    array.__setstate__((1, shape, dtype, bool(is_fortran), values))


def set_dtype(budget, dtype, version, order, *rest):
    """Set the byte order of a dtype; the rest of its state is numpy's and not the file's."""
    require(order in ("<", ">", "|", "=") and rest[:3] == (None, None, None), "type of an array")
    dtype.__setstate__(dtype.newbyteorder(order).__reduce__()[2])


def check_wrapper(budget, state: dict, num_byte_left: int) -> dict:
    """Return the checked state of joblib's description of an array of at most `num_byte_left` bytes."""
    known = ("subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes")
    require(type(state) is dict and state.keys() <= set(known), "description of an array")
    require(state.keys() >= set(known[:4]), "description of an array")
    require(state["subclass"] is NDARRAY and state["order"] in ("C", "F"), "description of an array")
    num = _check_shape(budget, state["shape"], state["dtype"])
    require(
        state["dtype"].hasobject or num * state["dtype"].itemsize <= num_byte_left, "description of an array"
    )
    if "numpy_array_alignment_bytes" in state:  # absent in joblib <= 1.1
        require(type(state["numpy_array_alignment_bytes"]) is int, "description of an array")
    # The file is in memory, where there is nothing to map.
    return state | {"subclass": np.ndarray, "allow_mmap": False}


_ARRAYS: dict[tuple[str, str], AllowedClass | AllowedFunction] = {
    ("_codecs", "encode"): AllowedFunction("encode", _encode),
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): AllowedFunction("dtype", _dtype),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): AllowedClass(
        "NumpyArrayWrapper", lambda budget: ArrayWrapper()
    ),
}
for _module in ("numpy.core", "numpy._core"):  # in numpy 1 and 2
    _ARRAYS[f"{_module}.multiarray", "_reconstruct"] = AllowedFunction("_reconstruct", _reconstruct)
    _ARRAYS[f"{_module}.multiarray", "scalar"] = AllowedFunction("scalar", _scalar)
    _ARRAYS[f"{_module}.numeric", "_frombuffer"] = AllowedFunction("_frombuffer", _frombuffer)
for _module in ("builtins", "__builtin__"):  # the latter is Python 2's, in protocol 2
    for _function in (_slice, _bytearray, _bytes, _complex):
        _ARRAYS[_module, _function.__name__[1:]] = AllowedFunction(_function.__name__[1:], _function)

Allowlist = Mapping[tuple[str, str], AllowedClass | AllowedFunction]
PLAIN: Allowlist = {}
"""Builtin containers, text and numbers, whose pickles name nothing at all."""
ARRAYS: Allowlist = _ARRAYS
"""Arrays, by the module names of numpy 1 and 2."""
