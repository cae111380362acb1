"""A finished run, ready to answer: what `starjax.load` returns."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from astropy.table import Table
from ml_collections import ConfigDict

from starjax import (
    answers,
    assemble,
    calibration,
    distributed,
    ensemble,
    environment,
    errors,
    evaluate,
    finished,
    novelty,
    prediction,
    stopping,
)
from starjax import config as config_lib
from starjax.answers import Answer
from starjax.checkpoint import Checkpoints
from starjax.data import bundle, catalog, centring, dataset, observe, sampler
from starjax.data.bundle import ScalerBundle
from starjax.data.geometry import View
from starjax.data.shard import Shard
from starjax.experiment import Experiment
from starjax.prediction import Prediction

# Samples that go through the members at a time; clusters are few, and may have many stars.
BATCH_SIZE = 8
# Samples of a cluster that has more stars than a sample holds.
NUM_DRAWS = 16
# Defaults of what can be stated beside a list.
EVERYTHING_FROM_LIST, NO_OTHER_NAMES = View(), types.MappingProxyType({})


class TrainedError(errors.StarjaxError):
    """A run directory that cannot answer, with what to do."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
      place: its directory.
      record: what describes it (see `experiment.read_record`).
      config: its resolved config.
      checkpoint: where its parameters are from.
      epochs: the epoch of each member that answers.
      params: of the members that answer, along the first axis.
      feature_scalers, target_scalers: to and from scaled units.
      calibrated: what validation taught of its errors.
      reference: what it was trained on.
    """

    place: Experiment
    record: dict
    config: ConfigDict
    checkpoint: Path
    epochs: tuple[int, ...]
    params: dict
    feature_scalers: ScalerBundle
    target_scalers: ScalerBundle
    calibrated: calibration.Calibration
    reference: novelty.Reference

    @property
    def feature_keys(self) -> tuple[str, ...]:
        """What the model sees of a star."""
        hidden = self.config.data.hidden_keys
        return tuple(key for key in self.config.data.feature_keys if key not in hidden)

    @property
    def target_keys(self) -> tuple[str, ...]:
        return tuple(self.config.data.target_keys)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why no answer for an observed cluster should be believed as it stands, whichever it is."""
        if self.config.data.centred or not centring.columns(self.feature_keys):
            return ()
        return (
            "trained on places and velocities about the simulations' origin, where that lies no member list tells: train with "
            "--config.data.centred=True",
        )

    def predict(
        self,
        table: Table | pd.DataFrame | Path | str,
        view: View = EVERYTHING_FROM_LIST,
        num_draws: int = NUM_DRAWS,
        columns: Mapping[str, str] = NO_OTHER_NAMES,
    ) -> Prediction:
        """Answers for the member lists of clusters.

        Args:
          table: in the names and units of Gaia (see `catalog.UNITS`), a row a star; or the file it stands in ('example': the
            packaged one). With a
            column `cluster`, the stars of many.
          view: what is stated instead of taken from the list; it holds for all clusters.
          num_draws: as in `answer`.
          columns: the table's names by ours, where they differ.

        Returns:
          the answers, and beside them what they came from; clusters that cannot be answered for are told apart, with the reason.

        Raises:
          CatalogError, TrainedError: the table cannot be used, or that of no cluster in it.
        """
        if isinstance(table, Path | str):
            stars = catalog.read(catalog.find(table), columns)
        else:
            table = Table.from_pandas(table) if isinstance(table, pd.DataFrame) else table
            stars = catalog.checked(table, "the table", columns)
        members, refused = {}, {}
        for name, of_cluster in catalog.clusters(stars).items():
            try:
                members[name] = observe.features(of_cluster, self.feature_keys, view)
            except errors.StarjaxError as error:
                refused[name] = str(error)
        if not members:
            raise TrainedError("; ".join(f"cluster {name}: {why}" for name, why in refused.items()))
        answer = self.answer({name: one.feature for name, one in members.items()}, num_draws)
        found = prediction.table_of(
            self.target_keys, self.feature_keys, self.reference, members, answer, self.doubts
        )
        if isinstance(table, Path | str):
            found = found.assign(catalog=str(table), catalog_sha256=stars.meta["sha256"])
        found = found.assign(
            run=str(self.place.directory),
            checkpoint=str(self.checkpoint),
            epochs=", ".join(map(str, self.epochs)),
            versions=", ".join(f"{package} {number}" for package, number in environment.versions().items()),
        )
        return Prediction(found, members, answer, refused)

    def answer(self, clusters: Mapping[str, np.ndarray], num_draws: int = NUM_DRAWS) -> Answer:
        """What the run says of clusters, given the physical features (n, F) of their stars by name.

        Args:
          num_draws: samples of each cluster, if one has more stars than a sample holds.

        Raises:
          TrainedError: there is no draw.
        """
        if num_draws < 1:
            raise TrainedError(f"num_draws={num_draws} should be at least 1")
        shard = self._shard(list(clusters.values()))
        outputs = self._outputs(shard, num_draws)
        predictive = outputs.pooled(self.calibrated.sigma)
        found = answers.table(outputs, predictive, self.calibrated, self.target_keys, self.target_scalers)
        description = novelty.describe_all(shard, self.feature_keys, self.config.data.feature_clip)
        number = found["cluster"].to_numpy()
        found = found.assign(
            cluster=np.array(list(clusters), dtype=object)[number],
            num_star=np.diff(shard.ptr)[number],
            novelty=self.reference.novelty(description)[number],
        )
        return Answer(found, predictive)

    def _shard(self, features: Sequence[np.ndarray]) -> Shard:
        physical = np.concatenate(features).astype(np.float64)
        return Shard(
            feature=self.feature_scalers.transform(physical, self.feature_keys).astype(np.float32),
            feature_keys=self.feature_keys,
            target=np.zeros((len(features), len(self.target_keys)), np.float32),
            target_keys=self.target_keys,
            ptr=np.cumsum([0, *map(len, features)]),
        )

    def _outputs(self, shard: Shard, num_draws: int) -> answers.Outputs:
        if np.diff(shard.ptr).max() <= self.config.data.num_star_per_sample:
            num_draws = 1  # each would be all stars again
        model = assemble.model(self.config)
        mesh = distributed.make_mesh(devices=jax.local_devices()[:1])
        sample_config = dataclasses.replace(
            assemble.sampler_config(self.config, self.feature_scalers, self.feature_keys),
            num_sample_per_snapshot=num_draws,
        )
        # All clusters are called alike: what is drawn of one does not depend on which others the list has.
        stars = sampler.place(shard)._replace(identity=np.zeros(shard.num_snapshot, np.int32))
        evaluator = evaluate.Evaluator(
            apply=model.apply,
            head=model.head,
            config=sample_config,
            batch_size=BATCH_SIZE,
            micro_batch_size=BATCH_SIZE,
            mesh=mesh,
            target_keys=self.target_keys,
            scalers=self.target_scalers,
            shards={"predict": shard},
            chunks=lambda split: [distributed.replicate(stars, mesh)],
        )
        output_ExNxO, _ = evaluator.predict(distributed.share_members(self.params, mesh), "predict")
        by_cluster = output_ExNxO.reshape(len(output_ExNxO), -1, num_draws, model.head.num_output)
        return answers.Outputs(by_cluster, model.head)


