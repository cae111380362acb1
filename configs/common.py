"""All fields of a training run with their defaults; the other configs change a few.

It is also a config by itself, for any model by name: `--config=common:deep_sets`.
"""

from ml_collections import ConfigDict

from starjax.models import factory
from starjax.runs import run_config
from starjax.runtime import environment


def get_config(model: str = "set_transformer") -> ConfigDict:
    """Return the locked config of a model with its default hyperparameters."""
    config = ConfigDict()
    # Seed of everything random: initial parameters, samples, their order, dropout. An integer from 0 to
    # 2**32 - 1.
    config.seed = 0
    # Folder of all results. By default the environment variable OUTPUT_BASE, if it is set.
    config.output_base = environment.default("OUTPUT_BASE", "output")
    # Name of the run, a folder name without `/`; its directory is OUTPUT_BASE/experiments/NAME. If empty, the
    # name consists of model, targets and a digest of the config.
    config.name = ""
    # Run directory, if it should not be OUTPUT_BASE/experiments/NAME.
    config.workdir = ""
    # Whether to resume a run that exists in the run directory; otherwise a new directory is made beside it.
    config.resume = True

    # Run directory, or name of a packaged model, from whose best parameters training starts; empty for random
    # ones. Arrays whose names and shapes agree are copied, those of inputs and outputs only if features, or
    # targets and head, are the same. Its scalers are used instead of those of the data set.
    config.init_from = ""

    # Number of an epoch to profile, from 1 on; 0 for none. The trace shows what the devices wait for. Best a
    # short epoch, since every operation is recorded.
    config.profile = 0

    config.data = _data()
    config.observer = _observer()

    # Name of the model and its hyperparameters, which the docstring of its class describes.
    config.model = ConfigDict({"name": model, **factory.hyperparameters(model)})

    # Meaning of the model's outputs: 'point', a value for each target; 'mixture', a distribution over all
    # targets.
    config.head = "point"
    config.mixture = ConfigDict()
    # Number of Gaussians of the mixture, each with a full covariance over the targets; at least 1.
    config.mixture.num_component = 3
    # Smallest scale of a Gaussian, in scaled units; positive. Without a bound a Gaussian could shrink onto
    # one target, and the likelihood grow without limit.
    config.mixture.min_scale = 0.02
    # Loss of the expected targets: 'likelihood', like everything else of the mixture, or 'huber', as for the
    # head 'point'.
    config.mixture.means = "likelihood"

    config.optim = _optim()

    config.ensemble = ConfigDict()
    # Number of ensemble members, models that are trained at once; at least 1. Their seeds are config.seed,
    # config.seed + 1 and so on. Predictions combine them.
    config.ensemble.size = 1
    # Number of folds for cross-validation, at least 2 and a divisor of `size`; 0 for none. Each fold of the
    # training and validation simulations is held out by the same number of members, and validates them.
    # Intervals are then calibrated on all of these simulations, and all of them train some members. The data
    # set is read into memory.
    config.ensemble.num_fold = 0

    # Values in which ensemble members differ: for each of these hyperparameters a value per member, or () to
    # share one value.
    config.sweep = ConfigDict({"seed": (), **dict.fromkeys(run_config.HPARAMS, ())})
    # Instead of such values, two positive bounds between which one is drawn for each member, uniformly in its
    # logarithm; or ().
    config.sweep.log_uniform = ConfigDict(dict.fromkeys(run_config.HPARAMS, ()))

    config.train = ConfigDict()
    # Samples per step over all devices; a multiple of the number of devices.
    config.train.batch_size = 512
    # Samples that a device sends through the model at a time, as text, such as '256'; 'auto' for as many as
    # fit into memory (on a CPU 64, which fit into its cache). Gradients add up to that of the whole batch:
    # the result is the same within rounding.
    config.train.micro_batch_size = "auto"
    # Largest number of epochs, at least 1; also the length of the learning rate schedule.
    config.train.max_epochs = 50
    # Epochs without a better validation loss after which training stops; at least 1.
    config.train.patience = 10
    return config.lock()


def _optim() -> ConfigDict:
    """Return the fields of the optimizer and the loss."""
    optim = ConfigDict()
    # Optimizer: 'adamw', or 'muon' for matrices with Adam for all other parameters, which learns faster in
    # the first epochs.
    optim.name = "adamw"
    # Peak learning rate; positive. It falls along a cosine to 1e-3 of it at max_epochs. With muon it is that
    # of matrices, and 0.3 of it that of all other parameters; --config=gaia has 0.01.
    optim.learning_rate = 3e-3
    # Weight decay, which is multiplied by the learning rate; 0 or positive. With muon only matrices decay.
    optim.weight_decay = 1e-4
    # Residual beyond which the Huber loss is linear, in scaled units; positive.
    optim.huber_delta = 1.0
    # Largest global norm of a gradient; longer gradients are rescaled to it. Positive.
    optim.clip_norm = 0.5
    # Decay per step of the exponential moving average of the parameters, from 0 to below 1; 0.98 averages
    # over about 50 steps. The averages are validated, tested and used for predictions: the epoch with the
    # best validation loss is then less likely to be a lucky one. 0 for no averaging.
    optim.average_decay = 0.98
    # Epochs over which the learning rate rises linearly from 0; 0 or more, and below max_epochs.
    optim.warmup_epochs = 1
    return optim


