"""Make the packaged data set `clusters` from an archive of NBODY6 simulations.

    python -m tools.make_clusters_data_set --source=clusters.npz --out=starjax/datasets/clusters

The archive has the snapshots of many simulations, one after another: `feature feature_keys` and `companion`
of each star, `ptr`, `target target_keys`, `header header_keys` and `run_id` of each snapshot. `companion` is
the row of a star's companion within its snapshot, or -1. The data card says what the columns mean; its
template is `tools/clusters_card.md`.
"""

import argparse
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from starjax import quantities
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.scalers import bundle
from starjax.datasets.shard import PROVENANCE, Shard, check_shard
from starjax.datasets.shard_files import shard_path
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files
from starjax.nbody6 import splits
from tools import clusters_card

# Of the whole directory.
MAX_BYTES = 30_000_000
# Shares of train, val and test, and the seed of the assignment.
RATIOS, SEED = (0.7, 0.1, 0.2), 0
# SSE's numbers of neutron stars and black holes (Hurley et al. 2000); magnitudes of 99 stand for no light.
_DARK_TYPES, _NO_LIGHT_MAG = (13, 14), 90.0

# Of each column, in their order: the step that values are rounded to, and a relative precision; the coarser
# one counts. Both are powers of two, so that trailing bits are zero and compress.
_POSITION, _VELOCITY, _LOGARITHM, _MAGNITUDE = (2**-8, 2**-10), (2**-6, 0.0), (2**-8, 0.0), (2**-8, 0.0)
ROUNDING = {
    "x": _POSITION,
    "y": _POSITION,
    "z": _POSITION,
    "vx": _VELOCITY,
    "vy": _VELOCITY,
    "vz": _VELOCITY,
    "mass": (0.0, 2**-10),
    "log_L_L_sol": _LOGARITHM,
    "log_T_eff_K": (2**-10, 0.0),
    "log_R_R_sol": _LOGARITHM,
    "abs_mag_g": _MAGNITUDE,
    "bp_rp_0": _MAGNITUDE,
    "abs_mag_rp": _MAGNITUDE,
    "semi_major_axis_au": (0.0, 2**-7),
    "companion": (1.0, 0.0),
}
TARGETS = ("time", "total_mass_within_2x_r_tidal", "r_tidal")


def round_values(values: np.ndarray, step: float, relative: float) -> np.ndarray:
    """Return values rounded to multiples of `step`, or less precisely if the relative error stays small.

    Args:
      step: a power of two, or 0; errors are at most half of it, unless the next limit is larger.
      relative: a power of two, or 0; errors of at most this times the value are allowed.
    """
    _, exponent = np.frexp(values)  # |value| is at least 2^(exponent - 1)
    # The spacing of the smallest numbers would be zero.
    spacing = np.maximum(max(step, np.finfo(float).smallest_subnormal), relative * 2.0**exponent)
    return np.round(values / spacing) * spacing + 0.0  # no negative zeros


