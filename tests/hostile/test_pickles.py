"""Pickles are refused that would run code, crash the process, or fill the memory."""

import gzip
import pickle
import struct
import zlib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest

from starjax.io import decompress, unpickle
from tests.hostile import readers


def glob(name):
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


ARRAY = glob("numpy._core.multiarray _reconstruct") + glob("numpy ndarray") + b"K\x00\x85C\x01b\x87R"
WRAPPER = glob("joblib.numpy_pickle NumpyArrayWrapper") + b")\x81"
FRAME = glob("pandas DataFrame") + b")\x81"


def dtype(name):
    return glob("numpy dtype") + b"X" + struct.pack("<I", len(name)) + name + b"\x89\x88\x87R"


def state_of_array(num, kind, values):
    return b"(K\x01J" + struct.pack("<i", num) + b"\x85" + dtype(kind) + b"\x89" + values + b"tb"


def wrapped(num, kind):
    entries = {b"shape": b"\x8a\x08" + struct.pack("<q", num) + b"\x85", b"dtype": dtype(kind)}
    entries |= {b"subclass": glob("numpy ndarray"), b"order": b"X\x01\x00\x00\x00C"}
    keyed = b"".join(b"X" + struct.pack("<I", len(key)) + key + value for key, value in entries.items())
    return WRAPPER + b"}(" + keyed + b"ub"


