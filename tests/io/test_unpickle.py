"""Joblib files are read without running code from them."""

import pickle
import zlib

import joblib
import numpy as np
import pandas as pd
import pytest

from starjax.io import unpickle


class Attack:
    """An object that is pickled as a call of os.system, which creates a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.mark}",)


def nested(attack):
    return {"deep": [np.array([attack, None], dtype=object)]}


@pytest.mark.parametrize("wrap", [lambda a: a, nested, lambda a: pd.DataFrame({"name": [a, "b"]})])
@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3)])
def test_a_command_is_refused_before_it_runs(tmp_path, wrap, compress):
    mark, path = tmp_path / "mark", tmp_path / "evil-obs.joblib"
    joblib.dump(wrap(Attack(mark)), path, compress=compress)
    with pytest.raises(unpickle.ForbiddenGlobalError, match=r"evil-obs\.joblib: it asks for posix\.system"):
        unpickle.load_pickle(path, unpickle.TABLES)
    assert not mark.exists()
    joblib.load(path)  # joblib itself runs the command
    assert mark.exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.view\x93.",  # a dotted name
        b"(S'ls'\nios\nsystem\n.",
        b"cpandas\nread_pickle\n(S'x'\ntR.",
        b"cnumpy\nload\n.",
        b"cjoblib.numpy_pickle\nNDArrayWrapper\n.",
    ],
)
def test_names_outside_the_allowlist_are_refused(payload):
    with pytest.raises(unpickle.ForbiddenGlobalError):
        unpickle.loads_pickle(payload, "some.joblib", unpickle.TABLES)


@pytest.mark.parametrize(
    "payload",
    [
        b"cpandas\nIndex\n(N(S'to_numpy'\ncbuiltins\nlist\ndtb.",
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n(N(S'read_array'\ncbuiltins\nslice\ndtb.",
        b"cpandas.core.internals.blocks\nnew_block\n(N(S'__defaults__'\n(ttdtb.",
        b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81(dS'read'\ncbuiltins\nlist\nsb.",
    ],
)
def test_a_pickle_changes_no_class_and_no_function(payload):
    before = (
        pd.Index.to_numpy,
        joblib.numpy_pickle.NumpyArrayWrapper.read_array,
        pd.core.internals.blocks.new_block.__defaults__,
    )
    with pytest.raises(unpickle.UnpickleError):
        unpickle.loads_pickle(payload, "some.joblib", unpickle.TABLES)
    after = (
        pd.Index.to_numpy,
        joblib.numpy_pickle.NumpyArrayWrapper.read_array,
        pd.core.internals.blocks.new_block.__defaults__,
    )
    assert after == before


def test_persistent_ids_and_extensions_are_refused():
    for payload in (b"Pid\n.", b"\x80\x02\x82\x01."):
        with pytest.raises(unpickle.UnpickleError, match="cannot be read"):
            unpickle.loads_pickle(payload, "some.joblib", unpickle.TABLES)


def test_plain_allows_no_names(tmp_path):
    joblib.dump({"a": [1, 2.5, "x", None, (True,)]}, tmp_path / "plain.joblib")
    assert unpickle.load_pickle(tmp_path / "plain.joblib", unpickle.PLAIN) == {
        "a": [1, 2.5, "x", None, (True,)]
    }
    joblib.dump(np.ones(3), tmp_path / "array.joblib")
    with pytest.raises(unpickle.ForbiddenGlobalError):
        unpickle.load_pickle(tmp_path / "array.joblib", unpickle.PLAIN)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("compress", [0, 3])
def test_tables_are_read_as_they_were_written(tmp_path, protocol, compress):
    frame = pd.DataFrame(
        {
            "name": ["a", None, "c"],
            "flag": [True, False, True],
            "x": [1.0, 2.0, 3.0],
            "n": np.arange(3),
            "text": pd.Series(["p", "q", "r"]),
            "mixed": pd.Series([(1, 2), None, "s"], dtype=object),
        }
    )
    content = {
        (50, 0, 0): {1.5: {"stars": frame, "t": np.float64(2), "half": np.arange(6, dtype=np.float32)[::2]}}
    }
    joblib.dump(content, tmp_path / "t.joblib", protocol=protocol, compress=compress)
    found = unpickle.load_pickle(tmp_path / "t.joblib", unpickle.TABLES)[50, 0, 0][1.5]
    pd.testing.assert_frame_equal(found["stars"], frame)
    assert found["t"] == 2
    np.testing.assert_array_equal(found["half"], [0, 2, 4])


def test_truncated_files_are_refused_by_name(tmp_path):
    joblib.dump({"a": pd.DataFrame({"x": np.arange(9.0), "s": list("abcdefghi")})}, tmp_path / "t.joblib")
    whole = (tmp_path / "t.joblib").read_bytes()
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(unpickle.UnpickleError, match=r"t\.joblib"):
            unpickle.loads_pickle(whole[:length], "t.joblib", unpickle.TABLES)


def test_flipped_bits_are_refused_or_change_nothing(tmp_path):
    content = pickle.dumps({"a": [1, 2, {"b": "c"}], "x": "y" * 30})
    compressed = zlib.compress(content)
    for position in range(len(compressed)):
        damaged = bytearray(compressed)
        damaged[position] ^= 0x10
        try:
            found = unpickle.loads_pickle(bytes(damaged), "t.joblib", unpickle.PLAIN)
        except unpickle.UnpickleError:
            continue
        assert found == pickle.loads(content)  # the bit has no meaning


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"name": pd.Categorical(["a"])}), r"category or datetime, .*: convert it to text"),
        (
            pd.DataFrame({"flag": pd.array([True, None])}),
            r"type boolean, .*: convert it with \.astype\(bool\)",
        ),
        (pd.DataFrame({"n": pd.array([1, None])}), r"such as Int64, .*: convert it with \.astype\(int\)"),
        (
            pd.DataFrame({"x": pd.array([1.5, None])}),
            r"such as Float64, .*: convert it with \.astype\(float\)",
        ),
        (pd.DataFrame({"x": [1]}, index=[["a"], ["b"]]), r"several levels, .*: remove it with \.reset_index"),
        (pd.Series([1]), r"pandas\S*\.Series, .*: convert it to plain numbers, booleans or text"),
    ],
)
def test_what_pandas_writes_and_we_do_not_read_is_named_with_the_mend(tmp_path, table, said):
    joblib.dump(table, tmp_path / "t.joblib")
    with pytest.raises(unpickle.ForbiddenGlobalError, match=rf"t\.joblib: it contains .*{said}"):
        unpickle.load_pickle(tmp_path / "t.joblib", unpickle.TABLES)


@pytest.mark.parametrize("compress", ["bz2", "xz", "lzma"])
def test_a_compression_that_is_not_read_is_named(tmp_path, compress):
    joblib.dump({"a": 1}, tmp_path / "file.joblib", compress=(compress, 3))
    with pytest.raises(unpickle.UnpickleError, match=rf"compressed by {compress}: write it again with"):
        unpickle.load_pickle(tmp_path / "file.joblib", unpickle.PLAIN)