def order_stars(
    magnitude: np.ndarray, companion: np.ndarray, is_kept: np.ndarray, ptr: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to keep, the brightest system of each snapshot first, components next to each other.

    Args:
      magnitude: (n_star,); a system counts with that of its brighter star, which comes first.
      companion: (n_star,), row of the companion within the snapshot; -1 for none.
      is_kept: (n_star,), False for stars to drop. Their companions become single.

    Returns:
      Rows (n,), and 1, -1 or 0 for each of them: the brighter star of a binary, the fainter one, or neither.
    """
    row = np.arange(len(magnitude))
    snapshot = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    other = np.where(companion >= 0, ptr[:-1][snapshot] + companion, row)
    other = np.where(is_kept[other], other, row)
    is_single = other == row
    # Of equally bright components the first is the one that the archive has first.
    is_fainter = (magnitude > magnitude[other]) | ((magnitude == magnitude[other]) & (row > other))
    system = np.minimum(row, other)
    order = np.lexsort((is_fainter, system, np.minimum(magnitude, magnitude[other]), snapshot))
    order = order[is_kept[order]]
    return order, np.where(is_single, 0, np.where(is_fainter, -1, 1))[order]


def make_shard(source: Mapping[str, np.ndarray]) -> Shard:
    """Return all snapshots of the archive, without the stars that give no light, rounded."""
    column = dict(zip(source["feature_keys"].tolist(), source["feature"].T, strict=True))
    ptr = source["ptr"]
    is_kept = (column["abs_mag_g"] < _NO_LIGHT_MAG) & ~np.isin(column["stellar_type"], _DARK_TYPES)
    order, companion = order_stars(column["abs_mag_g"], source["companion"], is_kept, ptr)
    values = {key: column[key][order].astype(np.float64) for key in ROUNDING if key in column}
    values["bp_rp_0"] = column["abs_mag_bp"][order].astype(np.float64) - values["abs_mag_rp"]
    values["companion"] = companion
    values["semi_major_axis_au"] = np.where(companion != 0, values["semi_major_axis_au"], 0.0)
    # Fortran's order: the values of a column are alike, and compress to half of what those of a star do.
    feature = np.empty((len(order), len(ROUNDING)), np.float32, order="F")
    for i, (key, rounding) in enumerate(ROUNDING.items()):
        feature[:, i] = round_values(values[key], *rounding)
    cluster = dict(zip(source["target_keys"].tolist(), source["target"].T, strict=True))
    cluster |= dict(zip(source["header_keys"].tolist(), source["header"].T, strict=True))
    num_kept = np.add.reduceat(is_kept.astype(np.int64), ptr[:-1])
    shard = Shard(
        feature=feature,
        feature_keys=tuple(ROUNDING),
        target=np.stack([cluster[key] for key in TARGETS], axis=1),
        target_keys=TARGETS,
        ptr=np.concatenate([[0], np.cumsum(num_kept)]),
        run_id=source["run_id"],
        time_myr=cluster["time"],
    )
    check_shard("the archive", shard)
    return shard.take(np.flatnonzero(num_kept >= quantities.MIN_STARS))


def simulation_properties(source: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return metallicity and Galactocentric radius [kpc] of each simulation, by id."""
    keys = source["header_keys"].tolist()
    chosen = {key: keys.index(key) for key in ("metallicity", "galactocentric_radius_kpc")}
    run_ids, first = np.unique(source["run_id"], return_index=True)
    # Six digits: float32 has no more.
    return {
        str(run_id): {key: float(f"{source['header'][row, i]:.6g}") for key, i in chosen.items()}
        for run_id, row in zip(run_ids, first, strict=True)
    }


def make_manifest(shard: Shard, properties: Mapping[str, Mapping[str, float]]) -> dict:
    """Return the content of the split manifest, with the properties of the simulations.

    Splits are alike in age and mass (see `nbody6.splits`), and each has its share of each metallicity.
    """
    labels = np.stack([shard.target[:, 0], np.log10(shard.target[:, 1])], axis=1)
    # The category of a simulation is part of its name there.
    names = {run_id: f"{properties[run_id]['metallicity']}:{run_id}" for run_id in shard.simulations}
    labels_of = {name: labels[shard.run_id == run_id] for run_id, name in names.items()}
    manifest = splits.make_manifest(labels_of, RATIOS, SEED, categories="^([^:]+):")
    assigned = {split: sorted(name.split(":")[1] for name in manifest[split]) for split in SPLITS}
    kept = {key: manifest[key] for key in ("ratios", "seed", "wasserstein_distance_from_train")}
    simulations = {run_id: dict(properties[run_id]) for run_id in shard.simulations}
    return assigned | kept | {"stratified_by": "metallicity", "simulations": simulations}


def save_compressed(path: Path, shard: Shard) -> None:
    """Write a shard, compressed by LZMA to a quarter less than `numpy.savez_compressed` would."""
    arrays: dict[str, np.ndarray] = {
        "feature": np.asfortranarray(shard.feature),
        "feature_keys": np.array(shard.feature_keys),
        "target": shard.target,
        "target_keys": np.array(shard.target_keys),
        "ptr": shard.ptr,
    }
    arrays |= {name: getattr(shard, name) for name in PROVENANCE if getattr(shard, name) is not None}
    with files.atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def save_scalers(out: Path, train: Shard) -> None:
    """Fit the default scalers to the training shard and write them; that of ages is logarithmic.

    Ages span a factor of a hundred, and colours and luminosities change with their logarithm. Simulations
    begin at 0, which log(1 + age / Myr) allows.
    """
    groups = quantities.scaler_groups(train.feature_keys, "feature")
    fitted = bundle.fit_bundle(train.feature, train.feature_keys, groups)
    bundle.save_bundle(out / BUNDLES["feature"], fitted)
    groups = [
        (keys, "log1p_standard" if keys == ("time",) else method)
        for keys, method in quantities.scaler_groups(train.target_keys, "target")
    ]
    bundle.save_bundle(out / BUNDLES["target"], bundle.fit_bundle(train.target, train.target_keys, groups))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--source", type=Path, required=True, help="the archive, .npz")
    options.add_argument("--out", type=Path, required=True, help="the folder of the data set")
    arguments = options.parse_args(argv)
    out = arguments.out
    with np.load(arguments.source) as archive:
        source = {name: archive[name] for name in archive.files}
    whole = make_shard(source)
    manifest = make_manifest(whole, simulation_properties(source))
    shards = {split: whole.take(np.flatnonzero(np.isin(whole.run_id, manifest[split]))) for split in SPLITS}
    for split, shard in shards.items():
        save_compressed(shard_path(out, "raw", split), shard)
    save_scalers(out, shards["train"])
    files.write_json(out / "split.json", manifest)
    card = clusters_card.make_card(shards, manifest["simulations"], len(source["feature"]))
    (out / "README.md").write_text(card, encoding="utf-8", newline="\n")
    num_bytes = sum(path.stat().st_size for path in out.iterdir())
    if num_bytes > MAX_BYTES:
        raise SystemExit(f"{out} has {num_bytes} bytes, more than {MAX_BYTES}: round more coarsely")
    print(
        f"wrote {out} with {whole.num_snapshot} snapshots and {len(whole.feature)} stars, {num_bytes} bytes"
    )


if __name__ == "__main__":
    main()
