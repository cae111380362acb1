"""Like the config posterior, for catalogues that lack faint stars and a random fraction of the others.

starjax train --config=posterior_incomplete
"""

from ml_collections import ConfigDict

from starjax.configs import posterior


def get_config() -> ConfigDict:
    """Return the locked config."""
    config = posterior.get_config()
    # From all stars down to those of 0.3 Lsun: G = 18 is 0.003 Lsun at 136 pc, and 0.03 Lsun at 600 pc.
    config.data.faint_limit_range = (-3.5, -0.5)
    config.data.missing_fraction_range = (0.0, 0.5)
    # The catalogues differ in every epoch, so the model keeps improving for longer.
    config.train.max_epochs = 80
    config.train.patience = 80
    return config
