"""What may be made from a pickle of data frames, beside the arrays of `pickled`: see there.

pandas and pyarrow are slow to import, and are so only where a file needs them.
"""

import math

import numpy as np

from starjax.io import unpickle_arrays

INDEX = unpickle_arrays.Kind("Index")
RANGE_INDEX = unpickle_arrays.Kind("RangeIndex")


def _new_frame(room):
    import pandas as pd

    return room.begin(pd.DataFrame.__new__(pd.DataFrame))


def _set_frame(room, frame, state):
    from pandas.core.internals.managers import BlockManager

    unpickle_arrays.need(type(state) is dict and type(state["_mgr"]) is BlockManager, "data frame")
    flags = {"allows_duplicate_labels": True}
    frame.__setstate__(
        {"_mgr": state["_mgr"], "_typ": "dataframe", "_metadata": [], "attrs": {}, "_flags": flags}
    )


def _manager(room, blocks, axes):
    import pandas as pd
    from pandas.core.internals.blocks import Block
    from pandas.core.internals.managers import BlockManager

    unpickle_arrays.need(
        type(blocks) is tuple and all(isinstance(block, Block) for block in blocks), "data frame"
    )
    unpickle_arrays.need(
        type(axes) is list and len(axes) == 2 and all(isinstance(axis, pd.Index) for axis in axes),
        "data frame",
    )
    room.take(16 * len(axes[0]))
    manager = BlockManager(blocks, list(axes))  # checks the lengths of blocks against those of axes
    unpickle_arrays.need(
        len(manager.blknos) == len(axes[0]), "data frame"
    )  # and here, that every column is in one block
    return manager


def _block(room, values, placement, num_axis):
    from pandas._libs.internals import _unpickle_block
    from pandas.arrays import ArrowStringArray

    room.need_whole(values)
    if type(placement) is slice:
        unpickle_arrays.need(placement.step is None or placement.step > 0, "data frame")
        num = len(range(placement.start, placement.stop, placement.step or 1))
    else:
        room.need_whole(placement)
        unpickle_arrays.need(
            type(placement) is np.ndarray and placement.ndim == 1 and placement.dtype.kind == "i",
            "data frame",
        )
        num = len(placement)
        room.take(8 * num)
    if type(values) is np.ndarray:
        unpickle_arrays.need(values.ndim == 2 and len(values) == num, "data frame")
    else:
        unpickle_arrays.need(type(values) is ArrowStringArray and num == 1, "data frame")
    unpickle_arrays.need(num_axis == 2, "data frame")
    return _unpickle_block(values, placement, 2)


def _index(room, kind, state):
    import pandas as pd
    from pandas.arrays import ArrowStringArray

    unpickle_arrays.need(type(state) is dict and unpickle_arrays.is_key(state["name"]), "index")
    if kind is RANGE_INDEX:
        unpickle_arrays.need(state.keys() <= {"name", "start", "stop", "step"}, "index")
        start, stop, step = (room.count(state[key]) for key in ("start", "stop", "step"))
        return pd.RangeIndex(start, stop, step, name=state["name"])
    unpickle_arrays.need(kind is INDEX and state.keys() <= {"name", "data"}, "index")
    values = state["data"]
    unpickle_arrays.need(type(values) in (np.ndarray, ArrowStringArray), "index")
    room.need_whole(values)
    unpickle_arrays.need(values.dtype != object or all(map(unpickle_arrays.is_key, values)), "index")
    room.take(8 * len(values))
    return pd.Index(values, dtype=values.dtype, name=state["name"])


def _string_dtype(room, storage="python", na_value=math.nan):
    import pandas as pd

    unpickle_arrays.need(storage in ("python", "pyarrow") and type(na_value) is float, "type of text")
    return pd.StringDtype(storage, na_value)


def _new_text(room):
    from pandas.arrays import ArrowStringArray

    return room.begin(ArrowStringArray.__new__(ArrowStringArray))


