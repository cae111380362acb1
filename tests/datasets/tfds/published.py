"""Helpers to load published data sets and to compare data sets."""

import numpy as np

from starjax.configs import dataset
from starjax.datasets import shard
from starjax.datasets.dataset import Dataset
from starjax.datasets.load import load_dataset

FEATURES = dataset.get_config().feature_keys
TARGETS = ("time", "total_mass_within_2x_r_tidal")
ARRAYS = ("feature", "target", "ptr", *shard.PROVENANCE)


def load(name, feature_keys=FEATURES, target_keys=TARGETS):
    return load_dataset(f"tfds:{name}", feature_keys, target_keys)


def assert_same(one: Dataset, other: Dataset):
    """Assert that two data sets are equal to the bit."""
    for split, expected in other.shards.items():
        got = one.shards[split]
        assert (got.feature_keys, got.target_keys) == (expected.feature_keys, expected.target_keys)
        for name in ARRAYS:
            array, wanted = getattr(got, name), getattr(expected, name)
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted, err_msg=f"{split} {name}")
    assert one.feature_scalers == other.feature_scalers
    assert one.target_scalers == other.target_scalers
