"""The data card of the packaged data set `clusters`: the numbers that its template lacks."""

import itertools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starjax.datasets.shard import Shard, count_shard

TEMPLATE = Path(__file__).with_name("clusters_card.md")
# Edges of the bins in which snapshots and simulations are counted.
AGES_MYR = (0, 20, 60, 100, 200, 300, 500, 700, 1000)
MASSES_MSUN = (0, 25, 50, 100, 200, 400, 800, 1500)
RADII_KPC = (6.5, 7.5, 8.5, 9.5, 10.5)
# Beyond these a cluster counts as old, and a mass as large.
OLD_MYR, LARGE_MSUN, YOUNG_MYR, FAST_KMS = 500, 800, 100, 20


def make_card(
    shards: Mapping[str, Shard], simulations: Mapping[str, Mapping[str, float]], num_source: int
) -> str:
    """Return the data card in Markdown.

    Args:
      shards: the raw shard of each split.
      simulations: metallicity and Galactocentric radius [kpc] of each simulation, by id.
      num_source: the number of stars before those without light were left out.
    """
    counts = {split: count_shard(shard) for split, shard in shards.items()}
    numbers = _of_snapshots(shards) | _of_simulations(shards) | _of_stars(shards)
    return TEMPLATE.read_text(encoding="utf-8").format(
        **{split: types.SimpleNamespace(**count) for split, count in counts.items()},
        **numbers,
        num_dropped=num_source - numbers["num_star"],
        counts=_snapshot_table(shards),
        simulation_counts=_simulation_table(shards, simulations),
    )


def _of_snapshots(shards: Mapping[str, Shard]) -> dict[str, Any]:
    """Return numbers that follow from the targets."""
    age, mass, r_tidal = np.concatenate([shard.target for shard in shards.values()]).T
    num_star = np.concatenate([np.diff(shard.ptr) for shard in shards.values()])
    return {
        "num_snapshot": len(age),
        "num_star": int(num_star.sum()),
        "fewest": num_star.min(),
        "typical": np.median(num_star),
        "most": num_star.max(),
        "max_age": age.max(),
        "min_mass": mass.min(),
        "median_mass": np.median(mass),
        "max_mass": mass.max(),
        "min_r_tidal": r_tidal.min(),
        "max_r_tidal": r_tidal.max(),
        "num_young": int((age < YOUNG_MYR).sum()),
        "young_share": (age < YOUNG_MYR).mean(),
        "num_massive": int((mass > LARGE_MSUN).sum()),
        "mass_limit": int(np.ceil(mass.max() / 10) * 10),
        "first_mass": np.median(mass[age == 0]),
        "last_mass": np.median(mass[age >= AGES_MYR[-2]]),
        "max_old_mass": mass[age > OLD_MYR].max(),
    }


def _of_simulations(shards: Mapping[str, Shard]) -> dict[str, Any]:
    """Return numbers that follow from the first and the last snapshot of each simulation."""
    of_each = [_simulation(shard, run_id) for shard in shards.values() for run_id in shard.simulations]
    last_age, kept_mass, density, heaviest = np.transpose(of_each)
    is_cut, is_dense = kept_mass > 0.5, density > np.median(density)
    light, middle, heavy = np.histogram(heaviest, [0, 7.95, 20.05, 40.05])[0]
    return {
        "num_simulation": len(of_each),
        "num_beyond": int((last_age > OLD_MYR).sum()),
        "num_cut": int(is_cut.sum()),
        "median_cut": np.median(last_age[is_cut]),
        "dense_age": np.median(last_age[is_dense]),
        "loose_age": np.median(last_age[~is_dense]),
        "num_light": light,
        "num_middle": middle,
        "num_heavy": heavy,
    }


def _simulation(shard: Shard, run_id: str) -> tuple[float, float, float, float]:
    """Return the last age, the share of mass kept until then, the first density and the greatest mass."""
    snapshots = np.flatnonzero(shard.run_id == run_id)
    first, last = snapshots[0], snapshots[-1]
    rows = slice(shard.ptr[first], shard.ptr[first + 1])
    stars = dict(zip(shard.feature_keys, shard.feature[rows].T, strict=True))
    radius = np.median(np.sqrt(stars["x"] ** 2 + stars["y"] ** 2 + stars["z"] ** 2))
    age, mass = shard.target[:, :2].T
    return age[last], mass[last] / mass[first], mass[first] / radius**3, stars["mass"].max()


def _of_stars(shards: Mapping[str, Shard]) -> dict[str, Any]:
    """Return numbers that follow from the stars."""
    feature = np.concatenate([shard.feature for shard in shards.values()])
    keys = next(iter(shards.values())).feature_keys
    x, y, z, vx, vy, vz, companion = (
        feature[:, keys.index(key)] for key in ("x", "y", "z", "vx", "vy", "vz", "companion")
    )
    speed = np.sqrt(vx**2 + vy**2 + vz**2)
    brighter = np.flatnonzero(companion == 1)
    is_same = [place[brighter] == place[brighter + 1] for place in (x, y, z)]
    return {
        "binary_share": (companion != 0).mean(),
        "fast_share": (speed > FAST_KMS).mean(),
        "max_speed": speed.max(),
        "same_place": np.all(is_same, axis=0).mean(),
    }


def _snapshot_table(shards: Mapping[str, Shard]) -> str:
    """Return the number of snapshots in bins of age and of mass."""
    ages = _counts(shards, AGES_MYR, lambda shard: shard.target[:, 0])
    masses = _counts(shards, MASSES_MSUN, lambda shard: shard.target[:, 1])
    return (
        _table("age [Myr]", _bins(AGES_MYR), shards, ages)
        + "\n\n"
        + _table("mass [Msun]", _bins(MASSES_MSUN), shards, masses)
    )


def _simulation_table(shards: Mapping[str, Shard], simulations: Mapping[str, Mapping[str, float]]) -> str:
    """Return the number of simulations by metallicity and by Galactocentric radius."""
    metallicities = sorted({one["metallicity"] for one in simulations.values()})
    # A bin round each of them.
    edges = [0.0, *(sum(pair) / 2 for pair in itertools.pairwise(metallicities)), 1.0]

    def values(key: str) -> Callable[[Shard], list[float]]:
        return lambda shard: [simulations[run_id][key] for run_id in shard.simulations]

    by_metallicity = _counts(shards, edges, values("metallicity"))
    by_radius = _counts(shards, RADII_KPC, values("galactocentric_radius_kpc"))
    return (
        _table("Z", map(str, metallicities), shards, by_metallicity)
        + "\n\n"
        + _table("radius [kpc]", _bins(RADII_KPC), shards, by_radius)
    )


def _counts(
    shards: Mapping[str, Shard], edges: Sequence[float], values: Callable[[Shard], Any]
) -> list[np.ndarray]:
    """Return the counts in the bins, for each of the shards."""
    return [np.histogram(values(shard), edges)[0] for shard in shards.values()]


def _bins(edges: Sequence[float]) -> list[str]:
    return [f"{low:g}–{high:g}" for low, high in itertools.pairwise(edges)]


def _table(title: str, bins: Iterable[str], splits: Iterable[str], counts: Sequence[np.ndarray]) -> str:
    """Return a table in Markdown with a row for each split."""
    head = [title, *bins]
    rows = [
        head,
        ["---"] * len(head),
        *([split, *map(str, count)] for split, count in zip(splits, counts, strict=True)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