def _set_text(room, text, state):
    import pandas as pd
    import pyarrow as pa

    unpickle_arrays.need(type(state) is dict and type(state["_dtype"]) is pd.StringDtype, "column of text")
    unpickle_arrays.need(
        isinstance(state["_pa_array"], pa.StringArray | pa.LargeStringArray), "column of text"
    )
    text.__setstate__({"_pa_array": state["_pa_array"], "_dtype": state["_dtype"]})
    len(text)


def _arrow_type(room, name):
    import pyarrow as pa

    unpickle_arrays.need(name in ("string", "large_string"), "column of text")
    return pa.type_for_alias(name)


def _arrow_buffer(room, content):
    import pyarrow as pa

    unpickle_arrays.need(type(content) in (bytes, bytearray), "column of text")
    return pa.py_buffer(content)


def _arrow_array(room, parts):
    import pyarrow as pa

    kind, length, _, offset, buffers, children, dictionary = parts
    unpickle_arrays.need(
        isinstance(kind, pa.DataType) and list(children) == [] and dictionary is None, "column of text"
    )
    unpickle_arrays.need(type(buffers) is list and len(buffers) == 3, "column of text")
    unpickle_arrays.need(
        all(buffer is None or isinstance(buffer, pa.Buffer) for buffer in buffers), "column of text"
    )
    room.take(sum(buffer.size for buffer in buffers if buffer is not None))
    try:
        made = pa.Array.from_buffers(kind, room.count(length), buffers, offset=room.count(offset))
        made.validate(full=True)
    except pa.ArrowException as error:
        raise unpickle_arrays.UnpickleError(
            f"it holds a forged or damaged column of text ({error!s:.200})"
        ) from error
    return made


def set_state(room: unpickle_arrays.Room, target, state) -> None:
    """Gives an object its state, unless it has one."""
    room.finish(target)
    if isinstance(target, np.dtype):
        unpickle_arrays.set_dtype(room, target, *state)
    elif type(target) is np.ndarray:
        unpickle_arrays.set_array(room, target, *state)
    elif type(target).__name__ == "DataFrame":
        _set_frame(room, target, state)
    else:
        _set_text(room, target, state)


_PANDAS = {
    ("pandas._libs.internals", "_unpickle_block"): unpickle_arrays.Maker("_unpickle_block", _block),
    ("pandas.core.internals.managers", "BlockManager"): unpickle_arrays.Maker("BlockManager", _manager),
    ("pandas.core.indexes.base", "_new_Index"): unpickle_arrays.Maker("_new_Index", _index),
    ("pyarrow.lib", "_restore_array"): unpickle_arrays.Maker("_restore_array", _arrow_array),
    ("pyarrow.lib", "type_for_alias"): unpickle_arrays.Maker("type_for_alias", _arrow_type),
    ("pyarrow.lib", "py_buffer"): unpickle_arrays.Maker("py_buffer", _arrow_buffer),
}
# As pandas 2 and 3 call them.
for _module in ("pandas", "pandas.core.frame"):
    _PANDAS[_module, "DataFrame"] = unpickle_arrays.Kind("DataFrame", _new_frame)
for _module in ("pandas", "pandas.core.indexes.base"):
    _PANDAS[_module, "Index"] = INDEX
for _module in ("pandas", "pandas.core.indexes.range"):
    _PANDAS[_module, "RangeIndex"] = RANGE_INDEX
for _module in ("pandas", "pandas.core.arrays.string_"):
    _PANDAS[_module, "StringDtype"] = unpickle_arrays.Maker("StringDtype", _string_dtype)
for _module in ("pandas.arrays", "pandas.core.arrays.string_arrow"):
    _PANDAS[_module, "ArrowStringArray"] = unpickle_arrays.Kind("ArrowStringArray", _new_text)

TABLES: unpickle_arrays.Admitted = unpickle_arrays.ARRAYS | _PANDAS
"""What arrays and data frames are made of, in the spellings of numpy 1 and 2, pandas 2 and 3."""
