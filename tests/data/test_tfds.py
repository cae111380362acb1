"""Data sets published in the form of TFDS, read back and trained from, and such of others.

What others write is written here by a plain builder of TFDS; what we publish is read here by `tfds.data_source` itself.
"""

import json
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

from starjax import errors, experiment, files, main, prepare
from starjax.configs import dataset as dataset_config
from starjax.data import dataset, folds, shard, tfds_folder
from starjax.data import tfds as publishing

FEATURES = dataset_config.get_config().feature_keys
TARGETS = ("time", "total_mass_within_2x_r_tidal")
ARRAYS = ("feature", "target", "ptr", *shard.PROVENANCE)


@pytest.fixture(scope="module")
def data_dir(small, tmp_path_factory):
    """A folder of data sets of TFDS that holds the small one, published."""
    folder = tmp_path_factory.mktemp("data_dir")
    publishing.publish(str(small), folder)
    return folder


@pytest.fixture(autouse=True)
def _in_data_dir(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))


@pytest.fixture
def version(data_dir, tmp_path):
    """A copy of the folder of the published version, to be changed."""
    return Path(shutil.copytree(data_dir / "star_clusters" / "1.0.0", tmp_path / "star_clusters" / "1.0.0"))


def load(name, feature_keys=FEATURES, target_keys=TARGETS):
    return dataset.load(f"tfds:{name}", feature_keys, target_keys)


def assert_same(one: dataset.Dataset, other: dataset.Dataset):
    """To the bit."""
    for split, expected in other.shards.items():
        got = one.shards[split]
        assert (got.feature_keys, got.target_keys) == (expected.feature_keys, expected.target_keys)
        for name in ARRAYS:
            array, wanted = getattr(got, name), getattr(expected, name)
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted, err_msg=f"{split} {name}")
    assert one.feature_scalers == other.feature_scalers
    assert one.target_scalers == other.target_scalers


@pytest.mark.parametrize(
    ("feature_keys", "target_keys"), [(FEATURES, TARGETS), (("vx", "log_L_L_sol", "x"), TARGETS[1:])]
)
def test_what_was_published_is_the_data_set(small, feature_keys, target_keys):
    published = load("star_clusters", feature_keys, target_keys)
    assert_same(published, dataset.load(str(small), feature_keys, target_keys))


def test_tfds_itself_reads_the_raw_values_in_the_order_of_the_shards(small, data_dir):
    for split in ("train", "val", "test"):
        raw = dataset.load_split(small, "raw", split)
        source = tfds.data_source("star_clusters", split=split, data_dir=data_dir)
        assert len(source) == raw.num_snapshot
        for i, record in enumerate(source):
            stars = raw.feature[raw.ptr[i] : raw.ptr[i + 1]]
            for key, column in zip(raw.feature_keys, stars.T, strict=True):
                np.testing.assert_array_equal(record["stars"][key], column)
            assert record["targets"] == dict(zip(raw.target_keys, raw.target[i].tolist(), strict=True))
            assert record["run_id"].decode() == raw.run_id[i]
            assert record["distance_pc"] == raw.distance_pc[i]


def test_it_says_what_it_holds(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    (source / "README.md").write_text("# Three clusters\n\nOf them.\n\n## Cite\nSomebody 2026.\n\n## More\n")
    out = publishing.publish(str(source), tmp_path, "three", "2.1.0")
    info = tfds.builder_from_directory(str(out)).info
    assert (info.name, str(info.version), info.description) == ("three", "2.1.0", "Three clusters")
    assert info.citation == "Somebody 2026."
    assert info.splits["train"].num_examples == 20
    assert info.features["stars"]["vx"].doc.desc == "km/s"
    assert info.features["targets"]["total_mass_within_2x_r_tidal"].doc.desc == "Msun"
    own = info.metadata["starjax"]
    assert own["splits"]["test"] == {"runs": 7, "snapshots": 7, "stars": 2288}
    assert own["fingerprint"] == dataset.load(str(small), FEATURES, TARGETS).fingerprint
    assert (dataset.directory(f"tfds:{out}") / "README.md").read_text().startswith("# Three")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=out, check=True)
    assert len(files.read_sums(out)) == len(list(out.iterdir())) - 1


