"""Data sets of others, written here by a plain builder of TFDS."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from starjax import errors
from starjax.datasets import shard
from starjax.datasets.dataset import DatasetError
from starjax.training.run import train_and_test
from tests.datasets.tfds.published import load

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
    table = pd.read_parquet(train_and_test(config).test_table)
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
        DatasetError, match=r"run \d+(, \d+)* stands in \w+ and in \w+: snapshots of a run belong"
    ):
        load("mixed", ("x",), ("time",))


def test_a_split_that_others_do_not_have(others):
    others("halved", splits=("train", "validation"))
    with pytest.raises(DatasetError, match="no split test; it has train, validation"):
        load("halved", ("x",), ("time",))


def test_names_and_classes_are_no_features(others):
    others("named")
    with pytest.raises(shard.ShardError, match="no name; it has num, vz, x, y, z"):
        load("named", ("name",), ("time",))
