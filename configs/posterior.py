"""Joint posterior of age and mass from all stars, as seen in the sky.

The model sees positions and velocities across the line of sight, and luminosities.

starjax train --config=posterior
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    """Return the locked config."""
    config = common.get_config("soft_groups")
    config.head = "mixture"
    # x and vx are along the line of sight: training samples are rotated with them, but shown without them.
    config.data.feature_keys = ("x", "y", "z", "vx", "vy", "vz", "log_L_L_sol")
    config.data.hidden_keys = ("x", "vx")
    config.data.centred = True
    config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
    # More than any cluster of the packaged sample has, so that every sample shows all stars.
    config.data.num_star_per_sample = 1024
    config.data.num_sample_per_snapshot = 2
    # One Gaussian per member; with so few simulations mixtures of more overfit.
    config.mixture.num_component = 1
    config.mixture.min_scale = 0.05
    config.mixture.means = "huber"
    # Smaller than typical errors of the age and larger than those of the mass, so that ages do not dominate
    # the loss.
    config.optim.huber_delta = 0.2
    # Each fifth of the simulations is held out by two members. All of them are used for training, and
    # intervals are calibrated on 93 simulations instead of 19.
    config.ensemble.size = 10
    config.ensemble.num_fold = 5
    config.model.num_groups = 12
    config.model.hidden_dims = (32, 32)
    config.train.batch_size = 64
    # Small, so that clusters of few stars are computed with little padding.
    config.train.micro_batch_size = "4"
    config.train.max_epochs = 40
    # No early stopping: the best of all epochs is chosen.
    config.train.patience = 40
    return config
