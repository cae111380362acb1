"""The snapshots of a split: what a run says of each, beside the truth, its novelty and classical estimates."""

import dataclasses
import functools

import numpy as np
import pandas as pd

from starjax.datasets.dataset import Dataset
from starjax.datasets.shard import Shard
from starjax.dynamics import cluster_masses
from starjax.evaluation import out_of_distribution
from starjax.evaluation.calibration import Calibration
from starjax.evaluation.evaluator import Evaluator
from starjax.evaluation.posterior import MemberOutputs, fit_calibration, table_with_truth


@dataclasses.dataclass(frozen=True)
class SnapshotEvaluator:
    """What it takes to judge the answers of a run.

    Attributes:
      evaluator: made the predictions.
      data: the data set, its clusters of validation and test as lists have them (see `incompleteness`).
      known: training clusters as lists have them, all or some.
    """

    evaluator: Evaluator
    data: Dataset
    known: Shard

    @functools.cached_property
    def reference(self) -> out_of_distribution.TrainingReference:
        """What the run was trained on."""
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
        """From the outputs of all samples of the validation runs."""
        shard = self.data.shards["val"]
        return fit_calibration(self._outputs(output_ExNxO), shard.target, shard.group)

    def table(self, output_ExNxO: np.ndarray, calibrated: Calibration, split: str) -> pd.DataFrame:
        """One row a snapshot and target.

        Returns:
          the columns of `answers.against_truth`, a snapshot being called `snapshot_id`; `num_star`, `novelty`; what is
          known of `run_id`, `time_myr`, `distance_pc`; and classical masses (see `classical.of_shard`).
        """
        evaluator, shard = self.evaluator, self.data.shards[split]
        found = table_with_truth(
            self._outputs(output_ExNxO),
            calibrated,
            shard.target,
            evaluator.target_keys,
            self.data.target_scalers,
        ).rename(columns={"cluster": "snapshot_id"})
        known = {"run_id": shard.run_id, "time_myr": shard.time_myr, "distance_pc": shard.distance_pc}
        of_snapshot = {name: value for name, value in known.items() if value is not None}
        description = out_of_distribution.describe_all(
            shard, self._feature_keys, evaluator.config.feature_clip
        )
        of_snapshot |= {"num_star": np.diff(shard.ptr), "novelty": self.reference.novelty(description)}
        of_snapshot |= cluster_masses.masses_of_shard(shard, self.data.feature_scalers)
        number = found["snapshot_id"].to_numpy()
        return found.assign(**{name: np.asarray(value)[number] for name, value in of_snapshot.items()})

    @property
    def _feature_keys(self) -> tuple[str, ...]:
        keys = self.data.shards["train"].feature_keys
        return tuple(keys[i] for i in self.evaluator.config.columns)

    def _outputs(self, output_ExNxO: np.ndarray) -> MemberOutputs:
        num_member, _, num_output = output_ExNxO.shape
        num_sample = self.evaluator.config.num_sample_per_snapshot
        by_snapshot = output_ExNxO.reshape(num_member, -1, num_sample, num_output)
        return MemberOutputs(by_snapshot, self.evaluator.head)
