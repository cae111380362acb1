"""Architectures times features times targets: 136 runs, one after another or shared by the jobs of an array.

starjax grid --config=grid
starjax grid --config=grid --config.models=deep_sets --config.base.train.max_epochs=5
"""

from ml_collections import ConfigDict

from starjax import quantities
from starjax.configs import common


def get_config() -> ConfigDict:
    config = ConfigDict()
    # What the runs share: the fields of configs/common.py, without those that the grid sets for each.
    config.base = common.get_config()
    with config.base.unlocked():
        del config.base.name, config.base.workdir, config.base.resume, config.base.model
        del config.base.data.feature_keys, config.base.data.target_keys

    # The models, by name, and the sizes of each.
    config.models = ("summary_stats", "deep_sets", "set_transformer")
    config.sizes = ConfigDict()
    # Hidden widths of the network.
    config.sizes.summary_stats = ((4,), (8,), (12,), (24,))
    # Hidden widths of the network on stars, and of that on sets.
    config.sizes.deep_sets = ((4, 4), (8, 8), (12, 12), (24, 24))
    # Width, heads, self-attention blocks.
    config.sizes.set_transformer = (
        (4, 2, 1),
        (4, 4, 1),
        (4, 2, 2),
        (4, 4, 2),
        (6, 2, 1),
        (6, 2, 2),
        (6, 3, 1),
        (6, 3, 2),
        (6, 6, 1),
    )
    # What the models see, and what they predict: names that starjax/names.py has, or tuples of columns.
    config.feature_sets = tuple(quantities.sets("feature"))
    config.target_sets = tuple(quantities.sets("target"))
    return config.lock()