def test_training_from_it_is_training_from_the_directory(small_config, tmp_path):
    places = []
    for name in ("shards", "tfds"):
        config = small_config(tmp_path)
        config.name, config.train.max_epochs = name, 2
        config.data.dataset = "tfds:star_clusters" if name == "tfds" else config.data.dataset
        places.append(main.run(config))
    shards, published = places
    assert shards.metrics.read_bytes() == published.metrics.read_bytes()
    assert shards.test_metrics.read_bytes() == published.test_metrics.read_bytes()
    pd.testing.assert_frame_equal(pd.read_parquet(shards.test_table), pd.read_parquet(published.test_table))
    fingerprint = load("star_clusters").fingerprint
    assert experiment.read_record(published)["dataset"]["fingerprint"] == fingerprint


def test_its_stars_are_streamed_as_those_of_the_directory(config):
    """From memory, since records are not read where they are sliced."""
    config.data.placement = "streamed"
    config.train.batch_size = 8
    streams = []
    for name in (config.data.dataset, "tfds:star_clusters"):
        config.data.dataset = name
        data, chosen = prepare.load(config)
        streams.append([stars for stars, _ in prepare.place_stars(config, data, chosen).chunks(1)])
    assert chosen == "streamed"
    jax.tree.map(np.testing.assert_array_equal, *streams)


def test_folds_part_its_runs_as_those_of_the_directory(small):
    assert_same(
        folds.of_number(load("star_clusters"), 1, 3, 7),
        folds.of_number(dataset.load(str(small), FEATURES, TARGETS), 1, 3, 7),
    )


def test_tensorflow_is_not_imported(small, tmp_path):
    """Neither by publishing, nor by reading, nor by TFDS where it reads what was published; not where it is installed, either."""
    (tmp_path / "tensorflow.py").write_text("raise AssertionError('tensorflow is imported')")
    program = f"""
import sys
from pathlib import Path
from starjax.data import dataset, tfds as publishing
out = publishing.publish({str(small)!r}, Path({str(tmp_path)!r}))
dataset.load(f"tfds:{{out}}", ("x",), ("time",))
import tensorflow_datasets as tfds
records = list(tfds.data_source("star_clusters", split="val", data_dir={str(tmp_path)!r}))
print(len(records), "tensorflow" in sys.modules)
"""
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["6", "False"]), done.stderr


def test_files_are_cut_and_follow_one_another(small, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "FILE_BYTES", 2**16)
    out = publishing.publish(str(small), tmp_path)
    assert len(list(out.glob("*-train.*"))) > 2
    assert_same(load(out), dataset.load(str(small), FEATURES, TARGETS))


