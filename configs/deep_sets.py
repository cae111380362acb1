"""Deep Sets on the packaged sample: mass from positions and velocities.

starjax train --config=deep_sets
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    """Return the locked config."""
    return common.get_config("deep_sets")
