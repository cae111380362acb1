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

from starjax import errors
from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.membership import View
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.evaluation import calibration, out_of_distribution
from starjax.evaluation.evaluator import Evaluator
from starjax.evaluation.posterior import MemberOutputs, Posterior, posterior_table
from starjax.inference import prediction_table
from starjax.inference.prediction_table import Prediction
from starjax.runs import integrity, member_progress, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runtime import devices, environment
from starjax.sampling import centering, sampler
from starjax.training.trainer import abstract_arrays

# Samples that go through the members at a time; clusters are few, and may have many stars.
BATCH_SIZE = 8
# Samples of a cluster that has more stars than a sample holds.
NUM_DRAWS = 16
# Defaults of what can be stated beside a list.
DEFAULT_VIEW, SAME_NAMES = View(), types.MappingProxyType({})


class PredictorError(errors.StarjaxError):
    """A run directory that cannot answer, with what to do."""


@dataclasses.dataclass(frozen=True)
class Predictor:
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

    run_dir: RunDirectory
    record: dict
    config: ConfigDict
    checkpoint: Path
    epochs: tuple[int, ...]
    params: dict
    feature_scalers: ScalerBundle
    target_scalers: ScalerBundle
    calibrated: calibration.Calibration
    reference: out_of_distribution.TrainingReference

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
        if self.config.data.centred or not centering.centred_columns(self.feature_keys):
            return ()
        return (
            "trained on places and velocities about the simulations' origin, where that lies no member list tells: train with "
            "--config.data.centred=True",
        )

    def predict(
        self,
        table: Table | pd.DataFrame | Path | str,
        view: View = DEFAULT_VIEW,
        num_draws: int = NUM_DRAWS,
        columns: Mapping[str, str] = SAME_NAMES,
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
            stars = member_list.read_member_list(member_list.find_member_list(table), columns)
        else:
            table = Table.from_pandas(table) if isinstance(table, pd.DataFrame) else table
            stars = member_list.check_member_list(table, "the table", columns)
        members, refused = {}, {}
        for name, of_cluster in member_list.split_clusters(stars).items():
            try:
                members[name] = derive_features(of_cluster, self.feature_keys, view)
            except errors.StarjaxError as error:
                refused[name] = str(error)
        if not members:
            raise PredictorError("; ".join(f"cluster {name}: {why}" for name, why in refused.items()))
        answer = self.answer({name: one.feature for name, one in members.items()}, num_draws)
        found = prediction_table.prediction_table(
            self.target_keys, self.feature_keys, self.reference, members, answer, self.doubts
        )
        if isinstance(table, Path | str):
            found = found.assign(catalog=str(table), catalog_sha256=stars.meta["sha256"])
        found = found.assign(
            run=str(self.run_dir.path),
            checkpoint=str(self.checkpoint),
            epochs=", ".join(map(str, self.epochs)),
            versions=", ".join(
                f"{package} {number}" for package, number in environment.package_versions().items()
            ),
        )
        return Prediction(found, members, answer, refused)

    def answer(self, clusters: Mapping[str, np.ndarray], num_draws: int = NUM_DRAWS) -> Posterior:
        """What the run says of clusters, given the physical features (n, F) of their stars by name.

        Args:
          num_draws: samples of each cluster, if one has more stars than a sample holds.

        Raises:
          TrainedError: there is no draw.
        """
        if num_draws < 1:
            raise PredictorError(f"num_draws={num_draws} should be at least 1")
        shard = self._shard(list(clusters.values()))
        outputs = self._outputs(shard, num_draws)
        predictive = outputs.pooled(self.calibrated.sigma)
        found = posterior_table(outputs, predictive, self.calibrated, self.target_keys, self.target_scalers)
        description = out_of_distribution.describe_all(
            shard, self.feature_keys, self.config.data.feature_clip
        )
        number = found["cluster"].to_numpy()
        found = found.assign(
            cluster=np.array(list(clusters), dtype=object)[number],
            num_star=np.diff(shard.ptr)[number],
            novelty=self.reference.novelty(description)[number],
        )
        return Posterior(found, predictive)

    def _shard(self, features: Sequence[np.ndarray]) -> Shard:
        physical = np.concatenate(features).astype(np.float64)
        return Shard(
            feature=self.feature_scalers.transform(physical, self.feature_keys).astype(np.float32),
            feature_keys=self.feature_keys,
            target=np.zeros((len(features), len(self.target_keys)), np.float32),
            target_keys=self.target_keys,
            ptr=np.cumsum([0, *map(len, features)]),
        )

    def _outputs(self, shard: Shard, num_draws: int) -> MemberOutputs:
        if np.diff(shard.ptr).max() <= self.config.data.num_star_per_sample:
            num_draws = 1  # each would be all stars again
        model = run_config.model(self.config)
        mesh = devices.make_mesh(devices=jax.local_devices()[:1])
        sample_config = dataclasses.replace(
            run_config.sampler(self.config, self.feature_scalers, self.feature_keys),
            num_sample_per_snapshot=num_draws,
        )
        # All clusters are called alike: what is drawn of one does not depend on which others the list has.
        stars = sampler.to_stars(shard)._replace(identity=np.zeros(shard.num_snapshot, np.int32))
        evaluator = Evaluator(
            apply=model.apply,
            head=model.head,
            config=sample_config,
            batch_size=BATCH_SIZE,
            micro_batch_size=BATCH_SIZE,
            mesh=mesh,
            target_keys=self.target_keys,
            scalers=self.target_scalers,
            shards={"predict": shard},
            chunks=lambda split: [devices.replicate(stars, mesh)],
        )
        output_ExNxO, _ = evaluator.predict(devices.shard_members(self.params, mesh), "predict")
        by_cluster = output_ExNxO.reshape(len(output_ExNxO), -1, num_draws, model.head.num_output)
        return MemberOutputs(by_cluster, model.head)


def load_predictor(run: Path | str) -> Predictor:
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
    run_dir = RunDirectory(Path(run))
    record = integrity.read_finished_record(run_dir)
    config = config_from_record(record["config"])
    if run_config.is_sweep(config) and config.ensemble.size > 1:
        raise PredictorError(
            f"{run_dir.path} is a sweep, of many kinds of runs: name the best of them, {run_dir.path}-best"
        )
    checkpoint, epochs, params = _best(run_dir, config)
    scalers = [_scalers(run_dir, name) for name in BUNDLES.values()]
    return Predictor(
        run_dir,
        record,
        config,
        checkpoint,
        epochs,
        params,
        *scalers,
        calibration.load(run_dir.calibration, config.data.target_keys),
        out_of_distribution.load(run_dir.training_set),
    )


def _best(run_dir: RunDirectory, config: ConfigDict) -> tuple[Path, tuple[int, ...], dict]:
    """The checkpoint, and from it the best epoch and its parameters of each member that has not failed."""
    mesh = devices.make_mesh(devices=jax.local_devices()[:1])
    if not run_dir.checkpoints.is_dir():
        raise PredictorError(f"{run_dir.checkpoints} is missing: restore it, or train the run again")
    with Checkpoints(run_dir.checkpoints, is_read_only=True) as checkpoints:
        found = checkpoints.restore_last(abstract_arrays(config, mesh))
    progress = member_progress.from_checkpoint(found.content)
    is_there = np.array([not member.is_failed for member in progress])
    epochs = tuple(member.best_epoch for member in progress if not member.is_failed)
    best = jax.tree.map(lambda x: np.asarray(x)[is_there], found.arrays["best"])
    return run_dir.checkpoints / str(found.epoch), epochs, best


def _scalers(run_dir: RunDirectory, name: str) -> ScalerBundle:
    try:
        return bundle.load_bundle(run_dir.path / name)
    except FileNotFoundError as error:
        raise PredictorError(
            f"{run_dir.path / name} is missing: restore it, or train the run again"
        ) from error
