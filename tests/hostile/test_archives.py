"""Archives of arrays and JSON files are refused that declare or name something they should not."""

import io
import json
import struct
import warnings
import zipfile

import numpy as np
import pytest

from starjax.datasets import shard
from tests.hostile import readers


def members(kind):
    with zipfile.ZipFile(io.BytesIO(readers.KINDS[kind][1][0])) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(contents, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as target:
        warnings.simplefilter("ignore")  # two members of the same name
        for name, content in contents:
            target.writestr(name, content)
    return file.getvalue()


def array(header, values=b""):
    text = header if isinstance(header, bytes) else repr(header).encode()
    text = text.ljust(-(-(len(text) + 11) // 64) * 64 - 11) + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + values


def described(kind="<f4", shape=(3, 2), order=False):
    return {"descr": kind, "fortran_order": order, "shape": shape}


MEMBERS = {
    "more than there is": array(described(shape=(10**12, 2))),
    "fewer than nothing": array(described(shape=(-3, -2)), bytes(24)),
    "of no bytes each": array(described("<U0", (10**9,))),
    "objects": array(described("|O"), bytes(48)),
    "a structure": array(described([("a", "<f4"), ("b", "|O")]), bytes(72)),
    "complex": array(described("<c8"), bytes(48)),
    "a huge structure": array(described("<f4,(999999999,)<f4")),
    "an endless header": array(b"(" * 10**6),
    "an open header": array(b"{'descr': ("),
    "a header that computes": array(b"{'descr': '<f4', 'fortran_order': False, 'shape': (9**9**9,)}"),
    "no header": b"hello",
    "an unknown version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize(("kind", "spoilt"), [("shard.npz", "feature.npy"), ("novelty.npz", "known.npy")])
def test_arrays_that_differ_from_their_headers_are_refused(refused, kind, spoilt, name):
    contents = members(kind) | {spoilt: MEMBERS[name]}
    refused(kind, archive(contents.items()), "cannot be read")
    refused(kind, archive(contents.items(), zipfile.ZIP_DEFLATED), "cannot be read")


@pytest.mark.parametrize("name", MEMBERS)
def test_such_arrays_are_not_mapped(tmp_path, name):
    path = tmp_path / "shard.npz"
    path.write_bytes(archive((members("shard.npz") | {"feature.npy": MEMBERS[name]}).items()))
    with pytest.raises(shard.ShardError, match=r"shard\.npz"):
        shard.load_shard(path, mapped=True)


def test_a_compression_bomb_is_refused(refused):
    content = array(described(shape=(10**7, 2)), bytes(8 * 10**7))
    contents = members("shard.npz") | {"feature.npy": content}
    refused("shard.npz", archive(contents.items(), zipfile.ZIP_DEFLATED), "no real archive of its size does")


def test_two_members_of_the_same_name_are_refused(refused):
    contents = members("shard.npz")
    refused(
        "shard.npz", archive([*contents.items(), ("ptr.npy", contents["ptr.npy"])]), "more than one member"
    )


def test_nothing_is_extracted(tmp_path):
    """Names that are paths to other folders are ignored."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    names = (
        "../../x.npy",
        "/tmp/starjax-x.npy",
        "..\\x.npy",
        "feature.npy/../../x.npy",
        "C:\\x.npy",
    )
    contents = [*members("shard.npz").items(), *((name, b"hello") for name in names)]
    assert readers.feed("shard.npz", archive(contents), folder)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["shard.npz"]


@pytest.mark.parametrize("keys", [np.array([["x", "y"]]), np.array([1, 2]), np.array([b"x", b"y"])])
def test_column_names_must_be_text(refused, keys):
    file = io.BytesIO()
    np.save(file, keys)
    contents = members("shard.npz") | {"feature_keys.npy": file.getvalue()}
    refused("shard.npz", archive(contents.items()), "feature_keys")


@pytest.mark.parametrize(
    "change", [{"known": np.ones(3)}, {"ranges": np.ones((3, 2))}, {"center": np.array("x")}]
)
def test_arrays_of_a_training_reference_must_fit_together(refused, change):
    contents = members("novelty.npz")
    for name, values in change.items():
        file = io.BytesIO()
        np.save(file, values)
        contents[f"{name}.npy"] = file.getvalue()
    refused("novelty.npz", archive(contents.items()), "should be numbers of shape|cannot be read")


MANIFESTS = {
    "depth": ("[" * 100_000, "nested too deeply"),
    "UTF-16": ('{"train": ["a"]}'.encode("utf-16"), "utf-8"),
    "endless number": ('{"train": ' + "9" * 10_000 + "}", "cannot be read"),
    "no object": ("[1]", "should contain an object"),
    "no list": ('{"train": "ab", "val": ["c"], "test": ["d"]}', "list of simulation ids"),
    "number": ('{"train": [1], "val": ["c"], "test": ["d"]}', "list of simulation ids"),
    "not a number": ('{"train": NaN, "val": ["c"], "test": ["d"]}', "list of simulation ids"),
    "a split twice": (
        '{"train": ["a"], "train": ["b"], "val": ["c"], "test": ["d"]}',
        "train more than once",
    ),
}
IDS = ("../../x", "/etc/x", "a/b", "a\\b", "..", ".", "", "a\0b", "a\nb", "\x1b[31m", "\ud800")


@pytest.mark.parametrize("name", MANIFESTS)
def test_invalid_manifests_are_refused(refused, name):
    refused("split.json", *MANIFESTS[name])


@pytest.mark.parametrize("run_id", IDS)
def test_a_simulation_id_must_be_a_file_name(refused, run_id):
    """Files of the build are named after it."""
    content = json.dumps({"train": ["a"], "val": [run_id], "test": ["d"]})
    refused("split.json", content, "in val cannot be the id of a simulation")


def calibration(**change):
    return json.loads(readers.KINDS["calibration.json"][1][0]) | change


CALIBRATIONS = {
    "depth": "[" * 100_000,
    "no object": "[1]",
    "text": json.dumps(calibration(num_simulation="3")),
    "truth": json.dumps(calibration(num_simulation=True)),
    "infinite": json.dumps(calibration(num_simulation=float("inf"))),
    "not a number": json.dumps(calibration(num_simulation=float("nan"))),
    "beyond floats": json.dumps(calibration()).replace("1.5", "1" + "0" * 400),
    "list": json.dumps(calibration()).replace("1.5", "[1]"),
    "other levels": json.dumps(calibration()).replace("0.68", "0.5"),
    "other targets": json.dumps(calibration(targets={"mass": {}})),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_invalid_calibrations_are_refused(refused, name):
    refused("calibration.json", CALIBRATIONS[name], "cannot be read")
