"""A finished run that predicts observed clusters: `starjax.load` returns it."""

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
from starjax.catalogs import cluster_table, feature_notes, member_list
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
from starjax.io import files
from starjax.runs import best_params, pretrained, run_config
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record
from starjax.runtime import devices, environment, paths
from starjax.sampling import centering, sampler
from starjax.training.trainer import abstract_arrays

# Samples that the members predict at a time; clusters are few, and may have many stars.
BATCH_SIZE = 8
# Samples of each cluster if one has more stars than fit into a sample.
NUM_DRAWS = 16
# Immutable defaults of arguments.
DEFAULT_VIEW = View()
SAME_NAMES: Mapping[str, str] = types.MappingProxyType({})
NO_VIEWS: Mapping[str, View] = types.MappingProxyType({})


class PredictorError(errors.StarjaxError):
    """A run directory or a member catalogue that allows no prediction."""


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A finished run.

    Attributes:
      run_dir: its run directory.
      record: its record (see `runs.directory.read_record`).
      config: its resolved config.
      checkpoint: the checkpoint, or the file of a packaged model, that its parameters are read from.
      epochs: the best epoch of each ensemble member that has not failed.
      params: the parameters at these epochs, members along the first axis.
      feature_scalers, target_scalers: scalers of features and targets.
      calibrated: the calibration of its intervals.
      reference: its training clusters, for the out-of-distribution score.
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
        """The features that the model sees."""
        hidden = self.config.data.hidden_keys
        return tuple(key for key in self.config.data.feature_keys if key not in hidden)

    @property
    def target_keys(self) -> tuple[str, ...]:
        """The targets that the model predicts."""
        return tuple(self.config.data.target_keys)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Reasons not to trust any prediction of this run for an observed cluster."""
        is_centred = self.config.data.centred or run_config.observer(self.config) is not None
        if is_centred or not centering.centred_columns(self.feature_keys):
            return ()
        return (
            "trained on positions and velocities about the origin of the simulations, which is unknown for "
            "observed clusters: train with --config.data.centred=True",
        )

    def predict(
        self,
        table: Table | pd.DataFrame | Path | str,
        view: View = DEFAULT_VIEW,
        num_draws: int = NUM_DRAWS,
        columns: Mapping[str, str] = SAME_NAMES,
        views: Mapping[str, View] = NO_VIEWS,
    ) -> Prediction:
        """Predict the targets of observed clusters from their member catalogue.

        Args:
          table: the catalogue, one row per star, in the names and units of Gaia (see
            `catalogs.member_list.column_units`); or the path of its file ('example': the packaged one). A
            column `cluster` tells the stars of several clusters apart.
          view: properties of the clusters that are given instead of estimated from the catalogue; used for
            all clusters that `views` does not name.
          num_draws: see `posterior`.
          columns: the catalogue's column names by ours, where they differ.
          views: the same as `view` for single clusters, by name (see `catalogs.cluster_table`).

        Returns:
          The predictions and the stars that they are based on; clusters that cannot be predicted are listed
          with the reason.

        Raises:
          CatalogError, PathError: the catalogue, or its path, cannot be used.
          PredictorError: no cluster in it can be predicted.
        """
        if isinstance(table, Path | str):
            table = paths.expand(table) if isinstance(table, str) else table
            stars = member_list.read_member_list(member_list.find_member_list(table), columns)
        else:
            stars = member_list.check_member_list(table, "the table", columns)
        # One cluster that cannot be predicted does not stop the others.
        members, refused = {}, {}
        clusters = member_list.split_clusters(stars)
        unmatched = tuple(name for name in views if name not in clusters)
        for name, cluster_stars in clusters.items():
            try:
                found = derive_features(cluster_stars, self.feature_keys, views.get(name, view))
                members[name] = dataclasses.replace(
                    found, notes=(*found.notes, *self._size_notes(len(found.feature)))
                )
            except errors.StarjaxError as error:
                refused[name] = str(error)
        if not members:
            reasons = "; ".join(f"cluster {name}: {reason}" for name, reason in refused.items())
            raise PredictorError(" ".join([reasons, cluster_table.describe_unmatched(unmatched)]).strip())
        posterior = self.posterior({name: one.feature for name, one in members.items()}, num_draws)
        predictions = prediction_table.prediction_table(
            self.target_keys, self.feature_keys, self.reference, members, posterior, self.caveats
        )
        if isinstance(table, Path | str):
            predictions = predictions.assign(catalog=str(table), catalog_sha256=stars.meta["sha256"])
        predictions = predictions.assign(
            run=str(self.run_dir.path),
            # Of the digests of all files, so that it identifies the run wherever it lies.
            run_sha256=files.sha256(self.run_dir.path / files.SUMS),
            checkpoint=str(self.checkpoint),
            epochs=", ".join(map(str, self.epochs)),
            versions=", ".join(
                f"{package} {number}" for package, number in environment.package_versions().items()
            ),
        )
        notes = feature_notes.describe_columns(stars)
        predictions["notes"] = [" ".join([*notes, one]) for one in predictions["notes"]]
        return Prediction(predictions, members, posterior, refused, unmatched, notes)

    def posterior(self, clusters: Mapping[str, np.ndarray], num_draws: int = NUM_DRAWS) -> Posterior:
        """Return the posterior of clusters from the physical features of their stars.

        Args:
          clusters: by name, the features (n, F) of the n stars of each cluster, in the order of
            `feature_keys`.
          num_draws: samples of each cluster, if one has more stars than fit into a sample.

        Raises:
          PredictorError: `num_draws` is less than 1.
        """
        if num_draws < 1:
            raise PredictorError(f"num_draws={num_draws} should be at least 1")
        shard = self._shard([self._brightest(features) for features in clusters.values()])
        outputs = self._outputs(shard, num_draws)
        predictive = outputs.pool(self.calibrated.sigma)
        table = posterior_table(outputs, predictive, self.calibrated, self.target_keys, self.target_scalers)
        summary = out_of_distribution.describe_all(shard, self.feature_keys, self.config.data.feature_clip)
        number = table["cluster"].to_numpy()
        table = table.assign(
            cluster=np.array(list(clusters), dtype=object)[number],
            num_star=np.array([len(features) for features in clusters.values()])[number],
            novelty=self.reference.novelty(summary)[number],
        )
        return Posterior(table, predictive)

    def _num_read(self, num_star: int) -> int:
        """Return how many stars of a list the model reads: the brightest, if trained on these, or all."""
        size: int = self.config.data.num_star_per_sample
        return num_star if run_config.observer(self.config) is None else min(num_star, size)

    def _size_notes(self, num_star: int) -> list[str]:
        """Return the note on a list with more stars than the model reads."""
        note = f"the model reads the {self._num_read(num_star):,} brightest, as it was trained to."
        return [f"Of the {num_star:,} stars, {note}"] if self._num_read(num_star) < num_star else []

    def _brightest(self, features: np.ndarray) -> np.ndarray:
        """Return the stars of a list that the model reads."""
        read = self._num_read(len(features))
        if read == len(features):
            return features
        magnitude = features[:, self.feature_keys.index("abs_mag_g")]
        return features[np.sort(np.argsort(magnitude, kind="stable")[:read])]

    def _shard(self, features: Sequence[np.ndarray]) -> Shard:
        """Return clusters as the snapshots of a scaled shard; their targets are not known, and zero."""
        physical = np.concatenate(features).astype(np.float64)
        return Shard(
            feature=self.feature_scalers.transform(physical, self.feature_keys).astype(np.float32),
            feature_keys=self.feature_keys,
            target=np.zeros((len(features), len(self.target_keys)), np.float32),
            target_keys=self.target_keys,
            ptr=np.cumsum([0, *map(len, features)]),
        )

    def _outputs(self, shard: Shard, num_draws: int) -> MemberOutputs:
        """Return the outputs of all members for samples of all clusters."""
        if np.diff(shard.ptr).max() <= self.config.data.num_star_per_sample:
            num_draws = 1  # all draws would be the same stars
        model = run_config.model(self.config)
        # The batches are small: more devices would have nothing to do.
        mesh = devices.make_mesh(devices=jax.local_devices()[:1])
        sample_config = dataclasses.replace(
            run_config.sampler(self.config, self.feature_scalers, self.feature_keys),
            num_sample_per_snapshot=num_draws,
        )
        # The same identity for all, so that the stars drawn from one cluster do not depend on the others.
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
    """Load a finished run, or a packaged model.

    Args:
      run: its directory, or the name of a packaged model (see `runs.pretrained.find_run`).

    >>> run = starjax.load(run_directory)
    >>> prediction = run.predict(catalog_file)  # or an astropy Table, or a data frame of pandas or polars
    >>> row = prediction.table.iloc[0]
    >>> bool(row["time_p2.5"] <= row["time_p16"] <= row["time"] <= row["time_p84"])
    True
    >>> print(prediction.members[row["cluster"]].notes[0])
    Left out because the proper motion is missing: 3 stars (rows 28, 103, 324).

    Raises:
      RunDirectoryError, PredictorError, BestParamsError, CheckpointError, ScalerError, CalibrationError,
        OutOfDistributionError: the directory holds no finished run, or one of its files cannot be used.
    """
    run_dir = pretrained.find_run(run)
    record = read_finished_record(run_dir)
    config = config_from_record(record["config"])
    if run_config.is_sweep(config) and config.ensemble.size > 1:
        raise PredictorError(
            f"{run_dir.path} is a sweep over hyperparameters: name its best run, {run_dir.path}-best"
        )
    mesh = devices.make_mesh(devices=jax.local_devices()[:1])
    best = best_params.load_best(run_dir, abstract_arrays(config, mesh))
    return Predictor(
        run_dir,
        record,
        config,
        best.path,
        best.epochs,
        best.params,
        feature_scalers=_scalers(run_dir, BUNDLES["feature"]),
        target_scalers=_scalers(run_dir, BUNDLES["target"]),
        calibrated=calibration.load(run_dir.calibration, config.data.target_keys),
        reference=out_of_distribution.load(run_dir.training_set),
    )


def _scalers(run_dir: RunDirectory, name: str) -> ScalerBundle:
    """Return a scaler bundle of the run directory."""
    try:
        return bundle.load_bundle(run_dir.path / name)
    except FileNotFoundError as error:
        raise PredictorError(
            f"{run_dir.path / name} is missing: restore it, or train the run again"
        ) from error
