"""Reading joblib files without running what is in them.

A joblib file is a pickle: by nature a program that names functions to call. The reader here knows only the names on a
list, gives for each what stands in `pickled` or `pickled_tables`, and refuses any other before it is looked up. So no file runs a
command, and none makes more than a fixed multiple of its own size.
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
    OSError,  # of gzip
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)

# Sets are in no data file; protocols 2 to 5 never write the others, and some of them make numbers without a bound.
_UNUSED = [
    getattr(pickle, name)[0]
    for name in ("INT", "LONG", "LONG4", "INST", "OBJ", "NEWOBJ_EX", "EMPTY_SET", "ADDITEMS", "FROZENSET")
]


class _Unpickler(numpy_pickle.NumpyUnpickler):
    def __init__(self, file, path: Path, admitted: unpickle_arrays.Admitted, room: unpickle_arrays.Room):
        super().__init__(str(path), file, ensure_native_byte_order=True)
        self.admitted, self.room = admitted, room

    def find_class(self, module, name):
        if (module, name) not in self.admitted:
            raise ForbiddenGlobalError(
                f"it asks for {module:.80}.{name:.80}, which no data file needs: nothing of it was run. "
                "Do not use this file unless you know where it comes from"
            )
        return self.admitted[module, name]

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, unpickle_arrays.Maker):
            raise ForbiddenGlobalError("it would call what may not be called: nothing of it was done")
        self.stack[-1] = function.make(self.room, *arguments)

    def load_newobj(self):
        arguments, kind = self.stack.pop(), self.stack[-1]
        if not isinstance(kind, unpickle_arrays.Kind) or kind.new is None or arguments != ():
            raise ForbiddenGlobalError("it would make what may not be made: nothing of it was done")
        self.stack[-1] = kind.new(self.room)

    def load_build(self):
        """Sets the state of an instance that has none yet."""
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, unpickle_arrays.ArrayWrapper):
            unpickle_tables.set_state(self.room, target, state)
            return
        left = len(self.file_handle.getbuffer()) - self.file_handle.tell()
        target.__dict__.update(unpickle_arrays.check_wrapper(self.room, state, left))
        if target.dtype.hasobject:
            # An array of objects is a pickle within the pickle; the same rules hold in there.
            inner = _Unpickler(self.file_handle, self.filename, self.admitted, self.room)
            self.stack[-1] = inner.load()
        else:
            self.stack[-1] = target.read(self, self.ensure_native_byte_order)

    def load_frame(self):
        """Passes over a frame's length: the content is in memory, a frame would only be one more copy."""
        self.read(8)

    def load_bytearray8(self):
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(self.room.count(length))))

    def load_append(self):
        value = self.stack.pop()
        unpickle_arrays.need(type(self.stack[-1]) is list, "list")
        self.stack[-1].append(value)

    def load_appends(self):
        values = self.pop_mark()
        unpickle_arrays.need(type(self.stack[-1]) is list, "list")
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
        unpickle_arrays.need(type(self.stack[-1]) is dict and all(map(unpickle_arrays.is_key, keys)), "dict")
        self.stack[-1].update(zip(keys, items[1::2], strict=True))

    def load_unused(self):
        raise ForbiddenGlobalError("it holds what no data file does, a set or an instance of some class")

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
    """What a pickle builds is all in use: to search it for garbage again and again takes a quarter of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load_pickle(path: Path, admitted: unpickle_arrays.Admitted):
    """Reads a joblib file, plain or compressed by zlib or gzip, admitting only the globals listed.

    Raises:
      ForbiddenGlobalError: the file names another global; raised before that is imported.
      UnpickleError: the file is damaged, or would take much more memory than a file of its size.
      OSError, files.NoFileError: it cannot be opened.
    """
    return loads_pickle(files.read_bytes(path), path, admitted)


def loads_pickle(content: bytes, path: Path, admitted: unpickle_arrays.Admitted):
    """As `load`, from the content of the file; `path` is what errors name."""
    try:
        if content[:1] == b"\x78" or content[:2] == b"\x1f\x8b":
            content = decompress.decompress(content)
        room = unpickle_arrays.Room(len(content))
        with _no_garbage_collection():
            found = _Unpickler(io.BytesIO(content), path, admitted, room).load()
        room.need_nothing_unfinished()
        return found
    except ForbiddenGlobalError as error:
        raise ForbiddenGlobalError(f"{path}: {error}") from error
    except _DAMAGE as error:  # UnpickleError and InflateError among them
        kind = (
            ""
            if isinstance(error, UnpickleError | decompress.DecompressError)
            else f"{type(error).__name__}: "
        )
        raise UnpickleError(f"{path} cannot be read ({kind}{error})") from error
