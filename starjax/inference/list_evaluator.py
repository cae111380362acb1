"""The outputs of a trained model for lists of stars of any length."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.evaluation.evaluator import Evaluator
from starjax.evaluation.posterior import MemberOutputs
from starjax.runs import run_config
from starjax.runtime import devices
from starjax.sampling import sampler

# Samples that the members predict at a time; clusters are few, and may have many stars.
BATCH_SIZE = 8
# Rows of stars on the device are this number times a power of two, and clusters BATCH_SIZE times one, so that
# few compiled programs serve all lists.
MIN_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class ListEvaluator:
    """Predicts lists of stars, and keeps its compiled programs.

    Attributes:
      config: the config of the run.
      params: the parameters of its ensemble members.
      feature_keys, feature_scalers: the features of the stars, and their scalers.
      target_keys, target_scalers: the targets, and their scalers.
    """

    config: ConfigDict
    params: dict
    feature_keys: tuple[str, ...]
    feature_scalers: ScalerBundle
    target_keys: tuple[str, ...]
    target_scalers: ScalerBundle

    def shard(self, features: Sequence[np.ndarray]) -> Shard:
        """Return clusters as the snapshots of a scaled shard; their targets are not known, and zero."""
        physical = np.concatenate(features).astype(np.float64)
        return Shard(
            feature=self.feature_scalers.transform(physical, self.feature_keys).astype(np.float32),
            feature_keys=self.feature_keys,
            target=np.zeros((len(features), len(self.target_keys)), np.float32),
            target_keys=self.target_keys,
            ptr=np.cumsum([0, *map(len, features)]),
        )

    def outputs(self, shard: Shard, num_draws: int) -> MemberOutputs:
        """Return the outputs of all members for samples of all clusters."""
        is_small = np.diff(shard.ptr).max() <= self.config.data.num_star_per_sample
        # All draws of a small cluster would be the same stars.
        evaluator = self._single if is_small else self._of_draws(num_draws)
        params = devices.shard_members(self.params, evaluator.mesh)
        stars = devices.replicate(_padded(shard), evaluator.mesh)
        output_ExNxO = evaluator.predict_stars(params, stars, "predict")
        shape = (len(output_ExNxO), -1, evaluator.config.num_sample_per_snapshot, evaluator.head.num_output)
        return MemberOutputs(output_ExNxO.reshape(shape)[:, : shard.num_snapshot], evaluator.head)

    @functools.cached_property
    def _single(self) -> Evaluator:
        return self._of_draws(1)

    def _of_draws(self, num_draws: int) -> Evaluator:
        model = run_config.model(self.config)
        sample_config = run_config.sampler(self.config, self.feature_scalers, self.feature_keys)
        return Evaluator(
            apply=model.apply,
            head=model.head,
            config=dataclasses.replace(sample_config, num_sample_per_snapshot=num_draws),
            batch_size=BATCH_SIZE,
            micro_batch_size=BATCH_SIZE,
            # The batches are small: more devices would have nothing to do.
            mesh=devices.make_mesh(devices=jax.local_devices()[:1]),
            target_keys=self.target_keys,
            scalers=self.target_scalers,
            shards={},
            chunks=lambda split: [],
        )


def _padded(shard: Shard) -> sampler.Stars:
    """Return the stars of clusters, followed by empty clusters and rows that belong to none."""
    num_star = _next_size(len(shard.feature), MIN_ROWS)
    num_cluster = _next_size(shard.num_snapshot, BATCH_SIZE)
    return sampler.Stars(
        feature=np.pad(shard.feature, ((0, num_star - len(shard.feature)), (0, 0))),
        ptr=np.pad(shard.ptr, (0, num_cluster - shard.num_snapshot), mode="edge").astype(np.int32),
        target=np.zeros((num_cluster, shard.target.shape[1]), np.float32),
        # The same identity for all, so that the stars drawn from one cluster do not depend on the others.
        identity=np.zeros(num_cluster, np.int32),
    )


def _next_size(num: int, least: int) -> int:
    """Return the first of `least`, 2 `least`, 4 `least` … that is not below `num`."""
    return least * 2 ** math.ceil(math.log2(max(num / least, 1)))
