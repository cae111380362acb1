"""Training that starts from the parameters of another run, `config.init_from`, instead of from random ones.

The parameters mean something only for inputs and outputs as they were learned on. So the scalers of that run
are used, and layers that read the features or give the outputs are copied only if these are the same.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from starjax.datasets import mapped_arrays
from starjax.datasets.dataset import BUNDLES, Dataset
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.errors import ConfigError, StarjaxError
from starjax.io import files
from starjax.models import factory
from starjax.runs import best_params, pretrained, run_config
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record
from starjax.runtime import devices, log
from starjax.training.trainer import abstract_arrays


@dataclasses.dataclass(frozen=True)
class SourceRun:
    """A finished run from whose parameters training starts.

    Attributes:
      run_dir: its directory.
      sha256: the digest of its `SHA256SUMS`, which identifies all its files.
      config: its config.
      params: the best parameters of its members by name (see `best_params.flatten`), members first.
      feature_scalers, target_scalers: its scalers.
    """

    run_dir: RunDirectory
    sha256: str
    config: ConfigDict
    params: dict[str, np.ndarray]
    feature_scalers: ScalerBundle
    target_scalers: ScalerBundle


def read_source(config: ConfigDict) -> SourceRun | None:
    """Return the run that training starts from; None if it starts from random parameters.

    Called by all processes.

    Raises:
      ConfigError: there is no such run, it is not finished or is damaged, or it has another model.
    """
    if not config.init_from:
        return None
    try:
        run_dir = pretrained.find_run(config.init_from)
        source = config_from_record(read_finished_record(run_dir)["config"])
        _check_model(config, source)
        best = best_params.load_best(run_dir, abstract_arrays(source, devices.make_mesh()))
        scalers = [bundle.load_bundle(run_dir.path / name) for name in BUNDLES.values()]
    except StarjaxError as error:
        raise ConfigError(f"config.init_from={config.init_from!r}: {error}") from error
    digest = files.sha256(run_dir.path / files.SUMS)
    return SourceRun(run_dir, digest, source, best_params.flatten(best.params), *scalers)


def _check_model(config: ConfigDict, source: ConfigDict) -> None:
    if source.model.name != config.model.name:
        raise ConfigError(
            f"its model is {source.model.name}, and config.model.name={config.model.name!r}: start from a "
            f"config of that model, such as --config=common:{source.model.name}"
        )


# ---- parameters


def initial_params(config: ConfigDict, source: SourceRun | None, *, is_new: bool) -> dict[str, np.ndarray]:
    """Return the parameters that are copied from the source, by name, for the E members of `config`.

    A member with seed s starts from member s modulo their number in the source. So it starts from the same
    one if it is trained alone, or in the run of a fold.

    Args:
      config: of the run that is to be trained.
      source: the run that it starts from; None: nothing is copied.
      is_new: whether to log what is copied; a run that resumes restores its checkpoint instead.

    Raises:
      ConfigError: no parameter can be copied.
    """
    if source is None:
        return {}
    shapes, refused = _shapes(config), _refused(config, source)
    for name, shape in shapes.items():
        found = source.params[name].shape[1:] if name in source.params else None
        if found is None:
            refused.setdefault(name, "which it lacks")
        elif found != shape:
            refused.setdefault(name, f"of shape {shape}, there {found}")
    copied = [name for name in shapes if name not in refused]
    if is_new and devices.is_main_process():
        _report(source, len(copied), refused)
    if not copied:
        raise ConfigError(f"config.init_from={config.init_from!r}: none of its parameters fits this model")
    member = np.array(run_config.members(config).seeds) % len(source.params[copied[0]])
    return {name: source.params[name][member] for name in copied}


def _refused(config: ConfigDict, source: SourceRun) -> dict[str, str]:
    """Return the parameters that mean something else than in the source, whatever their shape, and why."""
    shapes = _shapes(config)
    refused: dict[str, str] = {}
    ours, theirs = _visible(config), _visible(source.config)
    if ours != theirs:
        reason = f"since the features are {' '.join(ours)}, there {' '.join(theirs)}"
        refused |= {name: reason for name, shape in _shapes(config, 1).items() if shape != shapes[name]}
    ours, theirs = ((one.head, *one.data.target_keys) for one in (config, source.config))
    if ours != theirs:
        reason = f"since head and targets are {' '.join(ours)}, there {' '.join(theirs)}"
        refused |= {name: reason for name, shape in _shapes(config, 0, 1).items() if shape != shapes[name]}
    return refused


def _visible(config: ConfigDict) -> tuple[str, ...]:
    """Return the features that the model sees, in the order of its inputs."""
    return tuple(key for key in config.data.feature_keys if key not in config.data.hidden_keys)


def _shapes(config: ConfigDict, more_features: int = 0, more_outputs: int = 0) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all parameters by name.

    With one more feature or output, those shapes differ that belong to inputs or to outputs.
    """
    num_feature, num_output = run_config.model_shape(config)
    shapes = factory.param_shapes(
        dict(config.model.items()), num_feature + more_features, num_output + more_outputs
    )
    return {name: one.shape for name, one in best_params.flatten(shapes).items()}


