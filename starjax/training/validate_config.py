"""Check a training config once, before anything compiles; errors name field, value and allowed values."""

import math
import operator

import flax.traverse_util
from ml_collections import ConfigDict

from starjax import quantities
from starjax.errors import ConfigError
from starjax.models import factory, heads
from starjax.runs import run_config
from starjax.sampling import device_placement
from starjax.sampling.observer import FEATURES
from starjax.training.optimizer import OPTIMIZERS


def check_config(config: ConfigDict, num_device: int) -> None:
    """Raise ConfigError for values that are out of range, unknown or contradictory.

    Raises:
      ConfigError: names the field, its value and the allowed values.
    """
    # A config of another command, such as a grid or a build, lacks all or most of them.
    parts = ("seed", "data", "observer", "model", "head", "mixture", "optim", "ensemble", "sweep", "train")
    missing = [name for name in parts if name not in config]
    if missing:
        raise ConfigError(
            f"the config has no {', '.join(missing)}: a training config, such as --config=deep_sets, is "
            "needed"
        )
    for field, value in flax.traverse_util.flatten_dict(config.to_dict(), sep=".").items():
        # `type`, since True is an int as well. A seed is unsigned, and has a rule of its own.
        if type(value) is int and field != "seed" and abs(value) >= 2**31:
            raise ConfigError(
                f"config.{field}={value} should be less than 2**31 (devices use 32-bit numbers)"
            )
    unknown = set(config.model) - {"name", *factory.hyperparameters(config.model.name)}
    if unknown:
        raise ConfigError(
            f"config.model.name={config.model.name!r} has no hyperparameter {', '.join(sorted(unknown))}: "
            f"start from a config of that model, such as --config=common:{config.model.name}"
        )
    rules = _rules(config, num_device) | _model_rules(config.model)
    for field, (is_allowed, allowed) in rules.items():
        if not is_allowed:
            raise ConfigError(f"config.{field}={operator.attrgetter(field)(config)!r} should be {allowed}")
    # The class of the model checks its hyperparameters.
    factory.num_params(dict(config.model.items()), *run_config.model_shape(config))
    if config.ensemble.size > 1 or run_config.is_sweep(config):
        _check_members(config, num_device)


def _rules(config: ConfigDict, num_device: int) -> dict[str, tuple[bool, str]]:
    """Return, for each field by name, whether its value is allowed, and the allowed values in words."""
    optim, train = config.optim, config.train
    return {
        # First, since other rules refer to it.
        "train.max_epochs": (train.max_epochs >= 1, "at least 1"),
        "name": (
            "/" not in config.name and config.name not in (".", "..") and config.name.isprintable(),
            "a name of a folder, without / and without control characters",
        ),
        "profile": (
            config.profile == 0 or (not config.ensemble.num_fold and 0 < config.profile <= train.max_epochs),
            "0, for none, up to train.max_epochs; 0 with config.ensemble.num_fold",
        ),
        "seed": (0 <= config.seed < 2**32, "an integer from 0 to 2**32 - 1"),
        **_data_rules(config),
        **(_observer_rules(config) if config.observer.distance_range_pc else {}),
        "head": (config.head in heads.HEADS, " or ".join(heads.HEADS)),
        "mixture.num_component": (config.mixture.num_component >= 1, "at least 1"),
        "mixture.min_scale": (0 < config.mixture.min_scale < math.inf, "positive and finite"),
        "mixture.means": (config.mixture.means in heads.MEANS, " or ".join(heads.MEANS)),
        "optim.name": (optim.name in OPTIMIZERS, " or ".join(OPTIMIZERS)),
        "optim.learning_rate": (0 < optim.learning_rate < math.inf, "positive and finite"),
        "optim.weight_decay": (0 <= optim.weight_decay < math.inf, "0 or positive, and finite"),
        "optim.huber_delta": (optim.huber_delta > 0, "positive"),
        "optim.clip_norm": (optim.clip_norm > 0, "positive"),
        "optim.average_decay": (0 <= optim.average_decay < 1, "at least 0 and below 1"),
        "optim.warmup_epochs": (
            0 <= optim.warmup_epochs < train.max_epochs,
            f"0 or more, and below train.max_epochs={train.max_epochs}; for none, add "
            "--config.optim.warmup_epochs=0",
        ),
        "ensemble.size": (
            1 <= config.ensemble.size <= 2**32 - config.seed,
            "at least 1, and config.seed + config.ensemble.size at most 2**32",
        ),
        "ensemble.num_fold": (
            config.ensemble.num_fold == 0 or _is_divisor(config.ensemble.num_fold, config.ensemble.size),
            f"0, for none, or from 2 on and a divisor of config.ensemble.size={config.ensemble.size}: each "
            "fold is left out by the same number of members",
        ),
        "train.batch_size": (
            train.batch_size >= 1 and train.batch_size % num_device == 0,
            f"a positive multiple of the {num_device} devices",
        ),
        "train.micro_batch_size": (
            train.micro_batch_size == "auto"
            or (train.micro_batch_size.isdecimal() and int(train.micro_batch_size) >= 1),
            "'auto' or a number from 1 on, as text",
        ),
        "train.patience": (train.patience >= 1, "at least 1"),
    }


