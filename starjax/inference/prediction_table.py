"""The answer for observed clusters as one table: values, intervals, doubts, and classical estimates from the same stars."""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from starjax import quantities
from starjax.catalogs.features import ClusterMembers
from starjax.dynamics import cluster_masses
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.evaluation.posterior import PERCENTILES, Posterior

# Of a cluster's stars, the share that may be left out for want of values before its answer is flagged.
MOST_LEFT_OUT = 0.05
# And that may be left out because they do not belong to the rest, motions and distances taken together.
MOST_NON_MEMBERS = 0.1
# Of the dispersion, the share that errors of velocities may have: beyond, intervals of the packaged sample's test
# clusters hold less than they say (benchmarks/README.md).
MOST_OF_DISPERSION = 0.75


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a run says of the clusters of a list.

    Attributes:
      table: one row a cluster (see `table_of`).
      members: of each cluster, the stars that the answer is from, and what was done with the others.
      answer: the distributions behind the table.
      refused: why there is no answer, by the name of each cluster that has none.
    """

    table: pd.DataFrame
    members: dict[str, ClusterMembers] = dataclasses.field(repr=False)
    answer: Posterior = dataclasses.field(repr=False)
    refused: dict[str, str]


def prediction_table(
    target_keys: Sequence[str],
    feature_keys: Sequence[str],
    reference: TrainingReference,
    members: Mapping[str, ClusterMembers],
    answer: Posterior,
    doubts: Sequence[str],
) -> pd.DataFrame:
    """One row a cluster.

    Args:
      target_keys, feature_keys: what the run tells and sees.
      doubts: of the run, which flag every cluster.

    Returns:
      `cluster`; of each target its value in physical units under its own name, the bounds of its calibrated
      intervals (`_p16 _p84 _p2.5 _p97.5`), `_spread_members` and `_spread_draws`; `num_star`, and `num_left_out` for want of
      values, `num_non_member` because they do not belong to the rest; `novelty`, `is_flagged` and `flags`, why; `distance_pc`, `radial_velocity_kms`; `velocity_error_kms`, the
      median of single stars across the line of sight; classical estimates with standard errors: `sigma_1d_kms`,
      `r_half_projected_pc`, `mass_virial` and so on, and `classical_note` on them; `notes` on the list.
    """
    rows = []
    for name, one in members.items():
        of_cluster = answer.table[answer.table["cluster"] == name].set_index("target_key")
        row = {"cluster": name}
        for key in target_keys:
            row |= {key: of_cluster.loc[key, "prediction_physical"]}
            bounds = [bound for pair in PERCENTILES for bound in pair]
            row |= {f"{key}_{bound}": of_cluster.loc[key, f"{bound}_physical"] for bound in bounds}
            row |= {f"{key}_{s}": of_cluster.loc[key, s] for s in ("spread_members", "spread_draws")}
        row |= {what: of_cluster[what].iloc[0] for what in ("num_star", "novelty")}
        row |= {"num_left_out": one.num_left_out, "num_non_member": one.num_non_member}
        beside = {"distance_pc": one.distance_pc, "radial_velocity_kms": one.radial_velocity_kms}
        beside |= cluster_masses.masses_of_members(one)
        found = [*doubts, *flag_reasons(target_keys, reference, row | beside)]
        if any(quantities.get(key).is_velocity for key in feature_keys):
            found += _of_velocities(beside["velocity_error_kms"], beside["sigma_1d_kms"])
        row |= {"is_flagged": bool(found), "flags": "; ".join(found)}
        rows.append(row | beside | {"notes": " ".join(one.notes)})
    return pd.DataFrame(rows)


def flag_reasons(target_keys: Sequence[str], reference: TrainingReference, row: Mapping) -> list[str]:
    """Why the answer for a cluster should not be believed as it stands; none where nothing speaks against it."""
    found = []
    if row["novelty"] > 1:
        found.append(f"unlike the clusters trained on: novelty {row['novelty']:.2f}, above 1")
    for key, what in (("num_star", "stars"), ("distance_pc", "pc away")):
        low, high = reference.range_of(key)
        if not low <= row[key] <= high:
            found.append(f"{row[key]:,.0f} {what}, trained on {low:z,.0f} to {high:z,.0f}")
    num_there = row["num_star"] + row["num_left_out"] + row["num_non_member"]
    if row["num_left_out"] > MOST_LEFT_OUT * num_there:
        found.append(
            f"{row['num_left_out']:,} of {num_there:,} stars are left out for want of values, and so is their mass"
        )
    num_before = row["num_star"] + row["num_non_member"]
    if row["num_non_member"] > MOST_NON_MEMBERS * num_before:
        found.append(
            f"{row['num_non_member']:,} of {num_before:,} stars move or stand unlike the rest, and are left out: is it one "
            "cluster, and what is stated of it right?"
        )
    low_bound, high_bound = PERCENTILES[0]
    for key in target_keys:
        low, high = reference.range_of(key)
        # A range that begins at zero, within rounding, ends there for all clusters.
        reaches_down = low > 1e-3 * high and row[f"{key}_{low_bound}"] < low
        if reaches_down or row[key] < low or row[f"{key}_{high_bound}"] > high:
            name, unit = quantities.short_name(key), quantities.unit(key)
            found.append(
                f"{name} reaches the end of what was trained on, {low:z,.0f} to {high:z,.0f} {unit}, and no interval holds there"
            )
    return found


def _of_velocities(error_kms: float, sigma_1d_kms: float) -> list[str]:
    if not error_kms > MOST_OF_DISPERSION * sigma_1d_kms:
        return []
    return [
        f"velocities are known to {error_kms:.2g} km/s and spread by {sigma_1d_kms:.2g}: trained on velocities without errors"
    ]