def _data() -> ConfigDict:
    """Return the fields of the data set and of the samples drawn from it."""
    data = ConfigDict()
    # Data set: a directory made by starjax build; a packaged one, 'sample' (small NBODY6 clusters at three
    # distances) or 'clusters' (NBODY6 clusters with magnitudes and binaries); or 'tfds:NAME:VERSION', a data
    # set of TensorFlow Datasets.
    data.dataset = "sample"
    # Features of a star, the columns that the model sees; at least one.
    data.feature_keys = ("x", "y", "z", "vx", "vy", "vz")
    # Those of feature_keys that are needed to rotate training clusters, but hidden from the model; () for
    # none. With ('x', 'vx') it sees clusters as projected on the sky, during training from random directions.
    data.hidden_keys = ()
    # Whether positions and velocities are measured from the median star of each sample, as for observed
    # clusters. Otherwise from the origin of the data set, whose distance depends on the age of a simulation.
    data.centred = False
    # Targets, the properties of the cluster to predict; at least one of 'time' [Myr] and
    # 'total_mass_within_2x_r_tidal' [Msun], or another target of the data set.
    data.target_keys = ("total_mass_within_2x_r_tidal",)
    # Bound on the magnitude of scaled features, which are clipped to it so that a single runaway star does
    # not dominate its cluster; positive, float('inf') for none. One star in 2,500 of the packaged sample is
    # beyond 10.
    data.feature_clip = 10.0
    # Largest number of stars of a sample, at least 1; smaller samples are padded to it.
    data.num_star_per_sample = 128
    # Samples of each snapshot per epoch, at least 1.
    data.num_sample_per_snapshot = 16
    # Probability that stars are dropped from a training sample, if its snapshot has at least
    # num_star_per_sample stars.
    data.drop_probability = 0.6
    # Lower and upper bound of the fraction of stars that is then dropped, drawn uniformly; from 0 to 1.
    data.drop_ratio_range = (0.1, 0.9)
    # Survey selection, in training, validation and test: lower and upper bound of the luminosity [log10 Lsun]
    # below which stars are missing, drawn uniformly for each sample; () for no selection. At least 10 stars
    # are left.
    data.faint_limit_range = ()
    # Survey selection: lower and upper bound of the fraction of the brighter stars that is missing, too,
    # drawn uniformly for each sample; from 0 to 1. () without faint_limit_range.
    data.missing_fraction_range = ()
    # Whether to rotate training clusters about the Galactic axis (Cartesian features only) and to mirror them
    # in the Galactic plane, at random. Set it to False if the Galactic potential of the simulations is not
    # symmetric about z (a bar, spiral arms), or if features on the sky (lon_deg …) belong to an observer
    # outside the plane.
    data.random_rotations = True

    # One fold of a cross-validation as validation split: (number of the fold from 0 on, number of folds, seed
    # of the partition); () for the validation simulations of the data set. The simulations of training and
    # validation are partitioned into folds; all others train.
    data.fold = ()

    # Location of the training stars: 'replicated', all on every device; 'sharded', divided among the devices;
    # 'streamed', on disk, and sent to the devices in chunks; 'auto', the first of these that takes at most a
    # quarter of the free memory.
    data.placement = "auto"
    return data


def _observer() -> ConfigDict:
    """Return the fields of the observer, who sees simulated clusters as Gaia's member lists show real ones.

    Everything is drawn anew for each sample. A range is a lower and an upper bound of a uniform draw; ()
    switches that part off.
    """
    observer = ConfigDict()
    # Distance of the cluster [pc], uniform in its logarithm. () for no observer: data.feature_keys are then
    # columns of the data set, and the other fields have no effect.
    observer.distance_range_pc = ()
    # Standard deviation of the height of clusters above the Galactic plane [pc].
    observer.scale_height_pc = 70.0
    # Dispersion of the motions of clusters about the rotation of the disc, towards the Galactic centre, along
    # the rotation and towards the pole [km/s].
    observer.velocity_dispersion_kms = (12.0, 8.0, 5.0)
    # Separation below which two stars of equal brightness are one source [arcsec]; 0: all are resolved.
    observer.resolution_arcsec = 0.0
    # Extinction A_V in front of the cluster [mag].
    observer.extinction_range_v_mag = ()
    # Standard error that is stated for the extinction [mag], uniform in its logarithm. 6 % of the extinction,
    # the error of the extinction law, are added to it.
    observer.extinction_error_range_v_mag = ()
    # Scatter of the extinction from star to star, as a fraction of it.
    observer.differential_extinction = 0.0
    # Whether parallaxes, proper motions and magnitudes have Gaia's errors.
    observer.gaia_errors = False
    # Standard deviations of the systematic error of the colours of the stellar models: of an offset [mag],
    # and of the correction that makes them those of real dwarfs, as a fraction of it.
    observer.colour_error = (0.0, 0.0)
    # Apparent magnitude G beyond which stars are missing.
    observer.faint_limit_range_mag = ()
    # Apparent magnitude G below which most stars are missing.
    observer.bright_limit_range_mag = ()
    # Fraction of the other stars that is missing.
    observer.missing_fraction_range = ()
    # Projected distance from the centre beyond which stars are missing [pc], uniform in its logarithm.
    observer.radius_range_pc = ()
    # Deviation from the motion of the cluster beyond which stars are missing [standard deviations].
    observer.motion_cut_range = ()
    # Fraction of the list that are field stars.
    observer.field_fraction_range = ()
    # Standard deviation of the error of the parallax zero point [mas].
    observer.zero_point_error_mas = 0.0
    # Probability that the reader knows the radial velocity of the cluster, and its standard error [km/s].
    observer.radial_velocity_probability = 1.0
    observer.radial_velocity_error_kms = 0.0
    # Whether centre, distance and motion of the cluster are estimated from the list, as they are for observed
    # ones; otherwise they are exact.
    observer.is_estimated = False
    return observer
