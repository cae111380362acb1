"""As configs/posterior.py, for lists that lack stars: beyond a magnitude, and at random.

starjax train --config=posterior_incomplete
"""

from ml_collections import ConfigDict

from starjax.configs import posterior


def get_config() -> ConfigDict:
    config = posterior.get_config()
    # From all stars down to those of 0.3 Lsun: G = 18 is 0.003 Lsun at 136 pc, and 0.03 Lsun at 600 pc.
    config.data.faint_limit_range = (-3.5, -0.5)
    config.data.missing_fraction_range = (0.0, 0.5)
    # No two epochs show the same lists, so that more of them teach more.
    config.train.max_epochs = 80
    config.train.patience = 80
    return config