def test_a_snapshot_without_stars_stays_one(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    raw = dataset.load_split(source, "raw", "val")
    ptr = np.concatenate([[0], raw.ptr[:1], raw.ptr[2:]])
    shard.save(dataset.shard_path(source, "raw", "val"), shard.Shard(**{**vars(raw), "ptr": ptr}))
    out = publishing.publish(str(source), tmp_path)
    assert_same(load(out), dataset.load(str(source), FEATURES, TARGETS))
    assert load(out).shards["val"].ptr[1] == 0


def test_a_version_is_never_overwritten(small, data_dir, capsys):
    before = {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")}
    arguments = publishing.parse(["", f"--dataset={small}", "--description=Others"])
    with pytest.raises(dataset.DatasetError, match=r"1\.0\.0 is there already.*another --version"):
        publishing.main(arguments)
    assert {path: path.stat().st_mtime_ns for path in data_dir.rglob("*")} == before


def test_what_a_killed_process_left_is_no_obstacle(small, tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from starjax import files
from starjax.data import tfds as publishing
files.write_sums = lambda folder, paths: os.kill(os.getpid(), signal.SIGKILL)
publishing.publish({str(small)!r}, Path({str(tmp_path)!r}))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode < 0
    assert [path.name for path in (tmp_path / "star_clusters").iterdir()] == [".1.0.0.partial"]
    with pytest.raises(dataset.DatasetError, match="lacks"):
        load(tmp_path / "star_clusters" / "1.0.0")
    out = publishing.publish(str(small), tmp_path)
    assert list(out.parent.iterdir()) == [out]
    assert_same(load(out), dataset.load(str(small), FEATURES, TARGETS))


def test_a_full_disk_is_told(small, tmp_path):
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], check=True, capture_output=True
        )
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"needs the right to mount a file system: {error}")
    try:
        with pytest.raises(errors.StarjaxError, match=r"No space left on device.*give the command again"):
            publishing.publish(str(small), tmp_path)
        subprocess.run(["mount", "-o", "remount,size=2m", tmp_path], check=True)
        load(publishing.publish(str(small), tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_command_says_how_to_train(small, tmp_path, capsys, monkeypatch):
    publishing.main(publishing.parse(["", f"--dataset={small}", f"--out={tmp_path}", "--name=mine"]))
    assert f"--config.data.dataset=tfds:{tmp_path}/mine/1.0.0\n" in capsys.readouterr().out
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    publishing.main(publishing.parse(["", f"--dataset={small}", "--name=mine", "--version=1.0.1"]))
    said = capsys.readouterr().out
    assert "train    20 runs       20 snapshots       5067 stars\n" in said
    assert said.endswith("--config.data.dataset=tfds:mine:1.0.1\n")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--name=Clusters", "--name=Clusters should be"),
        ("--name=../up", "--name=../up should be"),
        ("--version=1.0", "--version=1.0 should be three numbers"),
        ("--version=01.0.0", "--version=01.0.0 should be three numbers"),
        ("--dataset=tfds:star_clusters", "is published already"),
        ("--dataset=nowhere", "'nowhere' lacks feature_scaler_bundle.joblib"),
    ],
)
def test_what_cannot_be_published(small, tmp_path, option, said):
    with pytest.raises(errors.StarjaxError, match=said):
        publishing.main(publishing.parse(["", f"--dataset={small}", f"--out={tmp_path}", option]))
    assert not list(tmp_path.iterdir())


def test_a_column_that_tfds_has_no_name_for(small, tmp_path):
    source = Path(shutil.copytree(small, tmp_path / "source"))
    for split in ("train", "val", "test"):
        raw = dataset.load_split(source, "raw", split)
        keys = ("km/s", *raw.feature_keys[1:])
        shard.save(
            dataset.shard_path(source, "raw", split), shard.Shard(**{**vars(raw), "feature_keys": keys})
        )
    with pytest.raises(dataset.DatasetError, match="slash: km/s"):
        publishing.publish(str(source), tmp_path / "out")


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
def test_names_mean_folders(tmp_path, monkeypatch, name, folder):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for there in ("one/2.9.0", "one/2.10.0", "one/x", "two/a/1.0.0", "two/b/1.0.0", "three/only/1.0.0"):
        (tmp_path / there).mkdir(parents=True)
    assert dataset.directory(f"tfds:{name}") == tmp_path / folder


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
def test_names_that_mean_nothing(data_dir, name, said):
    with pytest.raises(dataset.DatasetError, match=said):
        load(name.replace("DATA_DIR", str(data_dir)))


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr(tfds_folder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(dataset.DatasetError, match=r"not installed: pip install 'tensorflow-datasets>="):
        load("star_clusters")


@pytest.mark.parametrize("key", ["feature", "target"])
def test_a_key_that_is_not_there(key):
    keys = {"feature_keys": FEATURES, "target_keys": TARGETS} | {f"{key}_keys": ("age",)}
    with pytest.raises(shard.ShardError, match=f"data.{key}_keys: the data set has no age; it has "):
        load("star_clusters", **keys)


def test_changed_files_are_named(version):
    """By their digests, before anything is read from them."""
    for path in sorted(version.iterdir()):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        named = path.name if path.name != files.SUMS else "SHA256SUMS|published with another"
        with pytest.raises(dataset.DatasetError, match=named):
            load(version)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    load(version)


def test_missing_files_are_named_and_those_too_many(version):
    for path in sorted(version.iterdir()):
        if path.name != files.SUMS:
            aside = path.rename(version.parent / path.name)
            with pytest.raises(dataset.DatasetError, match=rf"lacks .*{path.name}"):
                load(version)
            aside.rename(path)
    (version / "more.json").write_text("{}")
    with pytest.raises(dataset.DatasetError, match=r"published with another more\.json"):
        load(version)


def test_the_fingerprint_is_of_the_files(version):
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
        "'antigravity.Fun', which is no feature of TFDS",
    ),
    "no code": ("features.json", lambda c: _name(c, 3), "3, which is no feature of TFDS"),
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
def test_files_of_strangers_are_refused_by_name(version, file, change, said):
    """Where no digests say that they were changed."""
    (version / files.SUMS).unlink()
    path = version / file
    if change:
        changed_json(path, change)
    else:
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(errors.StarjaxError, match=said):
        load(version)
    assert "antigravity" not in sys.modules