ATTACKS = {
    # Names, calls and changes.
    "calls a class": (glob("pandas DataFrame") + b")R", "may not be called"),
    "calls text": (b"X\x01\x00\x00\x00x)R", "may not be called"),
    "calls an array's constructor": (
        glob("numpy ndarray") + b"J\xff\xff\xff\x7f\x85\x85R",
        "may not be called",
    ),
    "makes an array": (glob("numpy ndarray") + b"J\xff\xff\xff\x7f\x85\x85\x81", "may not be created"),
    "makes with keywords": (glob("pandas DataFrame") + b")}\x92", "no data file"),
    "makes an instance of protocol 0": (b"(" + glob("pandas DataFrame") + b"o", "no data file"),
    "changes a class": (glob("pandas DataFrame") + b"}b", "would change"),
    "changes a list": (b"]}b", "would change"),
    "changes what stands": (
        ARRAY + b"q\x01" + state_of_array(1, b"i1", b"C\x01x") + b"h\x01" + b"}b",
        "would change",
    ),
    "sets items of a table": (FRAME + b"K\x00K\x00s", "forged"),
    "appends to an index": (glob("pandas Index") + b"Na", "forged"),
    "persistent id": (b"Px\n", "cannot be read"),
    "extension": (b"\x82\x01", "cannot be read"),
    "buffer from outside": (b"\x97", "cannot be read"),
    "codec": (glob("_codecs encode") + b"X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13\x86R", "forged"),
    "table without content": (FRAME, "without content"),
    # Large objects.
    "bytearray by call": (glob("builtins bytearray") + b"J\xff\xff\xff\x7f\x85R", "forged"),
    "bytearray by opcode": (b"\x96" + struct.pack("<Q", 10**11), "more elements"),
    "text that is not there": (b"\x8d" + struct.pack("<Q", 10**11), "cannot be read"),
    "range": (
        glob("builtins list") + glob("builtins range") + b"J\xff\xff\xff\x7f\x85R\x85R",
        r"builtins\.list",
    ),
    "number without end": (b"\x8b" + struct.pack("<i", 5000) + bytes(4999) + b"\x01", "no data file"),
    "wrapper of more than there is": (wrapped(10**12, b"f8"), "more elements"),
    "wrapper of a negative length": (wrapped(-1, b"f8"), "forged"),
    "wrapper of a structure": (wrapped(1, b"V8"), "forged"),
    "wrapper of no bytes each": (wrapped(10**12, b"S0"), "more elements"),
    "array of more than there is": (ARRAY + state_of_array(2**31 - 1, b"i1", b"C\x01x"), "more elements"),
    "array of objects that are not there": (ARRAY + state_of_array(20, b"O8", b"]"), "forged"),
    "array of a structure with objects": (ARRAY + state_of_array(1, b"f8,O", b"C\x08" + bytes(8)), "forged"),
    "number from too few bytes": (
        glob("numpy._core.multiarray scalar") + dtype(b"f8") + b"C\x01x\x86R",
        "forged",
    ),
    "long slice": (glob("builtins slice") + b"K\x00J\xff\xff\xff\x7fN\x87R", "more elements"),
    "set": (b"\x8f", "a set"),
    # Deeply nested objects, which Python hashes and frees recursively without a limit.
    "deep key": (b"})" + b"\x85" * 300_000 + b"Ns", "forged"),
    "deep key of a set": (b"(" + b")" + b"\x85" * 300_000 + b"\x91", "a set"),
    "endless marks": (b"(" * 300_000, "cannot be read"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(refused, name):
    program, said = ATTACKS[name]
    refused("any.joblib", b"\x80\x04" + program + b".", said)


@pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
def test_a_compression_bomb_is_refused(refused, compress):
    content = b"\x80\x04\x8e" + struct.pack("<Q", 10**8) + bytes(10**8) + b"."
    refused("any.joblib", compress(content, 1), r"expand to more than \d+, which")


def test_real_caches_are_far_from_the_limit(caches_folder):
    for path in caches_folder.iterdir():
        content = path.read_bytes()
        assert 4 * len(decompress.decompress(content)) < decompress.MAX_RATIO * len(content)


def test_copies_of_the_same_part_are_limited(refused):
    """Each step takes a dozen bytes of the file and copies a thousand."""
    once = ARRAY + b"(K\x01M\xe8\x03\x85h\x01\x89h\x02tb0"
    program = dtype(b"i1") + b"q\x010B" + struct.pack("<I", 1000) + bytes(1000) + b"q\x020" + once * 20_000
    refused("any.joblib", b"\x80\x04" + program + b"N.", "much more memory")


def test_arrays_within_arrays_are_refused(refused):
    """They are freed recursively: a hundred thousand overflow the stack."""
    inner = np.array([None], dtype=object)
    inner[0] = np.array([1, None], dtype=object)
    refused("any.joblib", pickle.dumps(inner, 2), "array of arrays")


@pytest.mark.parametrize("offsets", [(0, 10**6, 2), (0, -5, 2), (5, 0, 2), (0, 1, 10**6)])
def test_columns_of_text_beyond_their_bytes_are_refused(refused, offsets):
    content = pickle.dumps(pd.DataFrame({"name": ["a", "b"]}), 5)
    genuine = struct.pack("<3q", 0, 1, 2)
    assert genuine in content
    refused("any.joblib", content.replace(genuine, struct.pack("<3q", *offsets)), "cannot be read")


def test_tables_whose_parts_do_not_fit_are_refused(refused):
    content = pickle.dumps(pd.DataFrame({"x": [1.0, 2.0], "y": [3, 4]}), 4)
    stop = b"\x8c\x04stop\x94K\x02"
    assert stop in content
    refused("any.joblib", content.replace(stop, stop[:-1] + b"\x05"), "cannot be read")


@pytest.mark.parametrize("protocol", [2, 5])
def test_tables_of_older_libraries_are_read(protocol):
    """The files were written by numpy 1.26 and pandas 2.2."""
    path = Path(__file__).parents[1] / f"data/pickles/pandas2-numpy1-protocol{protocol}.joblib"
    found = unpickle.load_pickle(path, unpickle.TABLES)[50, 0, 0][1.5]
    assert found["stars"]["name"].tolist() == ["a", None, "c"]
    assert found["sub"]["n"].tolist() == [0, 2]
    assert found["b"] == b"xyz"
    np.testing.assert_array_equal(found["big"], [0, 1, 2])
    np.testing.assert_array_equal(found["obj"], [1, None, "a"])


def spoilt(**header):
    content = readers.cache_content()
    content[50, 0, 0][1.5]["header"] |= header
    return content


def doubled():
    """Return a nested list of 2^40 elements, made of forty lists."""
    found = ["x"]
    for _ in range(40):
        found = [found, found]
    return found


def with_key(position, times=None):
    return {position: times or readers.cache_content()[50, 0, 0]}


CACHES = {
    "endless list": (lambda: spoilt(mass=doubled()), "mass=a list"),
    "too large for floats": (lambda: spoilt(mass=10**400), "mass=1000"),
    "too large for a shard": (lambda: spoilt(mass=1e300), "mass=1e"),
    "text": (lambda: spoilt(time="now"), "time='now'"),
    "place beyond numbers": (lambda: with_key((10**400, 0, 0)), "three numbers"),
    "place that is none": (lambda: with_key((float("nan"), 0, 0)), "three numbers"),
    "time that is none": (lambda: with_key((1, 2, 3), {1: spoilt_time()}), "invalid `time`"),
    "no table": (lambda: with_key((1, 2, 3), {1: {"time": 1.0, "header": {}, "stars": [1]}}), "DataFrame"),
    "no dict": (lambda: [1], "list instead"),
}


def spoilt_time():
    return readers.cache_content()[50, 0, 0][1.5] | {"time": 10**400}


@pytest.mark.parametrize("name", CACHES)
def test_invalid_caches_are_refused(refused, tmp_path, name):
    make, said = CACHES[name]
    joblib.dump(make(), tmp_path / "made.joblib")
    refused("r-obs.joblib", (tmp_path / "made.joblib").read_bytes(), said)


def test_one_snapshot_at_very_many_positions_is_refused(refused, tmp_path):
    times = dict.fromkeys(map(float, range(300)), readers.cache_content()[50, 0, 0][1.5])
    joblib.dump({(float(i), 0.0, 0.0): times for i in range(300)}, tmp_path / "made.joblib")
    refused("r-obs.joblib", (tmp_path / "made.joblib").read_bytes(), "snapshots or more")


def test_one_table_in_a_thousand_snapshots_is_refused(refused, tmp_path):
    snapshot = readers.cache_content()[50, 0, 0][1.5]
    snapshot["stars"] = pd.DataFrame(
        {"x": np.ones(10_000), "name_length": 1, "is_within_2x_r_tidal": np.ones(10_000, bool)}
    )
    joblib.dump({(1, 2, 3): dict.fromkeys(map(float, range(1000)), snapshot)}, tmp_path / "made.joblib")
    refused("r-obs.joblib", (tmp_path / "made.joblib").read_bytes(), "the same table in many")


SCALER = {"keys": ["x"], "method": "robust", "params": {"center": 0.0, "scale": 1.0}}
BUNDLES = {
    "endless format": (lambda: {"format": doubled(), "groups": []}, "not a number"),
    "endless method": (lambda: {"format": 1, "groups": [SCALER | {"method": doubled()}]}, "should be text"),
    "text for numbers": (lambda: with_params({"center": "a", "scale": 1.0}), "finite numbers"),
    "no number": (lambda: with_params({"center": float("nan"), "scale": 1.0}), "finite numbers"),
    "beyond numbers": (lambda: with_params({"center": 10**400, "scale": 1.0}), "finite numbers"),
    "division by zero": (lambda: with_params({"center": 0.0, "scale": 0.0}), "scale is 0"),
    "a list of numbers": (lambda: with_params([1.0]), "should be a dict"),
    "text for keys": (lambda: {"format": 1, "groups": [SCALER | {"keys": "xy"}]}, "a list"),
    "no quantiles": (lambda: with_params({"quantiles": []}, "quantile"), "finite numbers"),
    "quantiles that fall": (lambda: with_params({"quantiles": [1.0, 0.0]}, "quantile"), "should increase"),
}


def with_params(params, method="robust"):
    return {"format": 1, "groups": [SCALER | {"params": params, "method": method}]}


@pytest.mark.parametrize("name", BUNDLES)
def test_invalid_bundles_are_refused(refused, tmp_path, name):
    make, said = BUNDLES[name]
    joblib.dump(make(), tmp_path / "made.joblib")
    refused("bundle.joblib", (tmp_path / "made.joblib").read_bytes(), said)
