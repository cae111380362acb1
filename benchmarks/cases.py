"""The models of the benchmarks, by their names in the tables."""

import math

from ml_collections import ConfigDict

from starjax.configs import common

# Smallest number of steps of an epoch, and number of training snapshots of the packaged sample.
NUM_STEP, NUM_SNAPSHOT = 38, 1221
# Model, and hyperparameters that are not defaults.
CASES = {
    "summary statistics (8, 4)": ("summary_stats", {}),
    "Deep Sets (8, 4)/(8, 4)": ("deep_sets", {}),
    "Set Transformer (6, 2 heads, 1 SAB)": ("set_transformer", {}),
    "Set Transformer (8, 8 heads, 4 SABs)": (
        "set_transformer",
        {"hidden_dim": 8, "num_heads": 8, "num_sabs": 4, "output_hidden_dims": (4, 2), "dropout": 0.2},
    ),
}


def config(case: str, batch_size: int | None = None) -> ConfigDict:
    """Return the config of a case on the packaged sample; an epoch has at least NUM_STEP steps."""
    model, hparams = CASES[case]
    found = common.get_config(model)
    found.model.update(hparams)
    if batch_size:
        found.train.batch_size = batch_size
        num_sample = math.ceil(NUM_STEP * batch_size / NUM_SNAPSHOT)
        found.data.num_sample_per_snapshot = max(found.data.num_sample_per_snapshot, num_sample)
    return found
