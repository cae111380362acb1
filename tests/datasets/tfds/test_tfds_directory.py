"""Names are resolved to directories; damaged, missing and untrusted files are refused by name."""

import json
import sys
from pathlib import Path

import pytest

from starjax import errors
from starjax.datasets import shard, tfds_directory
from starjax.datasets.dataset import DatasetError
from starjax.datasets.load import dataset_directory
from starjax.io import files
from tests.datasets.tfds.published import FEATURES, TARGETS, load


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("one", "one/2.10.0"),
        ("one:2.9.0", "one/2.9.0"),
        ("two/b", "two/b/1.0.0"),
        ("two/a:1.0.0", "two/a/1.0.0"),
        ("three", "three/only/1.0.0"),
        ("nowhere", "nowhere"),
    ],
)
def test_names_are_resolved_to_directories(tmp_path, monkeypatch, name, folder):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for existing in ("one/2.9.0", "one/2.10.0", "one/x", "two/a/1.0.0", "two/b/1.0.0", "three/only/1.0.0"):
        (tmp_path / existing).mkdir(parents=True)
    assert dataset_directory(f"tfds:{name}") == tmp_path / folder


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "lacks features.json and dataset_info.json .*publish one there"),
        ("star_clusters:3.0.0", r"3\.0\.0 lacks .*there is 1\.0\.0"),
        ("star_clusters/config", r"config lacks .*there is 1\.0\.0"),
        ("DATA_DIR/star_clusters", r"star_clusters lacks .*there is 1\.0\.0"),
        ("star clusters", "should be tfds:NAME"),
        ("", "should be tfds:NAME"),
        ("/nowhere", "'tfds:/nowhere': /nowhere lacks"),
    ],
)
def test_unknown_names_are_refused(data_dir, name, said):
    with pytest.raises(DatasetError, match=said):
        load(name.replace("DATA_DIR", str(data_dir)))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(tfds_directory.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match=r"not installed: pip install 'tensorflow-datasets>="):
        load("star_clusters")


@pytest.mark.parametrize("key", ["feature", "target"])
def test_a_missing_column_is_named(key):
    keys = {"feature_keys": FEATURES, "target_keys": TARGETS} | {f"{key}_keys": ("age",)}
    with pytest.raises(shard.ShardError, match=f"data.{key}_keys: the data set has no age; it has "):
        load("star_clusters", **keys)


def test_changed_files_are_named(version):
    """The digests are verified before anything is read."""
    for path in sorted(version.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        named = path.name if path.name != files.SUMS else "SHA256SUMS|published with another"
        with pytest.raises(DatasetError, match=named):
            load(version)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    load(version)


def test_missing_and_additional_files_are_named(version):
    for path in sorted(version.iterdir()):
        if path.name != files.SUMS:
            aside = path.rename(version.parent / path.name)
            with pytest.raises(DatasetError, match=rf"lacks .*{path.name}"):
                load(version)
            aside.rename(path)
    (version / "more.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"published with another more\.json"):
        load(version)


def test_the_fingerprint_depends_on_the_files(version):
    before = load(version).fingerprint
    (version / files.SUMS).unlink()
    assert load(version).fingerprint == before
    info = json.loads((version / "dataset_info.json").read_text())
    (version / "dataset_info.json").write_text(json.dumps(info | {"description": "Others"}))
    assert load(version).fingerprint != before


def changed_json(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _name(content, name):
    content["featuresDict"]["features"]["stars"]["pythonClassName"] = name


CHANGES = {
    "records cut": ("star_clusters-val.array_record-00000", None, "tfds:.*, val cannot be read"),
    "code": (
        "features.json",
        lambda c: _name(c, "antigravity.Fun"),
        "'antigravity.Fun', which is not a feature of TFDS",
    ),
    "no code": ("features.json", lambda c: _name(c, 3), "3, which is not a feature of TFDS"),
    "features": ("features.json", lambda c: c.pop("featuresDict"), "cannot be read"),
    "stars": (
        "features.json",
        lambda c: c["featuresDict"]["features"].pop("stars"),
        "should have `stars`.*it has distance_pc, run_id, targets",
    ),
    "split": ("dataset_info.json", lambda c: c["splits"].pop(1), "no split val; it has train, test"),
    "elsewhere": (
        "dataset_info.json",
        lambda c: c["splits"][0].update(filepathTemplate="../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"),
        "names a file in another folder",
    ),
    "too many": (
        "dataset_info.json",
        lambda c: c["splits"][0].update(shardLengths=["10000000"]),
        "train cannot be read",
    ),
    "none": (
        "dataset_info.json",
        lambda c: c["splits"][0].update(shardLengths=["0"]),
        "train cannot be read",
    ),
    "version": ("dataset_info.json", lambda c: c.update(version="x"), "cannot be read"),
    "no scalers": ("metadata.json", lambda c: c["starjax"].pop("scalers"), "metadata.json is damaged"),
    "format": ("metadata.json", lambda c: c["starjax"].update(format=2), "has format 2; .* reads 1"),
    "scaler": (
        "metadata.json",
        lambda c: c["starjax"]["scalers"]["feature"]["groups"][0]["params"].update(scale=0),
        "not a bundle of scalers .its scale is 0",
    ),
    "a key without": (
        "metadata.json",
        lambda c: c["starjax"]["scalers"]["feature"]["groups"].pop(0),
        "no scaler for x",
    ),
}


@pytest.mark.parametrize(("file", "change", "said"), CHANGES.values(), ids=CHANGES)
def test_invalid_files_are_refused_by_name(version, file, change, said):
    """There are no digests here that would reveal the change."""
    (version / files.SUMS).unlink()
    path = version / file
    if change:
        changed_json(path, change)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.StarjaxError, match=said):
        load(version)
    assert "antigravity" not in sys.modules


def test_a_format_that_needs_tensorflow_is_refused(version):
    (version / files.SUMS).unlink()
    for path in version.glob("*.array_record-*"):
        path.rename(path.with_name(path.name.replace("array_record", "tfrecord")))
    changed_json(version / "dataset_info.json", lambda c: c.update(fileFormat="tfrecord"))
    with pytest.raises(DatasetError, match=r"not read without TensorFlow, .*file_format='array_record'"):
        load(version)
