"""Reading of joblib files without running code from them.

A joblib file is a pickle, that is a program that names functions to call. This reader knows only the names of
an allowlist, replaces each by a checked function of `unpickle_arrays` or `unpickle_tables`, and refuses any
other name before it is looked up. Therefore no file can run a command, or take more memory than a fixed
multiple of its size.
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

from starjax.io import decompress, files, unpickle_arrays, unpickle_tables
from starjax.io.unpickle_arrays import PLAIN, ForbiddenGlobalError, UnpickleError
from starjax.io.unpickle_tables import TABLES

__all__ = ["PLAIN", "TABLES", "ForbiddenGlobalError", "UnpickleError", "load_pickle", "loads_pickle"]

# The first bytes of compressed files that are not read.
_NOT_READ = {b"BZh": "bz2", b"\xfd7zXZ": "xz", b"\x5d\x00\x00": "lzma"}
# What a damaged pickle raises besides UnpicklingError, according to the documentation of the pickle module,
# and what numpy and pandas raise for invalid states.
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
    OSError,  # gzip
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)

# Sets are in no data file. Protocols 2 to 5 never write the others, some of which create numbers without a
# limit.
_UNUSED = [
    getattr(pickle, name)[0]
    for name in ("INT", "LONG", "LONG4", "INST", "OBJ", "NEWOBJ_EX", "EMPTY_SET", "ADDITEMS", "FROZENSET")
]


class _Unpickler(numpy_pickle.NumpyUnpickler):
    """Joblib's unpickler, with a check in every opcode that calls, creates or changes an object.

    It is the one of pickle that is written in Python, whose opcodes are methods that can be replaced.
    """

    def __init__(
        self, file, path: Path, allowlist: unpickle_arrays.Allowlist, budget: unpickle_arrays.Budget
    ):
        super().__init__(str(path), file, ensure_native_byte_order=True)
        self.allowlist, self.budget = allowlist, budget

    def find_class(self, module, name):
        """Return the stand-in for a name of the allowlist; nothing is imported."""
        if (module, name) not in self.allowlist:
            if not_read := unpickle_tables.describe_not_read(module, name):
                raise ForbiddenGlobalError(f"{not_read} (nothing in it was run)")
            raise ForbiddenGlobalError(
                f"it asks for {module:.80}.{name:.80}, which no data file needs: nothing in it was run. "
                "Do not use this file unless you trust its source"
            )
        return self.allowlist[module, name]

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, unpickle_arrays.AllowedFunction):
            raise ForbiddenGlobalError("it calls something that may not be called: nothing in it was run")
        self.stack[-1] = function.call(self.budget, *arguments)

    def load_newobj(self):
        arguments, kind = self.stack.pop(), self.stack[-1]
        if not isinstance(kind, unpickle_arrays.AllowedClass) or kind.new is None or arguments != ():
            raise ForbiddenGlobalError("it creates something that may not be created: nothing in it was run")
        self.stack[-1] = kind.new(self.budget)

    def load_build(self):
        """Set the state of an instance that has none yet."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, unpickle_arrays.ArrayWrapper):
            unpickle_tables.set_state(self.budget, target, state)
            return
        left = len(self.file_handle.getbuffer()) - self.file_handle.tell()
        target.__dict__.update(unpickle_arrays.check_wrapper(self.budget, state, left))
        if target.dtype.hasobject:
            # An array of objects is a pickle within the pickle, to which the same rules apply.
            inner = _Unpickler(self.file_handle, self.filename, self.allowlist, self.budget)
            self.stack[-1] = inner.load()
        else:
            self.stack[-1] = target.read(self, self.ensure_native_byte_order)

    def load_frame(self):
        """Skip the length of a frame: the content is in memory already, and a frame would be another copy."""
        self.read(8)

    def load_bytearray8(self):
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(self.budget.check_count(length))))

    # In the next four methods pickle would take other objects than lists and dicts, and call their methods.

    def load_append(self):
        value = self.stack.pop()
        unpickle_arrays.require(type(self.stack[-1]) is list, "list")
        self.stack[-1].append(value)

    def load_appends(self):
        values = self.pop_mark()
        unpickle_arrays.require(type(self.stack[-1]) is list, "list")
        self.stack[-1].extend(values)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self):
        self._set_items(self.pop_mark())

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self._set_items(items)

    def _set_items(self, items):
        keys = items[::2]
        unpickle_arrays.require(
            type(self.stack[-1]) is dict and all(map(unpickle_arrays.is_key, keys)), "dict"
        )
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def load_unused(self):
        raise ForbiddenGlobalError("it contains what no data file contains: a set or an instance of a class")

    dispatch: ClassVar = {
        **numpy_pickle.NumpyUnpickler.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_newobj,
        pickle.BUILD[0]: load_build,
        pickle.FRAME[0]: load_frame,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        **dict.fromkeys(_UNUSED, load_unused),
    }


@contextlib.contextmanager
def _no_garbage_collection():
    """Disable garbage collection, which would take a quarter of the time although all objects are in use."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load_pickle(path: Path, allowlist: unpickle_arrays.Allowlist):
    """Read a joblib file, with or without compression by zlib or gzip.

    Args:
      allowlist: the names that may occur in it, such as PLAIN or TABLES.

    Raises:
      ForbiddenGlobalError: the file names something else; raised before that is imported.
      UnpickleError: the file is damaged, or would need much more memory than its size.
      OSError, files.NotAFileError: the file cannot be opened.
    """
    return loads_pickle(files.read_bytes(path), path, allowlist)


def _check_compression(content: bytes) -> None:
    """Raise UnpickleError for compressions of joblib that are not read."""
    for start, name in _NOT_READ.items():
        if content.startswith(start):
            raise UnpickleError(f"it is compressed by {name}: write it again with compress=('zlib', 3)")


def loads_pickle(content: bytes, path: Path, allowlist: unpickle_arrays.Allowlist):
    """Read the content of a joblib file (see `load_pickle`); `path` is the name in errors."""
    try:
        _check_compression(content)
        # The first bytes of zlib and of gzip; a pickle begins with others.
        if content[:1] == b"\x78" or content[:2] == b"\x1f\x8b":
            content = decompress.decompress(content)
        budget = unpickle_arrays.Budget(len(content))
        with _no_garbage_collection():
            found = _Unpickler(io.BytesIO(content), path, allowlist, budget).load()
        budget.require_all_complete()
        return found
    except ForbiddenGlobalError as error:
        raise ForbiddenGlobalError(f"{path}: {error}") from error
    except _DAMAGE as error:  # UnpickleError and DecompressError are among them, as ValueErrors
        kind = (
            ""
            if isinstance(error, UnpickleError | decompress.DecompressError)
            else f"{type(error).__name__}: "
        )
        raise UnpickleError(f"{path} cannot be read ({kind}{error})") from error
