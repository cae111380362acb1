"""A data set in several files is equal to one in single files."""

import dataclasses
import json
import os
import shutil
from unittest import mock

import numpy as np
import pytest

from starjax.datasets import shard
from starjax.datasets.dataset import DatasetError
from starjax.datasets.load import load_dataset, num_scaled_bytes
from starjax.datasets.scalers import bundle
from starjax.nbody6 import build


def test_files_changed_since_the_build_are_refused(config):
    out = build.build_dataset(config)

    def fingerprint(mapped):
        return load_dataset(str(out), ("x",), ("time",), mapped=mapped).fingerprint

    first = fingerprint(mapped=False)
    assert fingerprint(mapped=True) == first
    # A bit error on disk does not change the time of the file.
    path = out / "scaled-train-shard.npz"
    whole, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    os.utime(path, ns=times)
    with pytest.raises(DatasetError, match=r"scaled-train-shard\.npz was changed since it was built"):
        fingerprint(mapped=True)
    path.write_bytes(whole)
    path = out / "scaled-val-shard.npz"
    other = shard.load_shard(path)
    shard.save_shard(path, dataclasses.replace(other, feature=other.feature + 1))
    for is_mapped in (True, False):
        with pytest.raises(DatasetError, match=r"scaled-val-shard\.npz was changed since it was built"):
            fingerprint(mapped=is_mapped)
    for content in ("{", '{"sha256": 3}', "[]", "{}"):
        (out / "dataset_config.json").write_text(content)
        with pytest.raises(DatasetError, match=r"dataset_config\.json is damaged"):
            fingerprint(mapped=True)
    # Without a record, as of other tools, nothing is verified.
    (out / "dataset_config.json").unlink()
    assert fingerprint(mapped=True) == fingerprint(mapped=False) != first


def test_a_build_in_several_files_is_the_same(config):
    whole = load_dataset(str(build.build_dataset(config)), ("x", "vx"), ("time",))
    whole_out, config.out = config.out, config.out + "-cut"
    config.max_part_bytes = 100_000
    out = build.build_dataset(config)
    record = json.loads((out / "dataset_config.json").read_text())
    assert sorted(record["sha256"]) == sorted(path.name for path in out.iterdir() if path.suffix != ".json")
    assert "scaled-train-shard-00005-of-00005.npz" in record["sha256"]
    assert all(path.stat().st_size <= 100_000 for path in out.iterdir())
    cut, mapped = (load_dataset(str(out), ("x", "vx"), ("time",), mapped=mapped) for mapped in (False, True))
    assert cut.fingerprint == mapped.fingerprint != whole.fingerprint
    assert cut.feature_scalers == whole.feature_scalers
    for split, one in whole.shards.items():
        for name in ("feature", "target", "ptr", *shard.PROVENANCE):
            np.testing.assert_array_equal(getattr(cut.shards[split], name), getattr(one, name))
        np.testing.assert_array_equal(mapped.shards[split].feature[:], one.feature)
    assert num_scaled_bytes(str(out)) > num_scaled_bytes(whole_out)
    # A missing file is built again, and nothing else is left over.
    (out / "raw-train-shard-00002-of-00005.npz").unlink()
    (out / "scaled-train-shard-00003-of-00005.npz").unlink()
    with pytest.raises(shard.ShardError, match=r"lacks scaled-train-shard-00003-of-00005\.npz"):
        load_dataset(str(out), ("x",), ("time",))
    build.build_dataset(config)
    assert json.loads((out / "dataset_config.json").read_text()) == record


def test_an_interrupted_build_resumes_with_another_size_of_files(config, monkeypatch):
    config.max_part_bytes = 100_000
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "fit_bundle", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build.build_dataset(config)
    out = build.Path(config.out)
    assert (out / "raw-train-shard-00005-of-00005.npz").exists()
    config.max_part_bytes = 200_000
    build.build_dataset(config)
    assert sorted(path.name for path in out.glob("raw-train*")) == [
        f"raw-train-shard-0000{i}-of-00003.npz" for i in (1, 2, 3)
    ]


def test_raw_shards_in_several_files_are_scaled_without_caches(config):
    config.max_part_bytes = 100_000
    made = build.build_dataset(config)
    out = build.Path(config.out + "-given")
    out.mkdir()
    for path in made.glob("raw-*"):
        shutil.copy(path, out)
    config.caches, config.out = "", str(out)
    build.build_dataset(config)
    for path in made.glob("scaled-*"):
        assert (out / path.name).read_bytes() == path.read_bytes()
    (out / "raw-val-shard-00001-of-00002.npz").unlink()
    with pytest.raises(shard.ShardError, match=r"lacks raw-val-shard-00001-of-00002\.npz"):
        build.build_dataset(config)
