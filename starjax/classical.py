"""Classical mass estimates of the snapshots of a shard, from the same stars that a model sees."""

import numpy as np

from starjax import physics
from starjax.data import sky
from starjax.data.bundle import ScalerBundle
from starjax.data.shard import Shard

PROJECTED = ("y", "z", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr")


def of_shard(shard: Shard, scalers: ScalerBundle) -> dict[str, np.ndarray]:
    """Masses [Msun] of each snapshot by estimator, `mass_virial` and so on.

    Args:
      shard: scaled; its features have to hold what is seen across the line of sight, `y z vy vz`, or its like on the
        sky together with distances; of others there is no estimate.
    """
    keys = next((k for k in (PROJECTED, SKY) if set(k) <= set(shard.feature_keys)), None)
    if keys is None or (keys == SKY and shard.distance_pc is None):
        return {}
    column = [shard.feature_keys.index(key) for key in keys]
    found = []
    for i in range(shard.num_snapshot):
        scaled = shard.feature[shard.ptr[i] : shard.ptr[i + 1]][:, column].astype(np.float64)
        stars_4xN = scalers.inverse(scaled, keys).T
        if keys == SKY:
            pc_per_deg = shard.distance_pc[i] * np.pi / 180
            kms_per_mas_yr = sky.KMS_PER_PC_MAS_YR * shard.distance_pc[i]
            stars_4xN = stars_4xN * np.repeat([pc_per_deg, kms_per_mas_yr], 2)[:, None]
        found.append(physics.estimates(*stars_4xN))
    return {f"mass_{name}": np.array([one.mass[name].value for one in found]) for name in physics.ESTIMATORS}
