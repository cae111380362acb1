"""An MLP on summary statistics of the packaged sample: mass from positions and velocities.

starjax train --config=summary_stats
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    """Return the locked config."""
    return common.get_config("summary_stats")
