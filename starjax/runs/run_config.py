"""Read from the config of a run its model, samples and ensemble members, and the configs of parts of it.

The modules below take values; this one reads them from the config.
"""

import math
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from starjax import quantities
from starjax.datasets.dataset import Dataset
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.models import factory, heads
from starjax.models.ensemble import EnsembleMembers
from starjax.sampling import centering, observed_samples, survey_selection
from starjax.sampling.observed_samples import ObservedSamples
from starjax.sampling.observer_settings import Observer
from starjax.sampling.sampler import SamplerConfig
from starjax.sampling.survey_selection import SurveySelection

# Hyperparameters in which members may differ beside the seed, and the config section of the shared value.
HPARAMS = {
    "learning_rate": "optim",
    "weight_decay": "optim",
    "dropout": "model",
    "huber_delta": "optim",
}
# Significant digits of a drawn hyperparameter, few enough to be written down.
DRAWN_DIGITS = 4


def head(config: ConfigDict) -> heads.PointHead | heads.MixtureHead:
    """Return the head of the model."""
    return heads.create(config.head, len(config.data.target_keys), config.mixture.to_dict())


def model_shape(config: ConfigDict) -> tuple[int, int]:
    """Return the number of features of a star that the model sees, and of its outputs."""
    return len(config.data.feature_keys) - len(config.data.hidden_keys), head(config).num_output


def model(config: ConfigDict) -> factory.Model:
    """Return the model; nothing is computed."""
    hparams = {name: value for name, value in config.model.items() if name != "name"}
    return factory.create_model(config.model.name, hparams, model_shape(config)[0], head(config))


def sampler(
    config: ConfigDict, scalers: ScalerBundle, feature_keys: Sequence[str] | None = None
) -> SamplerConfig:
    """Return the settings of training samples.

    Args:
      scalers: of the features.
      feature_keys: the features that the stars have, if not all that the config names.
    """
    data = config.data
    keys = data.feature_keys if feature_keys is None else feature_keys
    return SamplerConfig(
        num_star_per_sample=data.num_star_per_sample,
        num_sample_per_snapshot=data.num_sample_per_snapshot,
        drop_probability=data.drop_probability,
        drop_ratio_range=tuple(data.drop_ratio_range),
        feature_clip=data.feature_clip,
        columns=tuple(i for i, key in enumerate(keys) if key not in data.hidden_keys),
        centred=centering.centred_columns(keys) if data.centred else (),
        zeros=centering.centred_zeros(keys, scalers) if data.centred else (),
        selection=selection(config, tuple(keys), scalers),
        observed=_observed(config, scalers),
    )


def observer(config: ConfigDict) -> Observer | None:
    """Return the settings of the observer; None if the config asks for none."""
    return Observer(**config.observer.to_dict()) if config.observer.distance_range_pc else None


def _observed(config: ConfigDict, scalers: ScalerBundle) -> ObservedSamples | None:
    settings = observer(config)
    if settings is None:
        return None
    keys, size = tuple(config.data.feature_keys), config.data.num_star_per_sample
    return ObservedSamples(settings, keys, scalers, size)


def selection(
    config: ConfigDict, feature_keys: tuple[str, ...], scalers: ScalerBundle
) -> SurveySelection | None:
    """Return the survey selection of features with these names and scalers; None if the config asks for none.

    Observed catalogues are incomplete already, and may lack luminosities that the model does not see.
    """
    limits = config.data.faint_limit_range
    if not limits or quantities.LUMINOSITY not in feature_keys:
        return None
    # The sampler compares scaled values, as it has no others; scalers are monotonic.
    scaled = scalers.of(quantities.LUMINOSITY).transform(np.array(limits, np.float64))
    column = feature_keys.index(quantities.LUMINOSITY)
    return SurveySelection(column, tuple(scaled.tolist()), tuple(config.data.missing_fraction_range))


def to_lists(config: ConfigDict, data: Dataset, *splits: str, snapshots: np.ndarray | None = None) -> Dataset:
    """Return a data set with some splits as member lists have them, if the config asks for it.

    That is, with the survey selection or the observer of the config applied.

    Args:
      snapshots: the numbers of the snapshots to keep of each of these splits; by default all.
    """
    fold = config.data.fold[0] if config.data.fold else None
    observed = _observed(config, data.feature_scalers)
    if observed is not None:
        return observed_samples.observe_splits(data, splits, observed, fold, snapshots)
    chosen = selection(config, tuple(config.data.feature_keys), data.feature_scalers)
    if chosen is None:
        return data
    return survey_selection.apply_to_splits(data, splits, chosen, fold, snapshots)


def members(config: ConfigDict) -> EnsembleMembers:
    """Return the ensemble members, with the hyperparameters of their own that `config.sweep` gives them."""
    size, sweep = config.ensemble.size, config.sweep
    hparams = {name: tuple(map(float, sweep[name])) for name in HPARAMS if sweep[name]}
    for number, name in enumerate(HPARAMS):
        if sweep.log_uniform[name]:
            low, high = map(math.log, sweep.log_uniform[name])
            # One random stream per hyperparameter, so that sweeping another one does not change its values.
            drawn = np.exp(np.random.default_rng((config.seed, number)).uniform(low, high, size))
            hparams[name] = tuple(float(f"{value:.{DRAWN_DIGITS}g}") for value in drawn)
    return EnsembleMembers(tuple(sweep.seed) or tuple(range(config.seed, config.seed + size)), hparams)


def is_sweep(config: ConfigDict) -> bool:
    """Return whether members differ in more than consecutive seeds."""
    given = config.sweep.to_dict()
    return any([*given.pop("log_uniform").values(), *given.values()])


def size_of_fold(config: ConfigDict) -> int:
    """Return the number of members that leave out each fold."""
    return config.ensemble.size // config.ensemble.num_fold


def fold_config(config: ConfigDict, number: int) -> ConfigDict:
    """Return the config of the run of those members that leave out a fold."""
    part, size = ConfigDict(config.to_dict()), size_of_fold(config)
    part.data.fold = (number, config.ensemble.num_fold, config.seed)
    # The seeds that these members have in the whole ensemble.
    part.seed, part.ensemble.size, part.ensemble.num_fold = config.seed + number * size, size, 0
    return part.lock()


def member_config(config: ConfigDict, member: int) -> ConfigDict:
    """Return the config with which one member is trained alone, to the same result."""
    found = members(config)
    of_member = fold_config(config, member // size_of_fold(config)) if config.ensemble.num_fold else config
    alone = ConfigDict(of_member.to_dict())
    alone.seed = found.seeds[member]
    for name, values in found.hparams.items():
        alone[HPARAMS[name]][name] = values[member]
    alone.ensemble.size = 1
    # Its own values are now the shared ones, and a sweep would need one for each of several members.
    for name in ("seed", *HPARAMS):
        alone.sweep[name] = ()
    for name in HPARAMS:
        alone.sweep.log_uniform[name] = ()
    return alone.lock()
