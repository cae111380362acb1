"""Predictions of all samples of a split, and their metrics and tables."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.evaluation import metrics
from starjax.models import heads
from starjax.models.ensemble import map_members
from starjax.runtime import devices
from starjax.sampling import sampler

# Batches predicted in one call of the device.
MAX_STEPS_PER_CALL = 64
# Seed of the samples of validation and test, the same for all runs so that they are compared on the same
# samples. (The partition into folds has the seed of the run.)
SEED = 0


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """Predicts every sample of a split once, without dropout and with all stars.

    Attributes:
      apply: the model as a pure function.
      head: the head of the model, which interprets the outputs.
      config: how samples are drawn; the dropping of stars in training is switched off.
      batch_size: samples per step, over all devices.
      micro_batch_size: samples that a device draws and predicts at a time, for each of its ensemble members.
      mesh: the devices.
      target_keys, scalers: names of the predicted targets, and their scalers to physical units.
      shards: the scaled shards by split.
      chunks: `(split) -> iterator over Stars`, the stars of a split in order and on the devices (see
        `sampling.device_placement.in_order`).
    """

    apply: Callable
    head: heads.PointHead | heads.MixtureHead
    config: sampler.SamplerConfig
    batch_size: int
    micro_batch_size: int
    mesh: jax.sharding.Mesh
    target_keys: tuple[str, ...]
    scalers: ScalerBundle
    shards: dict[str, Shard]
    chunks: Callable[[str], Iterable[sampler.Stars]]

    @property
    def sample_config(self) -> sampler.SamplerConfig:
        """Return the settings of the samples, which are drawn with all stars."""
        return self.config.without_drop()

    @functools.cached_property
    def _predict_steps(self) -> Callable:
        config = self.sample_config

        def predict_steps(params, stars, key, first_step, step_S):
            row_NxM, num_row = devices.local_rows(self.batch_size, self.micro_batch_size)
            num_local = self.batch_size // devices.num_share(self.mesh)

            def predict_micro_batch(position_M):
                # Positions beyond the end repeat the last sample; the caller cuts them off.
                pair_M = jnp.minimum(position_M, sampler.num_sample(stars, config) - 1)
                features_MxKxF, mask_MxK, _, _ = sampler.draw_batch(stars, key, 0, pair_M, config)
                return map_members(lambda p: self.apply(p, features_MxKxF, mask_MxK), params)

            def predict_step(step):
                # Rows that pad the last micro-batch are -1, and cut off here.
                position_NxM = jnp.maximum((first_step + step) * num_row + row_NxM, 0)
                output_ExNxMxO = jnp.moveaxis(jax.lax.map(predict_micro_batch, position_NxM), 0, 1)
                output_ExBxO = output_ExNxMxO.reshape(-1, row_NxM.size, self.head.num_output)
                return output_ExBxO[:, :num_local]

            return jnp.moveaxis(jax.lax.map(predict_step, step_S), 0, 1)

        arguments = ("members", "same", "same", "same", "same")
        return devices.on_mesh(predict_steps, self.mesh, arguments=arguments, result="rows")

    def predict(self, params: dict, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs of all members for all samples of a split, and the scaled targets.

        Row i is sample i % num_sample_per_snapshot of snapshot i // num_sample_per_snapshot, for any batch
        size and any number of devices; the samples are the same for all members and all runs.

        Returns:
          float32 (E, n_sample, O) and (n_sample, T).
        """
        rows = [self.predict_stars(params, stars, split) for stars in self.chunks(split)]
        return np.concatenate(rows, axis=1), self.targets(split)

    def targets(self, split: str) -> np.ndarray:
        """Return the scaled targets of all samples of a split, float32 (n_sample, T)."""
        return np.repeat(self.shards[split].target, self.config.num_sample_per_snapshot, axis=0)

    def predict_stars(self, params: dict, stars: sampler.Stars, purpose: str) -> np.ndarray:
        """Return the outputs (E, n, O) for the samples of some snapshots, drawn with the key of a purpose."""
        key = sampler.purpose_key(jax.random.key_data(jax.random.key(SEED)), purpose)
        num_sample = int(sampler.num_sample(stars, self.config))
        num_step = math.ceil(num_sample / self.batch_size)
        # Calls of equal length, so that one compiled program serves all; the last may run over the end.
        num_call = math.ceil(num_step / MAX_STEPS_PER_CALL)
        step_S = np.arange(math.ceil(num_step / num_call))
        predicted = [
            self._predict_steps(params, stars, key, call * len(step_S), step_S) for call in range(num_call)
        ]
        rows = [devices.gather(x).reshape(len(x), -1, self.head.num_output) for x in predicted]
        return np.concatenate(rows, axis=1)[:, :num_sample]

    def points(self, output_ExNxO: np.ndarray) -> np.ndarray:
        """Return the expected scaled targets (…, T)."""
        return np.asarray(self.head.mean(output_ExNxO))

    def metrics(self, prediction_NxT: np.ndarray, target_NxT: np.ndarray) -> dict:
        """Return metrics by target, in scaled and physical units."""
        return metrics.by_target(prediction_NxT, target_NxT, self.target_keys, self.scalers)

    def table(self, prediction_ExNxT: np.ndarray, target_NxT: np.ndarray, split: str) -> pd.DataFrame:
        """Return one row per sample and target, with simulation, time [Myr] and distance [pc].

        The prediction is the mean over members in scaled units; `spread_*` is the standard deviation between
        members, if there is more than one.
        """
        shard = self.shards[split]
        known = {"run_id": shard.run_id, "time_myr": shard.time_myr, "distance_pc": shard.distance_pc}
        mean_NxT = prediction_ExNxT.mean(axis=0)
        values = {
            "target_scaled": target_NxT,
            "prediction_scaled": mean_NxT,
            "target_physical": self._physical(target_NxT),
            "prediction_physical": self._physical(mean_NxT),
        }
        if len(prediction_ExNxT) > 1:
            values["spread_scaled"] = prediction_ExNxT.std(axis=0, ddof=1)
            values["spread_physical"] = self._physical(prediction_ExNxT).std(axis=0, ddof=1)
        tables = []
        for i, key in enumerate(self.target_keys):
            columns = self._sample(len(target_NxT)) | {"target_key": key}
            columns |= {name: value[:, i] for name, value in values.items()}
            columns |= {
                name: value[columns["snapshot_id"]] for name, value in known.items() if value is not None
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)

    def table_of_member(self, prediction_NxT: np.ndarray, number: int) -> pd.DataFrame:
        """Return one row per sample and target, predicted by the ensemble member `number`."""
        physical_NxT = self._physical(prediction_NxT)
        tables = [
            pd.DataFrame(
                self._sample(len(prediction_NxT))
                | {
                    "target_key": key,
                    "member": number,
                    "prediction_scaled": prediction_NxT[:, i],
                    "prediction_physical": physical_NxT[:, i],
                }
            )
            for i, key in enumerate(self.target_keys)
        ]
        return pd.concat(tables, ignore_index=True)

    def _sample(self, num_row: int) -> dict[str, np.ndarray]:
        """Return the columns that number the snapshots and their samples."""
        snapshot, sample = np.divmod(np.arange(num_row), self.config.num_sample_per_snapshot)
        return {"snapshot_id": snapshot, "sample_id": sample}

    def _physical(self, scaled: np.ndarray) -> np.ndarray:
        # In float64: the inverse of a logarithmic scaler enlarges rounding errors.
        return self.scalers.inverse(scaled.astype(np.float64), self.target_keys)
