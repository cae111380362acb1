"""Data frames from pickles, each created by a function that checks its arguments; see `unpickle_arrays`.

pandas and pyarrow are slow to import, and only imported when a file needs them.
"""

import math

import numpy as np

from starjax.io import unpickle_arrays

INDEX = unpickle_arrays.AllowedClass("Index")
RANGE_INDEX = unpickle_arrays.AllowedClass("RangeIndex")


def _new_frame(budget):
    import pandas as pd

    return budget.begin(pd.DataFrame.__new__(pd.DataFrame))


def _set_frame(budget, frame, state):
    from pandas.core.internals.managers import BlockManager

    unpickle_arrays.require(type(state) is dict and type(state["_mgr"]) is BlockManager, "data frame")
    flags = {"allows_duplicate_labels": True}
    # Only the columns are the file's; what else pandas keeps in a frame are its defaults.
    frame.__setstate__(
        {"_mgr": state["_mgr"], "_typ": "dataframe", "_metadata": [], "attrs": {}, "_flags": flags}
    )


def _manager(budget, blocks, axes):
    import pandas as pd
    from pandas.core.internals.blocks import Block
    from pandas.core.internals.managers import BlockManager

    unpickle_arrays.require(
        type(blocks) is tuple and all(isinstance(block, Block) for block in blocks), "data frame"
    )
    unpickle_arrays.require(
        type(axes) is list and len(axes) == 2 and all(isinstance(axis, pd.Index) for axis in axes),
        "data frame",
    )
    budget.reserve(16 * len(axes[0]))
    manager = BlockManager(blocks, list(axes))  # compares the lengths of blocks and axes
    # Every column is in one block.
    unpickle_arrays.require(len(manager.blknos) == len(axes[0]), "data frame")
    return manager


def _block(budget, values, placement, num_axis):
    from pandas._libs.internals import _unpickle_block
    from pandas.arrays import ArrowStringArray

    budget.require_complete(values)
    # The positions of the columns in the frame: consecutive ones are a slice.
    if type(placement) is slice:
        unpickle_arrays.require(placement.step is None or placement.step > 0, "data frame")
        num = len(range(placement.start, placement.stop, placement.step or 1))
    else:
        budget.require_complete(placement)
        unpickle_arrays.require(
            type(placement) is np.ndarray and placement.ndim == 1 and placement.dtype.kind == "i",
            "data frame",
        )
        num = len(placement)
        budget.reserve(8 * num)
    if type(values) is np.ndarray:
        unpickle_arrays.require(values.ndim == 2 and len(values) == num, "data frame")
    else:
        unpickle_arrays.require(type(values) is ArrowStringArray and num == 1, "data frame")
    unpickle_arrays.require(num_axis == 2, "data frame")
    return _unpickle_block(values, placement, 2)


def _index(budget, kind, state):
    import pandas as pd
    from pandas.arrays import ArrowStringArray

    unpickle_arrays.require(type(state) is dict and unpickle_arrays.is_key(state["name"]), "index")
    if kind is RANGE_INDEX:
        unpickle_arrays.require(state.keys() <= {"name", "start", "stop", "step"}, "index")
        start, stop, step = (budget.check_count(state[key]) for key in ("start", "stop", "step"))
        return pd.RangeIndex(start, stop, step, name=state["name"])
    unpickle_arrays.require(kind is INDEX and state.keys() <= {"name", "data"}, "index")
    values = state["data"]
    unpickle_arrays.require(type(values) in (np.ndarray, ArrowStringArray), "index")
    budget.require_complete(values)
    unpickle_arrays.require(values.dtype != object or all(map(unpickle_arrays.is_key, values)), "index")
    budget.reserve(8 * len(values))
    return pd.Index(values, dtype=values.dtype, name=state["name"])


def _string_dtype(budget, storage="python", na_value=math.nan):
    import pandas as pd

    unpickle_arrays.require(storage in ("python", "pyarrow") and type(na_value) is float, "type of text")
    return pd.StringDtype(storage, na_value)


def _new_text(budget):
    from pandas.arrays import ArrowStringArray

    return budget.begin(ArrowStringArray.__new__(ArrowStringArray))


def _set_text(budget, text, state):
    import pandas as pd
    import pyarrow as pa

    unpickle_arrays.require(type(state) is dict and type(state["_dtype"]) is pd.StringDtype, "column of text")
    unpickle_arrays.require(
        isinstance(state["_pa_array"], pa.StringArray | pa.LargeStringArray), "column of text"
    )
    text.__setstate__({"_pa_array": state["_pa_array"], "_dtype": state["_dtype"]})
    len(text)  # raises AttributeError if there is no array


def _arrow_type(budget, name):
    import pyarrow as pa

    unpickle_arrays.require(name in ("string", "large_string"), "column of text")
    return pa.type_for_alias(name)


