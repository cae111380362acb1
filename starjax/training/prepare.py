"""What it takes to train and to test a run: its data, and all that is compiled and placed for them."""

import dataclasses
import functools

import jax
from ml_collections import ConfigDict

from starjax.datasets import folds
from starjax.datasets.dataset import Dataset
from starjax.datasets.load import load_dataset, num_scaled_bytes
from starjax.evaluation.evaluator import Evaluator
from starjax.runs import run_config
from starjax.runtime import devices, memory
from starjax.sampling import device_placement
from starjax.training.trainer import Trainer, create_trainer


@dataclasses.dataclass(frozen=True)
class Setup:
    """A run made ready: its data, and all that is compiled and placed for them."""

    data: Dataset
    source: device_placement.Source
    trainer: Trainer
    evaluator: Evaluator

    @property
    def layout(self) -> dict:
        """What of the devices and their memory decides how a run goes on, beside its config."""
        return self.source.layout | {"micro_batch_size": self.trainer.micro_batch_size}


def read(config: ConfigDict, record: dict | None = None) -> Dataset:
    """The data set as it is stored.

    Args:
      record: of the run that is gone on with (see `experiment.read_record`).
    """
    name, wanted = config.data.dataset, _wanted(config, record)
    is_parted = bool(config.data.fold or config.ensemble.num_fold)
    # What is too large to be held is not to be read into memory either; snapshots that are put in another order are.
    is_large = wanted == "auto" and num_scaled_bytes(name) > device_placement.SHARE * _free_bytes()
    mapped = not is_parted and (wanted in ("sharded", "streamed") or is_large)
    return load_dataset(name, tuple(config.data.feature_keys), tuple(config.data.target_keys), mapped=mapped)


def load(
    config: ConfigDict, record: dict | None = None, stored: Dataset | None = None
) -> tuple[Dataset, str]:
    """The data set, and where its stars are to be while the model trains: what the config says, or what fits.

    Validation and test clusters are as lists have them (see `incompleteness`); training samples come to be so.

    Args:
      record: of the run that is gone on with, whose choice stays.
      stored: what `read` gives, where it is at hand.
    """
    data, wanted = stored or read(config, record), _wanted(config, record)
    if config.data.fold:
        data = folds.one_fold(data, *config.data.fold)
    elif config.ensemble.num_fold:
        data = folds.all_folds(data, config.ensemble.num_fold, config.seed)
    data = run_config.apply_selection(config, data, "val", "test")
    if wanted == "auto":
        wanted = device_placement.choose(data.shards, jax.device_count(), _free_bytes())
    return data, wanted


def _wanted(config: ConfigDict, record: dict | None) -> str:
    """Where the stars are to be, as the config says, or as it was chosen when the run began."""
    wanted = config.data.placement
    if wanted == "auto" and record is not None and record["layout"] is not None:
        wanted = record["layout"]["placement"]
    return wanted


def _free_bytes() -> int:
    return devices.min_over_processes(memory.free_bytes(jax.local_devices()[0]))


def make_mesh(config: ConfigDict, chosen: str) -> jax.sharding.Mesh:
    """The devices, for stars placed as `chosen`, one of `placement.PLACEMENTS`."""
    # Stars that are shared out are so among all devices, as for a lone run, lest its members see other batches.
    return devices.make_mesh(config.ensemble.size if chosen == "replicated" else 1)


def place_stars(config: ConfigDict, data: Dataset, chosen: str) -> device_placement.Source:
    """Places the training stars as `chosen`."""
    shard, sample_config = data.shards["train"], run_config.sampler(config, data.feature_scalers)
    return device_placement.place_training_stars(
        shard, chosen, sample_config, config.train.batch_size, make_mesh(config, chosen)
    )


def set_up(
    config: ConfigDict, data: Dataset, source: device_placement.Source, record: dict | None = None
) -> Setup:
    """Compiles the steps for the training stars of `source`, and places those of validation and test.

    Args:
      record: of the run that is gone on with: sums over its micro-batches should round as they did.
    """
    most = None if record is None else record["layout"]["micro_batch_size"]
    trainer = create_trainer(config, data, source, most)
    evaluator = make_evaluator(config, data, source.mesh, source.placement, trainer.micro_batch_size)
    return Setup(data, source, trainer, evaluator)


def make_evaluator(
    config: ConfigDict, data: Dataset, mesh: jax.sharding.Mesh, chosen: str, micro_batch_size: int
) -> Evaluator:
    """What validates and tests, its stars placed as `chosen`."""
    model = run_config.model(config)

    def chunks(split):
        return device_placement.in_order(
            data.shards[split], chosen if chosen == "streamed" else "replicated", mesh
        )

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
        # Held on the devices from the first call on, where they are to be there.
        chunks=chunks if chosen == "streamed" else functools.cache(lambda split: list(chunks(split))),
    )
