"""Deep Sets on the packaged sample.

python -m starjax.main --config=configs/deep_sets.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    return common.get_config("deep_sets")