def _arrow_buffer(budget, content):
    import pyarrow as pa

    unpickle_arrays.require(type(content) in (bytes, bytearray), "column of text")
    return pa.py_buffer(content)


def _arrow_array(budget, parts):
    import pyarrow as pa

    kind, length, _, offset, buffers, children, dictionary = parts
    unpickle_arrays.require(
        isinstance(kind, pa.DataType) and list(children) == [] and dictionary is None, "column of text"
    )
    unpickle_arrays.require(type(buffers) is list and len(buffers) == 3, "column of text")
    unpickle_arrays.require(
        all(buffer is None or isinstance(buffer, pa.Buffer) for buffer in buffers), "column of text"
    )
    budget.reserve(sum(buffer.size for buffer in buffers if buffer is not None))
    try:
        array = pa.Array.from_buffers(
            kind, budget.check_count(length), buffers, offset=budget.check_count(offset)
        )
        array.validate(full=True)  # offsets beyond the buffers, which pyarrow would follow
    except pa.ArrowException as error:
        raise unpickle_arrays.UnpickleError(
            f"it contains a forged or damaged column of text ({error!s:.200})"
        ) from error
    return array


def set_state(budget: unpickle_arrays.Budget, target, state) -> None:
    """Set the state of an object that has none yet."""
    budget.finish(target)
    if isinstance(target, np.dtype):
        unpickle_arrays.set_dtype(budget, target, *state)
    elif type(target) is np.ndarray:
        unpickle_arrays.set_array(budget, target, *state)
    elif type(target).__name__ == "DataFrame":
        _set_frame(budget, target, state)
    else:
        _set_text(budget, target, state)


_PANDAS: dict[tuple[str, str], unpickle_arrays.AllowedClass | unpickle_arrays.AllowedFunction] = {
    ("pandas._libs.internals", "_unpickle_block"): unpickle_arrays.AllowedFunction("_unpickle_block", _block),
    ("pandas.core.internals.managers", "BlockManager"): unpickle_arrays.AllowedFunction(
        "BlockManager", _manager
    ),
    ("pandas.core.indexes.base", "_new_Index"): unpickle_arrays.AllowedFunction("_new_Index", _index),
    ("pyarrow.lib", "_restore_array"): unpickle_arrays.AllowedFunction("_restore_array", _arrow_array),
    ("pyarrow.lib", "type_for_alias"): unpickle_arrays.AllowedFunction("type_for_alias", _arrow_type),
    ("pyarrow.lib", "py_buffer"): unpickle_arrays.AllowedFunction("py_buffer", _arrow_buffer),
}
# The module names of pandas 2 and 3.
for _module in ("pandas", "pandas.core.frame"):
    _PANDAS[_module, "DataFrame"] = unpickle_arrays.AllowedClass("DataFrame", _new_frame)
for _module in ("pandas", "pandas.core.indexes.base"):
    _PANDAS[_module, "Index"] = INDEX
for _module in ("pandas", "pandas.core.indexes.range"):
    _PANDAS[_module, "RangeIndex"] = RANGE_INDEX
for _module in ("pandas", "pandas.core.arrays.string_"):
    _PANDAS[_module, "StringDtype"] = unpickle_arrays.AllowedFunction("StringDtype", _string_dtype)
for _module in ("pandas.arrays", "pandas.core.arrays.string_arrow"):
    _PANDAS[_module, "ArrowStringArray"] = unpickle_arrays.AllowedClass("ArrowStringArray", _new_text)

# By the name that comes first in the pickle: what a table contains that is not read, and how to convert it.
_NOT_READ = {
    "__pyx_unpickle_NDArrayBacked": (
        "a column of pandas type category or datetime",
        "convert it to text or numbers, as with .astype(str)",
    ),
    "BooleanArray": ("a column of pandas type boolean", "convert it with .astype(bool)"),
    "IntegerArray": ("a column of a pandas type such as Int64", "convert it with .astype(int)"),
    "FloatingArray": ("a column of a pandas type such as Float64", "convert it with .astype(float)"),
    "MultiIndex": ("an index of several levels", "remove it with .reset_index(drop=True)"),
}


def describe_not_read(module: str, name: str) -> str:
    """Return what a table of pandas contains that is not read and how to write it; '' for other names."""
    is_table = name in _NOT_READ or name.endswith(("Array", "Dtype", "Index", "NA", "Series"))
    if module.split(".")[0] != "pandas" or not is_table:
        return ""
    other = f"{module:.80}.{name:.80}", "convert it to plain numbers, booleans or text"
    what, how = _NOT_READ.get(name, other)
    return f"it contains {what}, which is not read: {how}, and write the file again"


TABLES: unpickle_arrays.Allowlist = dict(unpickle_arrays.ARRAYS) | _PANDAS
"""Arrays and data frames, by the module names of numpy 1 and 2, pandas 2 and 3."""