def _data_rules(config: ConfigDict) -> dict[str, tuple[bool, str]]:
    """Return the rules of the fields of config.data, which are as those of `_rules`."""
    data = config.data
    return {
        "data.feature_keys": (_are_names(data.feature_keys), "at least one name, none twice"),
        "data.hidden_keys": (
            set(data.hidden_keys) < set(data.feature_keys),
            f"some of data.feature_keys={tuple(data.feature_keys)!r}, not all",
        ),
        "data.target_keys": (_are_names(data.target_keys), "at least one name, none twice"),
        "data.feature_clip": (data.feature_clip > 0, "positive"),
        "data.num_star_per_sample": (data.num_star_per_sample >= 1, "at least 1"),
        "data.num_sample_per_snapshot": (data.num_sample_per_snapshot >= 1, "at least 1"),
        "data.drop_probability": (0 <= data.drop_probability <= 1, "between 0 and 1"),
        "data.drop_ratio_range": (
            _is_range(data.drop_ratio_range),
            "two fractions between 0 and 1, the lower first",
        ),
        "data.faint_limit_range": (
            not data.faint_limit_range
            or (_is_ascending(data.faint_limit_range) and quantities.LUMINOSITY in data.feature_keys),
            f"(), or two luminosities [log10 Lsun], the fainter first, with {quantities.LUMINOSITY} among "
            "data.feature_keys",
        ),
        "data.missing_fraction_range": (
            _is_range(data.missing_fraction_range)
            if data.faint_limit_range
            else not data.missing_fraction_range,
            "two fractions between 0 and 1, the lower first, with data.faint_limit_range, and () without",
        ),
        "data.fold": (
            not data.fold or (_is_fold(data.fold) and not config.ensemble.num_fold),
            "(), or a fold's number from 0 on, the number of folds, at least 2, and the seed that divides "
            "the simulations; () with config.ensemble.num_fold, which trains all folds",
        ),
        "data.placement": (
            data.placement in ("auto", *device_placement.PLACEMENTS),
            f"auto, {', '.join(device_placement.PLACEMENTS)}",
        ),
    }


def _observer_rules(config: ConfigDict) -> dict[str, tuple[bool, str]]:
    """Return the rules of config.observer if it is on, and of the fields that it excludes."""
    data, observer = config.data, config.observer
    ranges = [
        name for name in observer if name.endswith(("_range", "_range_pc", "_range_mag", "_range_v_mag"))
    ]
    # These are drawn uniformly in the logarithm.
    positive = ("distance_range_pc", "radius_range_pc", "extinction_error_range_v_mag")
    rules = {
        f"observer.{name}": (
            not observer[name]
            or (_is_ascending(observer[name]) and (name not in positive or observer[name][0] > 0)),
            "(), or two numbers, the lower first" + (", positive" if name in positive else ""),
        )
        for name in ranges
    }
    for name in ("missing_fraction_range", "field_fraction_range"):
        rules[f"observer.{name}"] = (
            not observer[name] or (_is_range(observer[name]) and observer[name][1] < 1),
            "(), or two fractions from 0 to below 1, the lower first",
        )
    for name, num in {"velocity_dispersion_kms": 3, "colour_error": 2}.items():
        rules[f"observer.{name}"] = (
            len(observer[name]) == num and all(0 <= value < math.inf for value in observer[name]),
            f"{num} numbers that are 0 or positive, and finite",
        )
    sizes = ("scale_height_pc", "resolution_arcsec", "differential_extinction", "zero_point_error_mas")
    for name in (*sizes, "radial_velocity_error_kms"):
        rules[f"observer.{name}"] = (0 <= observer[name] < math.inf, "0 or positive, and finite")
    rules["observer.radial_velocity_probability"] = (
        0 <= observer.radial_velocity_probability <= 1,
        "between 0 and 1",
    )
    excluded = {
        "hidden_keys": (),
        "centred": False,
        "random_rotations": False,
        "drop_probability": 0.0,
        "faint_limit_range": (),
    }
    for name, off in excluded.items():
        rules[f"data.{name}"] = (data[name] == off, f"{off!r} with config.observer, which replaces it")
    rules["data.feature_keys"] = (
        _are_names(data.feature_keys) and set(data.feature_keys) <= set(FEATURES),
        f"some of the features that the observer derives: {', '.join(FEATURES)}",
    )
    return rules


