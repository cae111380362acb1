"""Deep Sets on the packaged sample.

starjax train --config=deep_sets
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    return common.get_config("deep_sets")
