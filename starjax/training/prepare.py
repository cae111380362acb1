"""Preparation of a run: its data set, and everything that is compiled and placed on the devices."""

import dataclasses
import functools

import jax
from ml_collections import ConfigDict

from starjax import quantities
from starjax.datasets import folds
from starjax.datasets.dataset import Dataset
from starjax.datasets.load import load_dataset, load_raw_dataset, num_scaled_bytes
from starjax.evaluation.evaluator import Evaluator
from starjax.runs import run_config
from starjax.runs.directory import RunDirectory
from starjax.runs.state import RunState
from starjax.runtime import devices, memory
from starjax.sampling import device_placement, observed_samples
from starjax.training.init_params import SourceRun, initial_params
from starjax.training.trainer import Trainer, create_trainer


@dataclasses.dataclass(frozen=True)
class RunContext:
    """A run that is to be trained, or to be resumed.

    Attributes:
      config: its config.
      state: of its directory, before anything is written.
      stored: its data set as stored (see `read_dataset`), in the scaled units of the source.
      source: the run that its parameters start from; None if they are random.
    """

    config: ConfigDict
    state: RunState
    stored: Dataset
    source: SourceRun | None = None

    @property
    def run_dir(self) -> RunDirectory:
        return self.state.run_dir

    @property
    def source_sha256(self) -> str | None:
        return None if self.source is None else self.source.sha256


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run that is ready to be trained: its splits, and what is compiled and placed on the devices."""

    data: Dataset
    source: device_placement.Source
    trainer: Trainer
    evaluator: Evaluator

    @property
    def layout(self) -> dict:
        """Everything beside the config that a resumed run must have in common with its beginning."""
        return self.source.layout | {"micro_batch_size": self.trainer.micro_batch_size}


def read_dataset(config: ConfigDict, record: dict | None = None) -> Dataset:
    """Return the data set as stored, memory-mapped if it is large.

    Args:
      record: of the run (see `RunState`), which keeps its placement if it resumes.
    """
    name, placement = config.data.dataset, _requested_placement(config, record)
    settings = run_config.observer(config)
    if settings is not None:
        raw = load_raw_dataset(name, quantities.OBSERVER, tuple(config.data.target_keys))
        return observed_samples.prepare_dataset(
            raw, settings, config.data.feature_keys, config.data.num_star_per_sample
        )
    # Folds reorder the snapshots, which takes them into memory anyway.
    has_folds = bool(config.data.fold or config.ensemble.num_fold)
    # A data set too large for the devices should not be read into memory on the host either.
    is_large = placement == "auto" and num_scaled_bytes(name) > device_placement.SHARE * _free_bytes()
    mapped = not has_folds and (placement in ("sharded", "streamed") or is_large)
    return load_dataset(name, tuple(config.data.feature_keys), tuple(config.data.target_keys), mapped=mapped)


def split_dataset(config: ConfigDict, stored: Dataset) -> Dataset:
    """Return the splits of a run: its folds, with validation and test as their lists have them.

    That is, with the survey selection or the observer applied. Training samples are thinned or observed by
    the sampler, differently in every epoch.
    """
    data = stored
    if config.data.fold:
        data = folds.one_fold(data, *config.data.fold)
    elif config.ensemble.num_fold:
        data = folds.all_folds(data, config.ensemble.num_fold, config.seed)
    return run_config.to_lists(config, data, "val", "test")


def prepare(run: RunContext) -> Setup:
    """Place the stars of a run on the devices and compile its training steps.

    A run that resumes keeps the placement and the micro-batch size that it began with: both decide in which
    order numbers are summed, and so the last bits of the result.

    Raises:
      RunDirectoryError: a resumed run would leave out other simulations, or put together other batches.
    """
    config, record = run.config, run.state.record
    data = split_dataset(config, run.stored)
    run.state.check_left_out(config, data)
    placement = _requested_placement(config, record)
    if placement == "auto":
        placement = device_placement.choose(data.shards, jax.device_count(), _free_bytes())
    source = place_stars(config, data, placement)
    run.state.check_layout(source.layout)
    # A limit, and not the size: with less memory than before, the run resumes with smaller micro-batches.
    max_micro_batch_size = record["layout"]["micro_batch_size"] if record else None
    params = initial_params(config, run.source, is_new=not record)
    trainer = create_trainer(config, data, source, max_micro_batch_size, params)
    evaluator = make_evaluator(config, data, placement, trainer.micro_batch_size)
    return Setup(data, source, trainer, evaluator)


def _requested_placement(config: ConfigDict, record: dict | None) -> str:
    """Return the placement of the config; if that is 'auto', the one that a resumed run began with."""
    placement: str = config.data.placement
    if placement == "auto" and record and record["layout"]:
        placement = record["layout"]["placement"]
    return placement


def _free_bytes() -> int:
    """Return the free memory of a device: the least of all processes, so that they choose alike."""
    return devices.min_over_processes(memory.free_bytes(jax.local_devices()[0]))


def make_mesh(config: ConfigDict, placement: str) -> jax.sharding.Mesh:
    """Return the mesh of devices for a placement of stars, one of `device_placement.PLACEMENTS`."""
    # Stars that are not replicated lie on all devices whatever the number of members, so that the batches of
    # a member are the same as when it is trained alone.
    return devices.make_mesh(config.ensemble.size if placement == "replicated" else 1)


def place_stars(config: ConfigDict, data: Dataset, placement: str) -> device_placement.Source:
    """Place the training stars on the devices."""
    sampler_config = run_config.sampler(config, data.feature_scalers)
    return device_placement.place_training_stars(
        data.shards["train"], placement, sampler_config, config.train.batch_size, make_mesh(config, placement)
    )


def make_evaluator(config: ConfigDict, data: Dataset, placement: str, micro_batch_size: int) -> Evaluator:
    """Return the evaluator of validation and test; nothing is compiled before its first use."""
    model, mesh = run_config.model(config), make_mesh(config, placement)

    def chunks(split):
        # Stars of validation and test are streamed in order, or replicated.
        in_order = "streamed" if placement == "streamed" else "replicated"
        return device_placement.in_order(data.shards[split], in_order, mesh)

    return Evaluator(
        apply=model.apply,
        head=model.head,
        config=run_config.sampler(config, data.feature_scalers),
        batch_size=config.train.batch_size,
        micro_batch_size=micro_batch_size,
        mesh=mesh,
        target_keys=tuple(config.data.target_keys),
        scalers=data.target_scalers,
        shards=data.shards,
        # Stars that fit stay on the devices from the first call on.
        chunks=chunks if placement == "streamed" else functools.cache(lambda split: list(chunks(split))),
    )