def _report(source: SourceRun, num_copied: int, refused: Mapping[str, str]) -> None:
    """Log how many parameters are copied, and which are initialized anew and why."""
    num = num_copied + len(refused)
    log.info(f"starts from {source.run_dir.path}: {num_copied} of {num} arrays of parameters are copied")
    for reason in dict.fromkeys(refused.values()):
        names = ", ".join(
            name.removeprefix(best_params.PREFIX) for name in refused if refused[name] == reason
        )
        log.warning(f"initialized at random, {reason}: {names}")


# ---- scalers


def rescale(config: ConfigDict, data: Dataset, source: SourceRun | None) -> Dataset:
    """Return a data set in the scaled units of the source run.

    Features, or targets, that its scalers do not all know stay as they are, with a warning.

    Args:
      config: names the features and the targets.
      data: as stored.
      source: the run that training starts from; None: nothing is changed.
    """
    if source is None:
        return data
    features = _choose("feature", config.data.feature_keys, source.feature_scalers, data.feature_scalers)
    targets = _choose("target", config.data.target_keys, source.target_scalers, data.target_scalers)
    shards = {
        split: dataclasses.replace(
            shard,
            feature=_rescaled(shard.feature, shard.feature_keys, data.feature_scalers, features),
            target=_rescaled(shard.target, shard.target_keys, data.target_scalers, targets),
        )
        for split, shard in data.shards.items()
    }
    return dataclasses.replace(data, shards=shards, feature_scalers=features, target_scalers=targets)


def _choose(kind: str, keys: tuple[str, ...], theirs: ScalerBundle, ours: ScalerBundle) -> ScalerBundle:
    """Return the scalers of the source if they know all columns, else those of the data set."""
    unknown = [key for key in keys if key not in theirs.keys]
    if not unknown:
        return theirs
    if devices.is_main_process():
        log.warning(
            f"config.init_from: that run has no scaler for {', '.join(unknown)}, so each {kind} is scaled as "
            "in the data set: for the copied parameters the values mean something else"
        )
    return ours


def _rescaled(columns, keys: tuple[str, ...], old: ScalerBundle, new: ScalerBundle):
    # Columns without scalers are physical: they are what an observer sees, whose features are scaled later.
    if old == new or not set(keys) <= set(old.keys):
        return columns
    rescaled = RescaledColumns(columns, keys, old, new)
    # Features on disk stay there, and are rescaled when they are read.
    return mapped_arrays.in_memory(rescaled) if isinstance(columns, np.ndarray) else rescaled


@dataclasses.dataclass(frozen=True)
class RescaledColumns:
    """Scaled columns that other scalers scale when they are sliced, in float64 and rounded once.

    Attributes:
      scaled: (n, n_key), an array, or something that can be sliced like one.
      keys: names of its columns.
      old, new: the scalers by which they were scaled, and by which they will be.
    """

    scaled: mapped_arrays.Columns
    keys: tuple[str, ...]
    old: ScalerBundle
    new: ScalerBundle

    @property
    def shape(self) -> tuple[int, ...]:
        return self.scaled.shape

    def __len__(self) -> int:
        return len(self.scaled)

    def __getitem__(self, rows: slice) -> np.ndarray:
        physical = self.old.inverse(self.scaled[rows].astype(np.float64), self.keys)
        return self.new.transform(physical, self.keys).astype(np.float32)
