"""Published data sets read the same as the directory, by starjax and by `tfds.data_source`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from starjax import errors
from starjax.commands import publish
from starjax.datasets import folds, shard, tfds_publisher
from starjax.datasets.dataset import DatasetError
from starjax.datasets.load import dataset_directory, load_dataset
from starjax.datasets.shard_files import load_split, shard_path
from starjax.io import files
from starjax.runs.directory import read_record
from starjax.training import prepare
from starjax.training.run import train_and_test
from tests.datasets.tfds.published import FEATURES, TARGETS, assert_same, load
from tests.processes import run_in_process


@pytest.mark.parametrize(
    ("feature_keys", "target_keys"), [(FEATURES, TARGETS), (("vx", "log_L_L_sol", "x"), TARGETS[1:])]
)
def test_a_published_data_set_equals_the_directory(small, feature_keys, target_keys):
    published = load("star_clusters", feature_keys, target_keys)
    assert_same(published, load_dataset(str(small), feature_keys, target_keys))


def test_tfds_itself_reads_the_raw_values_in_the_order_of_the_shards(small, data_dir):
    for split in ("train", "val", "test"):
        raw = load_split(small, "raw", split)
        source = tfds.data_source("star_clusters", split=split, data_dir=data_dir)
        assert len(source) == raw.num_snapshot
        for i, record in enumerate(source):
            stars = raw.feature[raw.ptr[i] : raw.ptr[i + 1]]
            for key, column in zip(raw.feature_keys, stars.T, strict=True):
                np.testing.assert_array_equal(record["stars"][key], column)
            assert record["targets"] == dict(zip(raw.target_keys, raw.target[i].tolist(), strict=True))
            assert record["run_id"].decode() == raw.run_id[i]
            assert record["distance_pc"] == raw.distance_pc[i]


def test_the_description_comes_from_the_readme(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    (source / "README.md").write_text("# Three clusters\n\nOf them.\n\n## Cite\nSomebody 2026.\n\n## More\n")
    out = tfds_publisher.publish_dataset(str(source), tmp_path, "three", "2.1.0")
    info = tfds.builder_from_directory(str(out)).info
    assert (info.name, str(info.version), info.description) == ("three", "2.1.0", "Three clusters")
    assert info.citation == "Somebody 2026."
    assert info.splits["train"].num_examples == 20
    assert info.features["stars"]["vx"].doc.desc == "km/s"
    assert info.features["targets"]["total_mass_within_2x_r_tidal"].doc.desc == "Msun"
    own = info.metadata["starjax"]
    assert own["splits"]["test"] == {"simulations": 7, "snapshots": 7, "stars": 2288}
    assert own["fingerprint"] == load_dataset(str(small), FEATURES, TARGETS).fingerprint
    assert (dataset_directory(f"tfds:{out}") / "README.md").read_text().startswith("# Three")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    assert len(files.read_sums(out)) == len(list(out.iterdir())) - 1


@pytest.mark.weekly
def test_training_gives_the_same_results_as_from_the_directory(small_config, tmp_path):
    places = []
    for name in ("shards", "tfds"):
        config = small_config(tmp_path)
        config.name, config.train.max_epochs = name, 2
        config.data.dataset = "tfds:star_clusters" if name == "tfds" else config.data.dataset
        places.append(train_and_test(config))
    shards, published = places
    assert shards.metrics.read_bytes() == published.metrics.read_bytes()
    assert shards.test_metrics.read_bytes() == published.test_metrics.read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(shards.test_table), pd.read_parquet(published.test_table))
    fingerprint = load("star_clusters").fingerprint
    assert read_record(published)["dataset"]["fingerprint"] == fingerprint


def test_streaming_gives_the_same_stars_as_from_the_directory(config):
    """Streaming is from memory, since records cannot be sliced."""
    config.data.placement = "streamed"
    config.train.batch_size = 8
    streams = []
    for name in (config.data.dataset, "tfds:star_clusters"):
        config.data.dataset = name
        data = prepare.split_dataset(config, prepare.read_dataset(config))
        streams.append([stars for stars, _ in prepare.place_stars(config, data, "streamed").chunks(1)])
    jax.tree.map(np.testing.assert_array_equal, *streams)


def test_folds_are_the_same_as_of_the_directory(small):
    assert_same(
        folds.one_fold(load("star_clusters"), 1, 3, 7),
        folds.one_fold(load_dataset(str(small), FEATURES, TARGETS), 1, 3, 7),
    )


@pytest.mark.slow
def test_tensorflow_is_not_imported(small, tmp_path):
    """Neither publishing, nor reading, nor TFDS itself import it, even if it is installed."""
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('tensorflow is imported')")
    program = f"""
