"""Every field of a training run, with its meaning, unit and default. Model files override a few.

Also a config of its own, for any model by name: `--config=common:deep_sets`.
"""

from ml_collections import ConfigDict

from starjax.models import factory
from starjax.runs import run_config
from starjax.runtime import environment


def get_config(model: str = "set_transformer") -> ConfigDict:
    """The locked config of `model` with its default hyperparameters."""
    config = ConfigDict()
    # Names everything random: initialization, samples, order, dropout.
    config.seed = 0
    # Where results go; a run's own folder is OUTPUT_BASE/experiments/<name>.
    config.output_base = environment.default("OUTPUT_BASE", "output")
    # Name of the run, without /; empty: model, targets and a digest of all that follows.
    config.name = ""
    # The run's folder; empty: from the name.
    config.workdir = ""
    # Go on with a run that stands in the folder; False: start afresh in a new folder beside it.
    config.resume = True

    # An epoch to trace, which shows where the device waits; best a short one. 0: none.
    config.profile = 0

    config.data = _data()

    # The model's name, and its hyperparameters as its class documents them.
    config.model = ConfigDict({"name": model, **factory.hyperparameters(model)})

    # What the model gives: 'point', a value of each target; 'mixture', a distribution over all of them.
    config.head = "point"
    config.mixture = ConfigDict()
    # Gaussians of the mixture, each with a full covariance of the targets.
    config.mixture.num_component = 3
    # Least width of each, in scaled units.
    config.mixture.min_scale = 0.02
    # What the expected targets learn from: 'likelihood', as all else of the mixture, or 'huber', the loss of points.
    config.mixture.means = "likelihood"

    config.optim = ConfigDict()
    # Peak learning rate of AdamW; it falls along a cosine to 1e-3 of this at max_epochs.
    config.optim.learning_rate = 3e-3
    config.optim.weight_decay = 1e-4
    # Residual, in scaled units, beyond which the Huber loss grows linearly.
    config.optim.huber_delta = 1.0
    # Largest global norm of a gradient; longer ones are shortened to it.
    config.optim.clip_norm = 0.5
    # Weight that the running average of the parameters keeps a step (0.98 reaches back some 50 steps). The
    # average is what is validated and tested, so that the best epoch is less likely a lucky one. 0: the
    # parameters themselves.
    config.optim.average_decay = 0.98
    # Epochs over which the learning rate rises linearly from 0.
    config.optim.warmup_epochs = 1

    config.ensemble = ConfigDict()
    # Models trained at once, which differ in their seeds: config.seed, config.seed + 1 and so on. Prediction gives
    # their mean and spread.
    config.ensemble.size = 1
    # Folds (see `data.fold`) of which each is left out by as many of the members. So intervals are calibrated on all
    # runs of training and validation, and members learn from all of them together. The data set is read into memory.
    # 0: all members learn from the training runs.
    config.ensemble.num_fold = 0

    # What members differ in beside that: a value for each of them, or none.
    config.sweep = ConfigDict({"seed": (), **dict.fromkeys(run_config.HPARAMS, ())})
    # Or the lower and upper bound of values that are drawn, uniformly in their logarithms.
    config.sweep.log_uniform = ConfigDict(dict.fromkeys(run_config.HPARAMS, ()))

    config.train = ConfigDict()
    # Samples of one step, over all devices; a multiple of their number.
    config.train.batch_size = 512
    # Samples that a device sends through the model at a time, while their gradients add up to that of its share
    # of the batch: the same result, within rounding, in less memory. 'auto': as many as fit (on a CPU: 64, which
    # stay in its cache), or a number as text, such as '256'.
    config.train.micro_batch_size = "auto"
    # Epochs at most; also the length of the learning-rate schedule.
    config.train.max_epochs = 50
    # Epochs without a better validation loss after which training stops.
    config.train.patience = 10
    return config.lock()


def _data() -> ConfigDict:
    """What a model learns from, and what it sees of it."""
    data = ConfigDict()
    # A data set directory made by starjax build; 'sample', the packaged NBODY6 sample; or 'tfds:NAME:VERSION', a data
    # set of TensorFlow Datasets.
    data.dataset = "sample"
    # Columns of a star that the model sees.
    data.feature_keys = ("x", "y", "z", "vx", "vy", "vz")
    # Those of them that turn a training cluster but that the model does not see. With ('x', 'vx') hidden it
    # sees clusters as the sky shows them, across the line of sight, in training from random directions.
    data.hidden_keys = ()
    # Places and velocities are measured from the median star of each sample, as those of observed clusters have to
    # be. False: from the origin of the data set, whose distance tells of a simulation's age.
    data.centred = False
    # Properties of the cluster that it predicts: 'time' [Myr], 'total_mass_within_2x_r_tidal' [Msun].
    data.target_keys = ("total_mass_within_2x_r_tidal",)
    # Scaled features beyond this magnitude are cut to it, lest one runaway star decide for its cluster;
    # float('inf') for none. One star in 2,500 of the sample is beyond 10.
    data.feature_clip = 10.0
    # Slots of a sample: at most this many stars are drawn.
    data.num_star_per_sample = 128
    # Samples of every snapshot in an epoch.
    data.num_sample_per_snapshot = 16
    # Chance that a training sample of a snapshot with at least num_star_per_sample stars loses some.
    data.drop_probability = 0.6
    # Lower and upper bound of the fraction that it then loses.
    data.drop_ratio_range = (0.1, 0.9)
    # What a survey misses, in training, validation and test alike: stars fainter than a limit, drawn for each sample
    # uniformly between two luminosities [log10 Lsun], and a fraction of the others, drawn between two fractions.
    # Never fewer than 10 stars are left. (): samples lack none.
    data.faint_limit_range = ()
    data.missing_fraction_range = ()
    # Turn training clusters about the Galaxy's axis (Cartesian features only) and mirror them in its plane,
    # at random. False where the simulations' Galaxy is not symmetric (a bar, spiral arms) about z, or where
    # features of the sky (lon_deg …) are seen along lines of sight that leave the plane.
    data.random_rotations = True

    # Instead of the data set's own validation runs: a fold's number from 0 on, how many folds there are, and the seed
    # that parts the runs of training and validation into them; those of the fold validate, all others train.
    data.fold = ()

    # Where the stars are while a model trains. 'replicated': on every device; 'sharded': each device has some
    # snapshots of its own; 'streamed': on the host's disk, and some of them on the way to a device; 'auto': the
    # first of these that takes no more than a quarter of the free memory.
    data.placement = "auto"
    return data
