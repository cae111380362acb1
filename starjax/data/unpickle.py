"""Reading joblib files without running what is in them.

A joblib file is a pickle: by nature a program that names functions to call. The reader here resolves
only names on a list, and refuses any other before it is looked up. So no file can run a command by name;
one made to crash numpy may still end the process.
"""

import contextlib
import gc
import io
import pickle
import struct
import zlib
from pathlib import Path
from typing import ClassVar

from joblib import numpy_pickle

from starjax import errors

PLAIN: frozenset[tuple[str, str]] = frozenset()
"""Builtin containers, text and numbers: pickles of these name nothing at all."""

_NUMPY = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
    ("joblib.numpy_pickle", "NumpyArrayWrapper"),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how protocol 2 spells bytes
}
_BUILTINS = {
    (module, name)
    for module in ("builtins", "__builtin__")  # the latter in protocols up to 2
    for name in (
        "slice",
        "bytearray",
        "set",
        "frozenset",
        "complex",
        "range",
        "int",
        "float",
        "bool",
        "str",
        "bytes",
        "list",
        "tuple",
        "dict",
    )
}
_PANDAS = {
    *(("pandas", name) for name in ("DataFrame", "Series", "Index", "RangeIndex", "StringDtype")),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.series", "Series"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas.core.internals.managers", "SingleBlockManager"),
    ("pandas.core.internals.blocks", "new_block"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.arrays.string_", "StringDtype"),
    ("pandas.core.arrays.string_", "StringArray"),
    ("pandas.core.arrays.string_arrow", "ArrowStringArray"),
    ("pandas.core.arrays.string_arrow", "ArrowStringArrayNumpySemantics"),
    ("pandas.arrays", "StringArray"),
    ("pandas.arrays", "ArrowStringArray"),
    ("pandas._libs.missing", "_NA"),
    ("pandas._libs.missing", "NAType"),
    ("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked"),
    *(("pyarrow.lib", name) for name in ("_restore_array", "type_for_alias", "py_buffer", "chunked_array")),
}
TABLES: frozenset[tuple[str, str]] = frozenset(_NUMPY | _BUILTINS | _PANDAS)
"""What arrays and data frames are made of, in the spellings of numpy 1 and 2, pandas 2 and 3."""

# What a damaged pickle raises beside UnpicklingError, by the documentation of the pickle module and
# by what numpy and pandas say of states that make no sense.
_DAMAGE = (
    pickle.UnpicklingError,
    zlib.error,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)


class UnpickleError(errors.StarjaxError):
    """A file that is damaged, or that asks for something not admitted."""


class ForbiddenGlobalError(UnpickleError):
    """A pickle that names something not admitted."""


# What joblib says of an array that stands behind its pickle.
_WRAPPER_STATE = {"subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes"}


class _Unpickler(numpy_pickle.NumpyUnpickler):
    def __init__(self, file, path: Path, admitted: frozenset):
        super().__init__(str(path), file, ensure_native_byte_order=True)
        self.admitted = admitted

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise ForbiddenGlobalError(
                f"{self.filename} asks for {module}.{name}, which no data file needs: nothing of it was run. "
                "Do not use this file unless you know where it comes from"
            )
        found = super().find_class(module, name)
        return _ArrayWrapper if found is numpy_pickle.NumpyArrayWrapper else found

    def load_build(self):
        """Sets the state of an instance; of a class or a function, it would change it for the whole process."""
        state, target = self.stack[-1], self.stack[-2]
        is_wrapper = isinstance(target, _ArrayWrapper)
        if isinstance(target, type) or callable(target):
            raise ForbiddenGlobalError(f"{self.filename} would change {target!r}: nothing of it was done")
        if is_wrapper and not (isinstance(state, dict) and state.keys() <= _WRAPPER_STATE):
            raise ForbiddenGlobalError(f"{self.filename} holds an array with a forged description")
        super().load_build()

    def load_frame(self):
        """Passes over a frame's length: the content is in memory, a frame would only be one more copy."""
        self.read(8)

    dispatch: ClassVar = {
        **numpy_pickle.NumpyUnpickler.dispatch,
        pickle.BUILD[0]: load_build,
        pickle.FRAME[0]: load_frame,
    }


class _ArrayWrapper(numpy_pickle.NumpyArrayWrapper):
    def read_array(self, unpickler, *args):
        if self.dtype.hasobject:
            # An array of objects is a pickle within the pickle; the same rules hold in there.
            return _Unpickler(unpickler.file_handle, unpickler.filename, unpickler.admitted).load()
        return super().read_array(unpickler, *args)


@contextlib.contextmanager
def _no_garbage_collection():
    """What a pickle builds is all in use: to search it for garbage again and again takes a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load(path: Path, admitted: frozenset[tuple[str, str]]):
    """Reads a joblib file, plain or compressed by zlib or gzip, admitting only the globals listed.

    Raises:
      ForbiddenGlobalError: the file names another global; raised before that is imported.
      UnpickleError: the file is damaged.
      OSError: it cannot be opened.
    """
    return loads(Path(path).read_bytes(), path, admitted)


def loads(content: bytes, path: Path, admitted: frozenset[tuple[str, str]]):
    """As `load`, from the content of the file; `path` is what errors name."""
    try:
        if content[:1] == b"\x78" or content[:2] == b"\x1f\x8b":
            content = zlib.decompress(content, wbits=zlib.MAX_WBITS | 32)  # either header
        with _no_garbage_collection():
            return _Unpickler(io.BytesIO(content), path, admitted).load()
    except UnpickleError:
        raise
    except _DAMAGE as error:
        raise UnpickleError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