def load(run: Path | str) -> Trained:
    """Reads a finished run.

    >>> run = starjax.load(run_directory)
    >>> found = run.predict(catalog_file)  # or an astropy Table, or a pandas DataFrame
    >>> row = found.table.iloc[0]
    >>> bool(row["time_p2.5"] <= row["time_p16"] <= row["time"] <= row["time_p84"])
    True
    >>> print(found.members[row["cluster"]].notes[0])
    Left out for want of a proper motion: 3 stars (rows 28, 103, 324).

    Raises:
      TrainedError, ExperimentError, ScalerError, CalibrationError, NoveltyError: the directory holds no finished run,
        or a file of it cannot be used.
    """
    place = Experiment(Path(run))
    record = finished.read(place)
    config = config_lib.restored(record["config"])
    if ensemble.is_sweep(config) and config.ensemble.size > 1:
        raise TrainedError(
            f"{place.directory} is a sweep, of many kinds of runs: name the best of them, {place.directory}-best"
        )
    checkpoint, epochs, params = _best(place, config)
    scalers = [_scalers(place, name) for name in dataset.BUNDLES.values()]
    return Trained(
        place,
        record,
        config,
        checkpoint,
        epochs,
        params,
        *scalers,
        calibration.load(place.calibration, config.data.target_keys),
        novelty.load(place.training_set),
    )


def _best(place: Experiment, config: ConfigDict) -> tuple[Path, tuple[int, ...], dict]:
    """The checkpoint, and from it the best epoch and its parameters of each member that has not failed."""
    mesh = distributed.make_mesh(devices=jax.local_devices()[:1])
    if not place.checkpoints.is_dir():
        raise TrainedError(f"{place.checkpoints} is missing: restore it, or train the run again")
    with Checkpoints(place.checkpoints, is_read_only=True) as checkpoints:
        found = checkpoints.restore_last(assemble.abstract_arrays(config, mesh))
    progress = stopping.stored(found.content)
    is_there = np.array([not member.is_failed for member in progress])
    epochs = tuple(member.best_epoch for member in progress if not member.is_failed)
    best = jax.tree.map(lambda x: np.asarray(x)[is_there], found.arrays["best"])
    return place.checkpoints / str(found.epoch), epochs, best


def _scalers(place: Experiment, name: str) -> ScalerBundle:
    try:
        return bundle.load(place.directory / name)
    except FileNotFoundError as error:
        raise TrainedError(
            f"{place.directory / name} is missing: restore it, or train the run again"
        ) from error
