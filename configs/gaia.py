"""Joint posterior of age and mass from a member list of Gaia: motions, magnitudes, colours and their errors.

The packaged model `gaia` is trained with this config. The model sees simulated clusters as Gaia's lists would
show them, from other distances and with other gaps in every epoch.

starjax train --config=gaia
"""

from ml_collections import ConfigDict

from starjax.configs import common


def get_config() -> ConfigDict:
    """Return the locked config."""
    config = common.get_config("fourier_groups")
    config.head = "mixture"
    config.data.dataset = "clusters"
    config.data.feature_keys = (
        *("y", "z", "vy", "vz", "v_error_kms"),
        *("abs_mag_g", "abs_mag_g_error", "bp_rp_0", "bp_rp_0_error", "membership_probability"),
    )
    config.data.target_keys = ("time", "total_mass_within_2x_r_tidal")
    config.data.num_star_per_sample = 1024
    config.data.num_sample_per_snapshot = 1
    config.data.drop_probability = 0.0
    config.data.random_rotations = False
    observer = config.observer
    # From the Hyades to the farthest clusters whose lists still show the main sequence of solar-type stars.
    observer.distance_range_pc = (40.0, 1500.0)
    observer.resolution_arcsec = 0.65
    observer.extinction_range_v_mag = (0.0, 2.5)
    observer.extinction_error_range_v_mag = (0.02, 0.15)
    observer.differential_extinction = 0.05
    observer.gaia_errors = True
    observer.colour_error = (0.02, 0.3)
    observer.faint_limit_range_mag = (16.5, 20.5)
    observer.bright_limit_range_mag = (2.0, 5.0)
    observer.missing_fraction_range = (0.0, 0.25)
    observer.radius_range_pc = (8.0, 50.0)
    observer.motion_cut_range = (2.5, 6.0)
    observer.field_fraction_range = (0.0, 0.2)
    observer.zero_point_error_mas = 0.015
    observer.radial_velocity_probability = 0.3
    observer.radial_velocity_error_kms = 0.5
    observer.is_estimated = True
    config.mixture.num_component = 1
    config.mixture.min_scale = 0.05
    # Their fine structure tells the age.
    config.model.fourier_columns = tuple(map(config.data.feature_keys.index, ("abs_mag_g", "bp_rp_0")))
    config.model.dropout = 0.2
    # Each third of the simulations is held out by two members: all of them are used for training, and
    # intervals are calibrated on 109 simulations instead of 14.
    config.ensemble.size = 6
    config.ensemble.num_fold = 3
    config.optim.name = "muon"
    config.optim.learning_rate = 0.01
    config.optim.weight_decay = 0.1
    config.optim.average_decay = 0.99
    config.train.batch_size = 32
    config.train.micro_batch_size = "8"
    config.train.max_epochs = 80
    # No early stopping: the best of all epochs is chosen.
    config.train.patience = 80
    return config
