"""A split in, predictions, metrics and a table out."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from starjax import distributed, files, metrics
from starjax.data import sampler
from starjax.data.bundle import ScalerBundle
from starjax.data.shard import Shard
from starjax.experiment import Experiment

# Batches predicted in one call of the device.
MAX_STEPS_PER_CALL = 64


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Predicts every sample of a split, once, without dropout and without dropping stars.

    Attributes:
      apply: the model as a pure function.
      config: what a sample is; its dropping of stars is left out.
      batch_size: samples of a step over all devices.
      mesh: the devices.
      target_keys, scalers: what is predicted and how to get back to physical units.
      shards: the scaled shards by split.
      chunks: `(split) -> iterator over Stars`, their stars in order, placed (see `data.placement.in_order`).
    """

    apply: Callable
    config: sampler.SamplerConfig
    batch_size: int
    mesh: jax.sharding.Mesh
    target_keys: tuple[str, ...]
    scalers: ScalerBundle
    shards: dict[str, Shard]
    chunks: Callable[[str], Iterable[sampler.Stars]]

    @property
    def sample_config(self) -> sampler.SamplerConfig:
        """What a sample is here."""
        return self.config.without_drop()

    @functools.cached_property
    def _predict_steps(self) -> Callable:
        config = self.sample_config

        def predict_steps(params, stars, key, first_step, step_S):
            (row_B,), _ = distributed.local_rows(self.batch_size)

            def predict_step(step):
                position_B = (first_step + step) * self.batch_size + row_B
                # What stands beyond the end is drawn from the last snapshot, and cut off by the caller.
                pair_B = jnp.minimum(position_B, sampler.num_sample(stars, config) - 1)
                features_BxKxF, mask_BxK, _, _ = sampler.draw_batch(stars, key, 0, pair_B, config)
                return self.apply(params, features_BxKxF, mask_BxK)

            return jax.lax.map(predict_step, step_S)

        return distributed.on_mesh(predict_steps, self.mesh, is_output_sharded=True)

    def predict(self, state: dict, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Scaled predictions and targets of all samples of a split, float32 (n_sample, T) each.

        Row i is sample i % num_sample_per_snapshot of snapshot i // num_sample_per_snapshot, whatever
        the batch size and the number of devices.
        """
        key = sampler.purpose_key(state["key"], split)
        rows = [self._predict_chunk(state["params"], stars, key) for stars in self.chunks(split)]
        target = np.repeat(self.shards[split].target, self.config.num_sample_per_snapshot, axis=0)
        return np.concatenate(rows), target

    def _predict_chunk(self, params: dict, stars: sampler.Stars, key: jax.Array) -> np.ndarray:
        num_sample = int(sampler.num_sample(stars, self.config))
        num_step = math.ceil(num_sample / self.batch_size)
        num_call = math.ceil(num_step / MAX_STEPS_PER_CALL)
        step_S = np.arange(math.ceil(num_step / num_call))
        predicted = [
            self._predict_steps(params, stars, key, call * len(step_S), step_S) for call in range(num_call)
        ]
        rows = [distributed.gather(x).reshape(-1, len(self.target_keys)) for x in predicted]
        return np.concatenate(rows)[:num_sample]

    def metrics(self, prediction: np.ndarray, target: np.ndarray) -> dict:
        """Metrics by target, scaled and physical."""
        return metrics.by_target(prediction, target, self.target_keys, self.scalers)

    def table(self, prediction: np.ndarray, target: np.ndarray, shard: Shard) -> pd.DataFrame:
        """One row a sample and target, with what is known of the snapshot (time in Myr, distance in pc)."""
        num_sample = self.config.num_sample_per_snapshot
        snapshot = np.repeat(np.arange(shard.num_snapshot), num_sample)
        known = {"run_id": shard.run_id, "time_myr": shard.time_myr, "distance_pc": shard.distance_pc}
        physical = [
            self.scalers.inverse(x.astype(np.float64), self.target_keys) for x in (target, prediction)
        ]
        tables = []
        for i, key in enumerate(self.target_keys):
            columns = {
                "snapshot_id": snapshot,
                "sample_id": np.tile(np.arange(num_sample), shard.num_snapshot),
                "target_key": key,
                "target_scaled": target[:, i],
                "prediction_scaled": prediction[:, i],
                "target_physical": physical[0][:, i],
                "prediction_physical": physical[1][:, i],
            }
            columns |= {name: values[snapshot] for name, values in known.items() if values is not None}
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)


def write(experiment: Experiment, table: pd.DataFrame, content: dict) -> None:
    """Writes the test table, and last the test metrics, whose presence says that the run is finished."""
    with files.written_whole(experiment.test_table) as temporary:
        table.to_parquet(temporary, index=False)
    files.write_json(experiment.test_metrics, content)
