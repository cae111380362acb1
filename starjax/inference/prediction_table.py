"""The prediction for observed clusters as a table: posteriors, flags, and classical masses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from starjax import quantities
from starjax.catalogs.cluster_members import ClusterMembers
from starjax.dynamics import cluster_masses
from starjax.evaluation.calibration import PERCENTILES
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.evaluation.posterior import NUM_SAMPLE, PREDICTION_COLUMNS, Posterior

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# Predictions are flagged beyond these limits.
# Fraction of the stars that are left out because values are missing: the mass lacks theirs.
MAX_LEFT_OUT = 0.05
# Fraction of the stars that are left out as non-members, by motion or distance. More of them suggest two
# clusters, or a wrong distance or velocity.
MAX_NON_MEMBERS = 0.1
# Velocity errors in units of the velocity dispersion. Beyond, intervals on test clusters of the packaged
# sample cover less than their nominal level (docs/explanation/out-of-distribution.md).
MAX_VELOCITY_ERROR = 0.75


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction of a run for the clusters of a member catalogue.

    Attributes:
      table: one row per cluster (see `prediction_table`).
      members: by cluster, the stars that the prediction is based on, and notes on those that were left out.
      posterior: the distributions behind the table.
      refused: by cluster, the reason why it cannot be predicted.
      unmatched: clusters of which something was stated, but of which the catalogue has no stars.
      notes: which columns of the catalogue were used, in sentences.
    """

    table: pd.DataFrame
    members: dict[str, ClusterMembers] = dataclasses.field(repr=False)
    posterior: Posterior = dataclasses.field(repr=False)
    refused: dict[str, str]
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def samples(self, cluster: str, num: int = NUM_SAMPLE) -> pd.DataFrame:
        """Return samples of the joint posterior of a cluster, one column per target (`Posterior.samples`)."""
        return self.posterior.samples(cluster, num)

    def corner(self, cluster: str) -> Figure:
        """Return a figure of the joint posterior of a cluster (`plotting.corner_figure.draw_corner`)."""
        from starjax.plotting import corner_figure  # imports matplotlib, which a prediction does not need

        return corner_figure.draw_corner(self.posterior, cluster)

    def to_xarray(self, num: int = NUM_SAMPLE) -> xarray.Dataset:
        """Return samples of all clusters with dimensions (chain=1, draw, cluster), which ArviZ takes.

        Raises:
          ImportError: xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            raise ImportError("this takes xarray, which comes with ArviZ: pip install arviz") from error
        clusters = self.posterior.clusters
        values_NxDxT = np.stack([self.samples(name, num).to_numpy() for name in clusters])
        variables = {
            key: (
                ("chain", "draw", "cluster"),
                values_NxDxT[None, ..., i].swapaxes(1, 2),
                {"units": quantities.unit(key)},
            )
            for i, key in enumerate(self.posterior.target_keys)
        }
        return xarray.Dataset(variables, {"chain": [0], "draw": np.arange(num), "cluster": list(clusters)})


def prediction_table(
    target_keys: Sequence[str],
    feature_keys: Sequence[str],
    reference: TrainingReference,
    members: Mapping[str, ClusterMembers],
    posterior: Posterior,
    caveats: Sequence[str],
) -> pd.DataFrame:
    """Return one row per cluster.

    Args:
      target_keys, feature_keys: the targets and features of the run.
      reference: the training clusters.
      members: the stars of each cluster.
      posterior: the posterior of the same clusters.
      caveats: reasons to flag every cluster (see `Predictor.caveats`).

    Returns:
      `cluster`; for each target, its median in physical units under its own name, the bounds of its
      calibrated intervals (`_p16 _p84 _p2.5 _p97.5`), `_spread_members` and `_spread_draws`; `num_star`;
      `novelty`, the out-of-distribution score; `num_left_out`, stars left out because values are missing;
      `num_non_member`, stars left out as non-members; `is_flagged` and `flag_reasons`; `distance_pc`
      and `distance_error_pc`, `radial_velocity_kms`, `extinction_v_mag`, `extinction_v_error_mag` and
      `extinction_source`, `metallicity`, of the cluster; `velocity_error_kms`, the median error of single
      stars across the line of sight; classical estimates with standard errors, `sigma_1d_kms`,
      `r_half_projected_pc`, `mass_virial` and so on, and `classical_note` on them; `notes` on the catalogue.
    """
    rows = []
    by_cluster = dict(iter(posterior.table.groupby("cluster", sort=False)))
    for name, one in members.items():
        by_target = by_cluster[name].set_index("target_key")
        row: dict[str, Any] = {"cluster": name}
        for key in target_keys:
            row |= {
                f"{key}{ending}": by_target.loc[key, column] for ending, column in PREDICTION_COLUMNS.items()
            }
        row |= {column: by_target[column].iloc[0] for column in ("num_star", "novelty")}
        row |= {"num_left_out": one.num_left_out, "num_non_member": one.num_non_member}
        beside: dict[str, Any] = {
            "distance_pc": one.distance_pc,
            "distance_error_pc": one.distance_error_pc,
            "radial_velocity_kms": one.radial_velocity_kms,
            "extinction_v_mag": one.extinction.v_mag,
            "extinction_v_error_mag": one.extinction.v_error_mag,
            "extinction_source": one.extinction.source,
            "metallicity": one.metallicity,
        }
        beside |= cluster_masses.masses_of_members(one)
        reasons = [*caveats, *one.caveats, *flag_reasons(target_keys, reference, row | beside)]
        has_velocities = any(quantities.get(key).is_velocity for key in feature_keys)
        if has_velocities and "v_error_kms" not in feature_keys:
            reasons += _velocity_reasons(beside["velocity_error_kms"], beside["sigma_1d_kms"])
        row |= {"is_flagged": bool(reasons), "flag_reasons": "; ".join(reasons)}
        rows.append(row | beside | {"notes": " ".join(one.notes)})
    return pd.DataFrame(rows)


def flag_reasons(target_keys: Sequence[str], reference: TrainingReference, row: Mapping) -> list[str]:
    """Return the reasons to flag the prediction for a cluster, given the row of its table."""
    reasons = []
    if row["novelty"] > 1:
        reasons.append(f"unlike the training clusters: novelty {row['novelty']:.2f}, above 1")
    for key, unit in (("num_star", "stars"), ("distance_pc", "pc away")):
        low, high = reference.range_of(key)
        if not low <= row[key] <= high:
            reasons.append(f"{row[key]:,.0f} {unit}, trained on {low:z,.0f} to {high:z,.0f}")
    low, high = reference.range_of("metallicity")
    if not (np.isnan(row["metallicity"]) or low <= row["metallicity"] <= high):
        reasons.append(f"[Fe/H] of {row['metallicity']:.2f}, trained on {low:.2f} to {high:.2f}")
    return reasons + _left_out_reasons(row) + _range_reasons(target_keys, reference, row)


def _left_out_reasons(row: Mapping) -> list[str]:
    """Return the reasons that concern stars which were left out."""
    reasons = []
    num_listed = row["num_star"] + row["num_left_out"] + row["num_non_member"]
    if row["num_left_out"] > MAX_LEFT_OUT * num_listed:
        reasons.append(
            f"{row['num_left_out']:,} of {num_listed:,} stars are left out because values are missing, and "
            "their mass with them"
        )
    num_complete = row["num_star"] + row["num_non_member"]
    if row["num_non_member"] > MAX_NON_MEMBERS * num_complete:
        reasons.append(
            f"{row['num_non_member']:,} of {num_complete:,} stars are left out as non-members by motion or "
            "distance: check that this is one cluster, and that the given properties are right"
        )
    return reasons


def _range_reasons(target_keys: Sequence[str], reference: TrainingReference, row: Mapping) -> list[str]:
    """Return the targets whose 68 % interval reaches beyond the training range."""
    reasons = []
    low_bound, high_bound = PERCENTILES[0]
    for key in target_keys:
        low, high = reference.range_of(key)
        # A range that begins at zero, within rounding, begins there by nature, and not because training does.
        reaches_below = low > 1e-3 * high and row[f"{key}_{low_bound}"] < low
        if reaches_below or row[key] < low or row[f"{key}_{high_bound}"] > high:
            name, unit = quantities.short_name(key), quantities.unit(key)
            reasons.append(
                f"{name} reaches the end of the training range, {low:z,.0f} to {high:z,.0f} {unit}, where "
                "intervals are not calibrated"
            )
    return reasons


def _velocity_reasons(error_kms: float, sigma_1d_kms: float) -> list[str]:
    """Return the reason that concerns velocity errors; none if the dispersion is not known (NaN)."""
    # Not `<=`, which would be False for NaN as well.
    if not error_kms > MAX_VELOCITY_ERROR * sigma_1d_kms:
        return []
    return [
        f"velocity errors of {error_kms:.2g} km/s at a dispersion of {sigma_1d_kms:.2g} km/s: trained on "
        "velocities without errors"
    ]
