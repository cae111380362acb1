"""Classical mass estimates of simulated and observed clusters, from the stars that a model sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.dynamics import mass_estimators
from starjax.quantities import KMS_PER_PC_MAS_YR, PROJECTED, SKY

if TYPE_CHECKING:  # it reads catalogues with astropy, which training does not need
    from starjax.catalogs.cluster_members import ClusterMembers


def masses_of_shard(shard: Shard, scalers: ScalerBundle) -> dict[str, np.ndarray]:
    """Return the masses of all snapshots [Msun] by estimator: `mass_virial` and so on, (num_snapshot,) each.

    Args:
      shard: a scaled shard. If its features do not include positions and velocities across the line of sight,
        `y z vy vz` or, together with the distances of the snapshots, those on the sky, the result is empty.
      scalers: the scalers of its features.
    """
    distance_pc = shard.distance_pc
    if set(PROJECTED) <= set(shard.feature_keys):
        keys = PROJECTED
    elif set(SKY) <= set(shard.feature_keys) and distance_pc is not None:
        keys = SKY
    else:
        return {}
    column = [shard.feature_keys.index(key) for key in keys]
    found = []
    for i in range(shard.num_snapshot):
        scaled = shard.feature[shard.ptr[i] : shard.ptr[i + 1]][:, column].astype(np.float64)
        stars_4xN = scalers.inverse(scaled, keys).T
        if keys == SKY and distance_pc is not None:
            # All stars at the distance of the cluster, and flat: clusters are small on the sky.
            distance = float(distance_pc[i])
            pc_per_deg = distance * np.pi / 180
            kms_per_mas_yr = KMS_PER_PC_MAS_YR * distance
            stars_4xN = stars_4xN * np.repeat([pc_per_deg, kms_per_mas_yr], 2)[:, None]
        found.append(mass_estimators.estimate_masses(*stars_4xN))
    return {
        f"mass_{name}": np.array([one.mass[name].value for one in found])
        for name in mass_estimators.ESTIMATORS
    }


def masses_of_members(members: ClusterMembers) -> dict[str, float | str]:
    """Return classical estimates for an observed cluster and their standard errors, NaN if there is none.

    Stars without a proper motion do not count.
    """
    stars = members.table
    lon, lat = np.radians(stars["lon_deg"]), np.radians(stars["lat_deg"])
    position = stars["dist_pc"] * np.cos(lat) * np.sin(lon), stars["dist_pc"] * np.sin(lat)
    kms_per_mas_yr = KMS_PER_PC_MAS_YR * stars["dist_pc"]
    velocity = kms_per_mas_yr * stars["pm_lon_coslat_mas_yr"], kms_per_mas_yr * stars["pm_lat_mas_yr"]
    columns = np.stack([*position, *velocity, stars["v_lon_error"], stars["v_lat_error"]])
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    estimates = mass_estimators.estimate_masses(*columns)
    found: dict[str, float | str] = {
        "velocity_error_kms": float(np.median(columns[4:])) if columns.size else np.nan,
        "classical_note": estimates.note,
    }
    for name, mass in estimates.mass.items():
        found |= {f"mass_{name}": mass.value, f"mass_{name}_error": mass.standard_error}
    for name in ("sigma_1d_kms", "r_half_projected_pc"):
        found |= {
            name: getattr(estimates, name).value,
            f"{name}_error": getattr(estimates, name).standard_error,
        }
    return found
