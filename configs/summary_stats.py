"""Summary statistics and an MLP on the packaged sample.

python -m starjax.main --config=configs/summary_stats.py
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    return common.get_config("summary_stats")
