"""A finished run that predicts observed clusters: `starjax.load` returns it."""

import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from starjax import errors
from starjax.catalogs.stated import cluster_names
from starjax.catalogs.stated.view import View
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.evaluation import calibration, out_of_distribution
from starjax.evaluation.posterior import Posterior, posterior_table
from starjax.inference import cluster_lists, prediction_table
from starjax.inference.list_evaluator import ListEvaluator
from starjax.inference.prediction_table import Prediction
from starjax.io import files
from starjax.runs import run_config
from starjax.runs.directory import RunDirectory
from starjax.runtime import environment
from starjax.sampling import centering

# Samples of each cluster if one has more stars than fit into a sample.
NUM_DRAWS = 16
# Immutable defaults of arguments.
DEFAULT_VIEW = View()
SAME_NAMES: Mapping[str, str] = types.MappingProxyType({})
NO_VIEWS: Mapping[str, View] = types.MappingProxyType({})


class PredictorError(errors.StarjaxError):
    """A run directory or a member catalogue that allows no prediction."""


@dataclasses.dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        targets, features = ", ".join(self.target_keys), ", ".join(self.feature_keys)
        return f"Predictor({self.run_dir.path}: {targets} from {features})"

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
        table: cluster_lists.Catalog,
        view: View = DEFAULT_VIEW,
        num_draws: int = NUM_DRAWS,
        columns: Mapping[str, str] = SAME_NAMES,
        views: Mapping[str, View] = NO_VIEWS,
    ) -> Prediction:
        """Predict the targets of observed clusters from their member catalogue.

        Args:
          table: the catalogue, one row per star, in the names and units of Gaia (see
            `catalogs.member_list.column_units`); or the path of its file ('example': the packaged one), of a
            folder of such files, or a pattern such as 'lists/*.csv'. A column `cluster` tells the stars of
            several clusters apart.
          view: properties of the clusters that are given instead of estimated from the catalogue; used for
            all clusters that `views` does not name.
          num_draws: see `posterior`.
          columns: the catalogue's column names by ours, where they differ.
          views: the same as `view` for single clusters, by name, which may be written differently (see
            `catalogs.stated.cluster_names`).

        Returns:
          The predictions and the stars that they are based on; clusters that cannot be predicted are listed
          with the reason.

        Raises:
          CatalogError, PathError: the catalogue, or its path, cannot be used.
          PredictorError: no cluster in it can be predicted.
        """
        groups = cluster_lists.numbered_groups(cluster_lists.open_catalog(table, columns).clusters)
        parts = [part for _, part in cluster_lists.derive_parts(groups, self.feature_keys, views, view)]
        return self.predict_part(cluster_lists.joined(parts), num_draws, tuple(views))

    def predict_part(
        self, part: cluster_lists.Part, num_draws: int = NUM_DRAWS, described: Sequence[str] = ()
    ) -> Prediction:
        """Predict the targets of some clusters of a catalogue.

        Args:
          part: their features.
          num_draws: see `posterior`.
          described: names of clusters of which something was stated.

        Raises:
          PredictorError: no cluster can be predicted.
        """
        members = {
            name: dataclasses.replace(one, notes=(*one.notes, *self._size_notes(len(one.feature))))
            for name, one in part.members.items()
        }
        matches = cluster_names.match_names(part.members | part.refused, described)
        unmatched = tuple(name for name in described if name not in matches.values())
        if not members:
            raise PredictorError(describe_refused(part.refused, unmatched))
        posterior = self.posterior({name: one.feature for name, one in members.items()}, num_draws)
        table = prediction_table.prediction_table(
            self.target_keys, self.feature_keys, self.reference, members, posterior, self.caveats
        )
        if any(part.sources.values()):
            table["catalog"], table["catalog_sha256"] = zip(*part.sources.values(), strict=True)
        table = table.assign(**self.provenance)
        table["notes"] = [
            " ".join([*part.notes[name], one])
            for name, one in zip(table["cluster"], table["notes"], strict=True)
        ]
        of_catalogs = dict.fromkeys(note for own in part.notes.values() for note in own)
        notes = (*of_catalogs, *cluster_names.describe_matches(matches, described))
        return Prediction(table, members, posterior, part.refused, unmatched, notes)

    @functools.cached_property
    def provenance(self) -> dict[str, str]:
        """The columns that say which run made a prediction."""
        versions = environment.package_versions().items()
        return {
            "run": str(self.run_dir.path),
            # Of the digests of all files, so that it identifies the run wherever it lies.
            "run_sha256": files.sha256(self.run_dir.path / files.SUMS),
            "checkpoint": str(self.checkpoint),
            "epochs": ", ".join(map(str, self.epochs)),
            "versions": ", ".join(f"{package} {number}" for package, number in versions),
        }

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
        shard = self._evaluator.shard([self._brightest(features) for features in clusters.values()])
        outputs = self._evaluator.outputs(shard, num_draws)
        predictive = outputs.pool(self.calibrated.sigma)
        table = posterior_table(outputs, predictive, self.calibrated, self.target_keys, self.target_scalers)
        summary = out_of_distribution.describe_all(shard, self.feature_keys, self.config.data.feature_clip)
        number = table["cluster"].to_numpy()
        table = table.assign(
            cluster=np.array(list(clusters), dtype=object)[number],
            num_star=np.array([len(features) for features in clusters.values()])[number],
            novelty=self.reference.novelty(summary)[number],
        )
        return Posterior(
            table,
            tuple(clusters),
            predictive,
            outputs.pool_jointly(self.calibrated.sigma),
            self.calibrated,
            self.target_scalers,
            self.target_keys,
        )

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

    @functools.cached_property
    def _evaluator(self) -> ListEvaluator:
        return ListEvaluator(
            self.config,
            self.params,
            self.feature_keys,
            self.feature_scalers,
            self.target_keys,
            self.target_scalers,
        )


def describe_refused(refused: Mapping[str, str], unmatched: Sequence[str]) -> str:
    """Return why no cluster can be predicted."""
    reasons = errors.first_of([f"cluster {name}: {reason}" for name, reason in refused.items()])
    return f"{reasons} {cluster_names.describe_unmatched(unmatched)}".strip()
