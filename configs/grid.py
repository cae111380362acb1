"""A grid of architectures, features and targets: 136 runs, one after another or divided among jobs.

starjax grid --config=grid
starjax grid --config=grid --config.models=deep_sets --config.base.train.max_epochs=5
"""

from ml_collections import ConfigDict

from starjax import quantities
from starjax.configs import common


def get_config() -> ConfigDict:
    """Return the locked config of the grid."""
    config = ConfigDict()
    # Fields that all runs share: those of configs/common.py, except for the ones that the grid sets for each
    # run.
    config.base = common.get_config()
    with config.base.unlocked():
        del config.base.name, config.base.workdir, config.base.resume, config.base.model
        del config.base.data.feature_keys, config.base.data.target_keys

    # Models, by name.
    config.models = ("summary_stats", "deep_sets", "set_transformer")
    config.sizes = ConfigDict()
    # Sizes of `summary_stats`: hidden widths of the network.
    config.sizes.summary_stats = ((4,), (8,), (12,), (24,))
    # Sizes of `deep_sets`: hidden widths of the network on stars, and of that on sets.
    config.sizes.deep_sets = ((4, 4), (8, 8), (12, 12), (24, 24))
    # Sizes of `set_transformer`: width, number of heads, number of self-attention blocks.
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
    # Sets of features: names that starjax/quantities.py defines, or tuples of columns.
    config.feature_sets = tuple(quantities.sets("feature"))
    # Sets of targets: names that starjax/quantities.py defines, or tuples of columns.
    config.target_sets = tuple(quantities.sets("target"))
    return config.lock()