def _model_rules(model: ConfigDict) -> dict[str, tuple[bool, str]]:
    """Return the rules of the hyperparameters of the model."""
    rules = {}
    for name, value in model.items():
        if isinstance(value, int | tuple) and not isinstance(value, bool):
            numbers = value if isinstance(value, tuple) else (value,)
            # Columns are numbered from 0 on.
            least = 0 if name == "fourier_columns" else 1
            rules[f"model.{name}"] = (
                all(isinstance(n, int) and n >= least for n in numbers),
                f"whole numbers from {least} on",
            )
    if "dropout" in model:
        # What is kept is divided by 1 - dropout, which must not be 0.
        rules["model.dropout"] = (0 <= model.dropout <= 0.99, "from 0 to 0.99")
    return rules


def _check_members(config: ConfigDict, num_device: int) -> None:
    """Raise ConfigError for a sweep that is ambiguous, and for members that could not be trained alone."""
    size, sweep = config.ensemble.size, config.sweep
    if config.ensemble.num_fold and run_config.is_sweep(config):
        raise ConfigError(
            f"config.ensemble.num_fold={config.ensemble.num_fold} and config.sweep: members that leave out "
            "different simulations cannot be compared; set config.ensemble.num_fold=0, or leave "
            "config.sweep out"
        )
    for name in ("seed", *run_config.HPARAMS):
        values = sweep[name]
        if not all(_is_number(value, int if name == "seed" else (int, float)) for value in values):
            kind = "whole numbers" if name == "seed" else "numbers"
            raise ConfigError(f"config.sweep.{name}={values!r} should be {kind}")
        if values and len(values) != size:
            raise ConfigError(
                f"config.sweep.{name}={values!r} has {len(values)} value(s) where "
                f"config.ensemble.size={size}: give one for each member"
            )
        bounds = sweep.log_uniform[name] if name in run_config.HPARAMS else ()
        if values and bounds:
            raise ConfigError(
                f"config.sweep.{name}={values!r} and config.sweep.log_uniform.{name}={bounds!r}: give one of "
                "them"
            )
        if bounds and not (_is_ascending(bounds) and bounds[0] > 0):
            raise ConfigError(
                f"config.sweep.log_uniform.{name}={bounds!r} should be two positive numbers, the lower first"
            )
    if "dropout" not in config.model and (sweep.dropout or sweep.log_uniform.dropout):
        raise ConfigError(f"config.sweep.dropout: {config.model.name} has no dropout")
    # Each by itself: a swept value may be out of range, and the best member becomes a run of its own.
    for member in range(size):
        try:
            check_config(run_config.member_config(config, member), num_device)
        except ConfigError as error:
            raise ConfigError(f"member {member} of config.sweep: {error}") from error


def _is_number(value, kind) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_fold(fold) -> bool:
    is_whole = len(fold) == 3 and all(_is_number(value, int) for value in fold)
    return is_whole and 0 <= fold[0] < fold[1] and fold[1] >= 2 and 0 <= fold[2] < 2**32


def _is_divisor(number: int, of: int) -> bool:
    return number >= 2 and of % number == 0


def _is_range(bounds) -> bool:
    return _is_ascending(bounds) and bounds[0] >= 0 and bounds[1] <= 1


def _is_ascending(bounds) -> bool:
    is_pair = len(bounds) == 2 and all(_is_number(bound, (int, float)) for bound in bounds)
    return is_pair and bounds[0] <= bounds[1]


def _are_names(keys) -> bool:
    return len(keys) > 0 and all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)
