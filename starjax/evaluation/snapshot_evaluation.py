"""Posteriors of the snapshots of a split, with true values, out-of-distribution scores, classical masses."""

import dataclasses
import functools

import numpy as np
import pandas as pd

from starjax.datasets.dataset import Dataset
from starjax.datasets.shard import Shard
from starjax.dynamics import cluster_masses
from starjax.evaluation import joint_calibration, out_of_distribution
from starjax.evaluation.calibration import Calibration
from starjax.evaluation.evaluator import Evaluator
from starjax.evaluation.posterior import MemberOutputs, fit_calibration, table_with_truth


@dataclasses.dataclass(frozen=True)
class SnapshotEvaluator:
    """Calibrates and tests the posteriors of a run.

    Attributes:
      evaluator: the evaluator that predicted the samples.
      data: the data set, with the survey selection applied to validation and test (see
        `sampling.survey_selection`).
      known: training clusters with the survey selection applied, all or some.
    """

    evaluator: Evaluator
    data: Dataset
    known: Shard

    @functools.cached_property
    def reference(self) -> out_of_distribution.TrainingReference:
        """The training clusters, for the out-of-distribution score."""
        return out_of_distribution.fit_reference(
            self.known,
            self.data.shards["val"],
            self.data.target_scalers,
            self._feature_keys,
            self.evaluator.config.feature_clip,
            whole=self.data.shards["train"],
            fold_N=self.data.fold_N,
        )

    def calibrate(self, output_ExNxO: np.ndarray) -> Calibration:
        """Fit the calibration on the outputs (E, n_sample, O) for the validation samples."""
        shard = self.data.shards["val"]
        return fit_calibration(self._outputs(output_ExNxO), shard.target, shard.group)

    def table(self, output_ExNxO: np.ndarray, calibrated: Calibration, split: str) -> pd.DataFrame:
        """Return one row per snapshot and target.

        Args:
          output_ExNxO: outputs for all samples of the split.
          calibrated: the calibration of the intervals.
          split: name of the split.

        Returns:
          the columns of `posterior.table_with_truth`, with snapshots numbered by `snapshot_id`; `num_star`;
          `novelty`, the out-of-distribution score; `run_id`, `time_myr` and `distance_pc` if the data set has
          them; classical masses (see `dynamics.cluster_masses`); and `joint_ellipse` and `joint_tarp`, the
          ranks of the true values of all targets together (see `joint_calibration`).
        """
        evaluator, shard = self.evaluator, self.data.shards[split]
        outputs = self._outputs(output_ExNxO)
        table = table_with_truth(
            outputs,
            calibrated,
            shard.target,
            evaluator.target_keys,
            self.data.target_scalers,
        ).rename(columns={"cluster": "snapshot_id"})
        known = {"run_id": shard.run_id, "time_myr": shard.time_myr, "distance_pc": shard.distance_pc}
        columns = {name: value for name, value in known.items() if value is not None}
        summary = out_of_distribution.describe_all(shard, self._feature_keys, evaluator.config.feature_clip)
        columns |= {"num_star": np.diff(shard.ptr), "novelty": self.reference.novelty(summary)}
        columns |= cluster_masses.masses_of_shard(shard, self.data.feature_scalers)
        columns |= joint_calibration.joint_ranks(outputs, calibrated, shard.target)
        number = table["snapshot_id"].to_numpy()
        return table.assign(**{name: np.asarray(value)[number] for name, value in columns.items()})

    @property
    def _feature_keys(self) -> tuple[str, ...]:
        """The features that the model sees."""
        keys = self.data.shards["train"].feature_keys
        columns = self.evaluator.config.columns
        return keys if columns is None else tuple(keys[i] for i in columns)

    def _outputs(self, output_ExNxO: np.ndarray) -> MemberOutputs:
        """Return the outputs by snapshot and sample."""
        num_member, _, num_output = output_ExNxO.shape
        num_sample = self.evaluator.config.num_sample_per_snapshot
        by_snapshot = output_ExNxO.reshape(num_member, -1, num_sample, num_output)
        return MemberOutputs(by_snapshot, self.evaluator.head)