def test_a_format_that_is_not_read_without_tensorflow(version):
    (version / files.SUMS).unlink()
    for path in version.glob("*.array_record-*"):
        path.rename(path.with_name(path.name.replace("array_record", "tfrecord")))
    changed_json(version / "dataset_info.json", lambda c: c.update(fileFormat="tfrecord"))
    with pytest.raises(
        dataset.DatasetError, match=r"not read without TensorFlow, .*file_format='array_record'"
    ):
        load(version)


# What others publish.


class Others(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """As its author would write it who never heard of starjax, save for the names."""

    VERSION = tfds.core.Version("0.3.0")
    # Or TFDS looks for some beside this file, by a package (importlib_resources) that it does not install.
    url_infos = {}  # noqa: RUF012

    def __init__(self, name, records, stars, targets, **options):
        self.name, self._own_records, self._stars, self._targets = name, records, stars, targets
        super().__init__(file_format="array_record", **options)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "stars": self._stars,
                    "targets": self._targets,
                    "run_id": np.int64,
                    "label": tfds.features.ClassLabel(names=["open", "globular"]),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(records) for split, records in self._own_records.items()}

    def _generate_examples(self, records):
        yield from enumerate(records)


NUMBERS = {"x": np.float32, "y": np.float32, "z": np.float32, "vz": np.float64, "num": np.int32}
STARS = tfds.features.Sequence({"name": tfds.features.Text(), **NUMBERS})
# The same as arrays, of which nothing says that they are of one length.
COLUMNS = tfds.features.FeaturesDict(
    {key: tfds.features.Tensor(shape=(None,), dtype=dtype) for key, dtype in NUMBERS.items()}
)
MADE_TARGETS = {"time": np.float32, "r_half": np.float32, "kind": tfds.features.Text()}


def made_records(rng, runs, num_snapshot, has_names, changes):
    """Snapshots of which a model could learn, of runs of these numbers."""
    for _ in range(num_snapshot):
        num_star = int(rng.integers(5, 30))
        stars = {key: rng.normal(0, 10, num_star).astype(dtype) for key, dtype in NUMBERS.items()}
        if has_names:
            stars["name"] = [f"star {i}" for i in range(num_star)]
        targets = {"time": rng.uniform(1, 300), "r_half": rng.uniform(1, 3), "kind": "open"}
        yield {
            "stars": stars | changes,
            "targets": targets,
            "run_id": int(rng.choice(runs)),
            "label": "open",
        }


@pytest.fixture
def others(data_dir):
    """`(data_set, stars of validation changed…) -> records by split`, prepared as `tfds:DATA_SET`."""

    def made(data_set, splits=("train", "validation", "test"), stars=STARS, runs_apart=100, **changes):
        rng = np.random.default_rng(3)
        records = {
            split: list(
                made_records(
                    rng,
                    range(number * runs_apart, number * runs_apart + 100),
                    8,
                    stars is STARS,
                    changes if split == "validation" else {},
                )
            )
            for number, split in enumerate(splits)
        }
        builder = Others(data_set, records, stars, MADE_TARGETS, data_dir=data_dir)
        builder.download_and_prepare()
        return records

    return made


