"""Time `starjax predict` for a catalogue of thousands of clusters.

    python -m benchmarks.many_clusters --out=many_clusters.json

The catalogue is synthetic, of the size of Hunt & Reffert's (2024, A&A 686, A42): each cluster repeats stars
of the packaged example list, scattered by their errors, elsewhere on the sky.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import report
from starjax.catalogs import member_list

# Of the numbers of stars, as the standard deviation of their logarithm.
_SCATTER_OF_SIZES = 1.0
_MIN_STARS = 10


def synthetic_list(num_cluster: int, num_star: int, seed: int = 0) -> pd.DataFrame:
    """Return a member catalogue of about `num_star` stars."""
    rng = np.random.default_rng(seed)
    example = member_list.read_member_list(member_list.EXAMPLE_FILE).to_pandas().drop(columns="row")
    size = rng.lognormal(sigma=_SCATTER_OF_SIZES, size=num_cluster)
    size = np.maximum(np.round(num_star * size / size.sum()), _MIN_STARS).astype(int)
    cluster = np.repeat(np.arange(num_cluster), size)
    stars = example.iloc[rng.integers(len(example), size=len(cluster))].reset_index(drop=True)
    centre_ra = rng.uniform(0, 360, num_cluster)[cluster]
    centre_dec = np.degrees(np.arcsin(rng.uniform(-0.9, 0.9, num_cluster)))[cluster]
    offset_ra = (stars["ra"] - example["ra"].median()) * np.cos(np.radians(stars["dec"]))
    offset_dec = stars["dec"] - example["dec"].median()
    scattered = {
        name: stars[name] + rng.normal(size=len(stars)) * stars[f"{name}_error"]
        for name in ("parallax", "pmra", "pmdec", "radial_velocity")
    }
    # No two stars at one place.
    offset_ra, offset_dec = (one * rng.uniform(0.5, 1, len(stars)) for one in (offset_ra, offset_dec))
    dec = np.clip(centre_dec + offset_dec, -90, 90)
    return stars.assign(
        cluster=[f"Cluster {number}" for number in cluster],
        source_id=np.arange(1, 1 + len(stars)),
        ra=(centre_ra + offset_ra / np.cos(np.radians(dec))) % 360,
        dec=dec,
        **scattered,
    )


def main() -> None:
    options = report.parser(__doc__)
    options.add_argument("--clusters", type=int, default=7000)
    options.add_argument("--stars", type=int, default=1_300_000)
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        catalogue, out = Path(folder) / "many.csv", Path(folder) / "prediction"
        stars = synthetic_list(arguments.clusters, arguments.stars)
        stars.to_csv(catalogue, index=False)
        command = [sys.executable, "-m", "starjax", "predict", str(catalogue), f"--out={out}"]
        start = time.perf_counter()
        subprocess.run([*command, "--figures=none", "--notes=short"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        num_predicted = len(pd.read_parquet(out / "prediction.parquet", columns=["cluster"]))
    row = {
        "clusters": num_predicted,
        "stars": len(stars),
        "seconds": seconds,
        "clusters_per_second": num_predicted / seconds,
        # Of the largest of the processes.
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20,
    }
    report.show("starjax predict, a catalogue of many clusters", [row], arguments.out)


if __name__ == "__main__":
    main()