import sys
from pathlib import Path
from starjax.datasets import load, tfds_publisher
out = tfds_publisher.publish_dataset({str(small)!r}, Path({str(tmp_path)!r}))
load.load_dataset(f"tfds:{{out}}", ("x",), ("time",))
import tensorflow_datasets as tfds
records = list(tfds.data_source("star_clusters", split="val", data_dir={str(tmp_path)!r}))
print(len(records), "tensorflow" in sys.modules)
"""
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["6", "False"]), done.stderr


def test_records_in_several_files_read_the_same(small, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_publisher, "FILE_BYTES", 2**16)
    out = tfds_publisher.publish_dataset(str(small), tmp_path)
    assert len(list(out.glob("*-train.*"))) > 2
    assert_same(load(out), load_dataset(str(small), FEATURES, TARGETS))


def test_a_snapshot_without_stars_is_kept(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    raw = load_split(source, "raw", "val")
    ptr = np.concatenate([[0], raw.ptr[:1], raw.ptr[2:]])
    shard.save_shard(shard_path(source, "raw", "val"), shard.Shard(**{**vars(raw), "ptr": ptr}))
    out = tfds_publisher.publish_dataset(str(source), tmp_path)
    assert_same(load(out), load_dataset(str(source), FEATURES, TARGETS))
    assert load(out).shards["val"].ptr[1] == 0


def test_a_version_is_never_overwritten(small, data_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    arguments = publish.parser().parse([f"--dataset={small}", "--description=Others"])
    with pytest.raises(DatasetError, match=r"1\.0\.0 exists already.*another --version"):
        publish.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")} == before


def test_the_remains_of_a_killed_process_are_replaced(small, tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from starjax.datasets import tfds_publisher
from starjax.io import files
files.write_sums = lambda folder, paths: os.kill(os.getpid(), signal.SIGKILL)
tfds_publisher.publish_dataset({str(small)!r}, Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode < 0
    assert [path.name for path in (tmp_path / "star_clusters").iterdir()] == [".1.0.0.partial"]
    with pytest.raises(DatasetError, match="lacks"):
        load(tmp_path / "star_clusters" / "1.0.0")
    out = tfds_publisher.publish_dataset(str(small), tmp_path)
    assert list(out.parent.iterdir()) == [out]
    assert_same(load(out), load_dataset(str(small), FEATURES, TARGETS))


def test_a_full_disk_is_reported(small, tmp_path):
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], check=True, capture_output=True
        )
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"needs the right to mount a file system: {error}")
    try:
        with pytest.raises(errors.StarjaxError, match=r"No space left on device.*run the command again"):
            tfds_publisher.publish_dataset(str(small), tmp_path)
        subprocess.run(["mount", "-o", "remount,size=2m", tmp_path], check=True)
        load(tfds_publisher.publish_dataset(str(small), tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_command_prints_how_to_train(small, tmp_path, capsys, monkeypatch):
    run_in_process(publish, f"--dataset={small}", f"--out={tmp_path}", "--name=mine")
    assert f"--config.data.dataset=tfds:{tmp_path}/mine/1.0.0\n" in capsys.readouterr().out
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    run_in_process(publish, f"--dataset={small}", "--name=mine", "--version=1.0.1")
    said = capsys.readouterr().out
    assert "train    20 simulations       20 snapshots       5067 stars\n" in said
    assert said.endswith("--config.data.dataset=tfds:mine:1.0.1\n")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--name=Clusters", "--name=Clusters should be"),
        ("--name=../up", "--name=../up should be"),
        ("--version=1.0", "--version=1.0 should be three numbers"),
        ("--version=01.0.0", "--version=01.0.0 should be three numbers"),
        ("--dataset=tfds:star_clusters", "is published already"),
        ("--dataset=nowhere", "'nowhere': there is no folder"),
    ],
)
def test_invalid_arguments_are_refused(small, tmp_path, option, said):
    dataset = () if option.startswith("--dataset=") else (f"--dataset={small}",)
    with pytest.raises(errors.StarjaxError, match=said):
        run_in_process(publish, *dataset, f"--out={tmp_path}", option)
    assert not list(tmp_path.iterdir())


def test_a_column_name_with_a_slash_is_refused(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    for split in ("train", "val", "test"):
        raw = load_split(source, "raw", split)
        keys = ("km/s", *raw.feature_keys[1:])
        shard.save_shard(shard_path(source, "raw", split), shard.Shard(**{**vars(raw), "feature_keys": keys}))
    with pytest.raises(DatasetError, match="slash: km/s"):
        tfds_publisher.publish_dataset(str(source), tmp_path / "out")