def test_a_data_set_of_others_is_read(others, capsys):
    records = others("others")
    data = load("others", ("z", "vz", "x", "num"), ("r_half", "time"))
    order = []
    for ours, theirs in {"train": "train", "val": "validation", "test": "test"}.items():
        one = data.shards[ours]
        unscaled = data.feature_scalers.inverse(one.feature.astype(np.float64), one.feature_keys)
        # TFDS shuffles what it writes: snapshots are found by their times.
        times = [record["targets"]["time"] for record in records[theirs]]
        found = [int(np.argmin(np.abs(np.array(times) - time))) for time in one.time_myr]
        assert sorted(found) == list(range(8))
        order.append(found)
        for i, number in enumerate(found):
            record = records[theirs][number]
            assert one.run_id[i] == str(record["run_id"])
            rows = unscaled[one.ptr[i] : one.ptr[i + 1]]
            expected = np.stack([record["stars"][key] for key in one.feature_keys], axis=1)
            np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    assert any(found != sorted(found) for found in order)
    said = capsys.readouterr().out
    assert (
        "tfds:others brings no scalers: fitted to its training split (x y z: robust, vz: robust, num: robust, "
        in said
    )
    assert "r_half: standard" in said


def test_scalers_of_others_are_the_same_whichever_features_are_named(others):
    records = others("scaled")["train"]
    values = np.concatenate([record["stars"][key] for record in records for key in ("x", "y", "z")])
    low, middle, high = np.percentile(values, [25, 50, 75])
    for keys in (("x",), ("x", "y", "z"), ("vz", "y")):
        fitted = load("scaled", keys, ("time",)).feature_scalers.of(keys[-1])
        np.testing.assert_allclose(fitted.params["center"], middle, rtol=1e-5)
        np.testing.assert_allclose(fitted.params["scale"], high - low, rtol=1e-5)


def test_a_data_set_of_others_is_trained_on(others, config):
    records = others("trained")
    config.data.dataset, config.data.feature_keys = "tfds:trained", ("x", "y", "z")
    config.data.target_keys, config.train.max_epochs = ("r_half",), 2
    table = pd.read_parquet(main.run(config).test_table)
    truth = sorted(record["targets"]["r_half"] for record in records["test"])
    np.testing.assert_allclose(np.unique(table["target_physical"]), truth, rtol=1e-5)
    assert table["prediction_physical"].between(-10, 10).all()


def three_stars(**changes):
    return dict.fromkeys(NUMBERS, np.zeros(3)) | {"name": ["a", "b", "c"]} | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (three_stars(x=np.array([1, np.nan, 3])), "validation: feature x is nan in row 1"),
        (three_stars(vz=np.array([1, 1e300, 3])), "validation: feature vz is inf in row 1"),
        ({key: [] for key in three_stars()}, "validation: there are no stars in it"),
    ],
    ids=["nan", "huge", "none"],
)
def test_stars_of_others_that_cannot_be(others, changes, said, request):
    name = f"bad_{request.node.callspec.id}"
    others(name, **changes)
    with pytest.raises(errors.StarjaxError, match=said):
        load(name, ("x", "vz"), ("time",))
    if "nan" in name:
        load(name, ("vz",), ("time",))  # what is not asked for may be missing


def test_stars_of_others_that_have_not_all_features(others):
    others("columns", stars=COLUMNS)
    load("columns", ("x", "vz"), ("time",))
    others("uneven", stars=COLUMNS, x=np.zeros(2, np.float32))
    with pytest.raises(
        errors.StarjaxError, match="validation: record 0 has not as many values of every feature"
    ):
        load("uneven", ("x", "vz"), ("time",))


def test_a_run_of_others_in_two_splits_is_refused(others):
    others("mixed", runs_apart=0)
    with pytest.raises(
        dataset.DatasetError, match=r"run \d+(, \d+)* stands in \w+ and in \w+: snapshots of a run belong"
    ):
        load("mixed", ("x",), ("time",))


def test_a_split_that_others_do_not_have(others):
    others("halved", splits=("train", "validation"))
    with pytest.raises(dataset.DatasetError, match="no split test; it has train, validation"):
        load("halved", ("x",), ("time",))


def test_names_and_classes_are_no_features(others):
    others("named")
    with pytest.raises(shard.ShardError, match="no name; it has num, vz, x, y, z"):
        load("named", ("name",), ("time",))
