"""Summary statistics and an MLP on the packaged sample.

starjax train --config=summary_stats
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    return common.get_config("summary_stats")
