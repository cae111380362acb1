"""Data sets of others are read; here they are written by an ordinary builder of TFDS."""

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from starjax import errors
from starjax.datasets import shard
from starjax.datasets.dataset import DatasetError
from starjax.training.run import train_and_test
from tests.datasets.tfds.published import load


class Others(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder as somebody who does not know starjax might write it, except for the names."""

    VERSION = tfds.core.Version("0.3.0")
    # Otherwise TFDS looks for them with importlib_resources, on which it does not depend.
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
# The same as arrays, which may differ in length.
COLUMNS = tfds.features.FeaturesDict(
    {key: tfds.features.Tensor(shape=(None,), dtype=dtype) for key, dtype in NUMBERS.items()}
)
MADE_TARGETS = {"time": np.float32, "r_half": np.float32, "kind": tfds.features.Text()}


def made_records(rng, simulations, num_snapshot, has_names, changes):
    """Yield snapshots of these simulations, such as a model could learn from."""
    for _ in range(num_snapshot):
        num_star = int(rng.integers(5, 30))
        stars = {key: rng.normal(0, 10, num_star).astype(dtype) for key, dtype in NUMBERS.items()}
        if has_names:
            stars["name"] = [f"star {i}" for i in range(num_star)]
        targets = {"time": rng.uniform(1, 300), "r_half": rng.uniform(1, 3), "kind": "open"}
        yield {
            "stars": stars | changes,
            "targets": targets,
            "run_id": int(rng.choice(simulations)),
            "label": "open",
        }


@pytest.fixture
def others(data_dir):
    """Return a function that prepares `tfds:DATA_SET` and returns its records by split.

    Its keyword arguments replace values of the stars in validation.
    """

    def made(data_set, splits=("train", "validation", "test"), stars=STARS, id_step=100, **changes):
        rng = np.random.default_rng(3)
        records = {
            split: list(
                made_records(
                    rng,
                    range(number * id_step, number * id_step + 100),
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


def test_records_and_fitted_scalers_are_read(others, capsys):
    records = others("others")
    data = load("others", ("z", "vz", "x", "num"), ("r_half", "time"))
    order = []
    for ours, theirs in {"train": "train", "val": "validation", "test": "test"}.items():
        one = data.shards[ours]
        unscaled = data.feature_scalers.inverse(one.feature.astype(np.float64), one.feature_keys)
        # TFDS shuffles records when it writes them, so that snapshots are identified by their times.
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
    assert "tfds:others contains no scalers: fitted to its training split (" in said
    assert "(x y z: robust, vz: robust, " in said
    assert "r_half: standard" in said


def test_fitted_scalers_do_not_depend_on_the_named_features(others):
    records = others("scaled")["train"]
    values = np.concatenate([record["stars"][key] for record in records for key in ("x", "y", "z")])
    low, middle, high = np.percentile(values, [25, 50, 75])
    for keys in (("x",), ("x", "y", "z"), ("vz", "y")):
        fitted = load("scaled", keys, ("time",)).feature_scalers.of(keys[-1])
        np.testing.assert_allclose(fitted.params["center"], middle, rtol=1e-5)
        np.testing.assert_allclose(fitted.params["scale"], high - low, rtol=1e-5)


@pytest.mark.weekly
def test_training_on_a_data_set_of_others(others, config):
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
        ({key: [] for key in three_stars()}, "validation contains no stars"),
    ],
    ids=["nan", "huge", "none"],
)
def test_invalid_stars_are_refused(others, changes, said, request):
    name = f"bad_{request.node.callspec.id}"
    others(name, **changes)
    with pytest.raises(errors.StarjaxError, match=said):
        load(name, ("x", "vz"), ("time",))
    if "nan" in name:
        load(name, ("vz",), ("time",))  # columns that are not wanted may be invalid


def test_features_of_different_lengths_are_refused(others):
    others("columns", stars=COLUMNS)
    load("columns", ("x", "vz"), ("time",))
    others("uneven", stars=COLUMNS, x=np.zeros(2, np.float32))
    with pytest.raises(errors.StarjaxError, match="validation: record 0 has a different number of values"):
        load("uneven", ("x", "vz"), ("time",))


def test_a_simulation_in_two_splits_is_refused(others):
    others("mixed", id_step=0)
    with pytest.raises(DatasetError, match=r"simulation \d+(, \d+)* is in \w+ and in \w+, but all snapshots"):
        load("mixed", ("x",), ("time",))


def test_a_missing_split_is_named(others):
    others("halved", splits=("train", "validation"))
    with pytest.raises(DatasetError, match="no split test; it has train, validation"):
        load("halved", ("x",), ("time",))


def test_columns_of_text_are_not_features(others):
    others("named")
    with pytest.raises(shard.ShardError, match="no name; it has num, vz, x, y, z"):
        load("named", ("name",), ("time",))
