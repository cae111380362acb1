"""Measure the build of a data set, relative to a bare joblib.load of the same caches.

    python -m benchmarks.build --caches=DIR --num_copy=8

The caches below DIR are copied under new names to make a larger data set. Build and joblib.load use the same
number of processes, and are timed from outside as a whole. The table has the pair with the median ratio, and
the peak memory of the largest process of the build.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

BARE = """
import sys, joblib
from pathlib import Path
def load(path): joblib.load(path)
if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*-obs.joblib"))
    joblib.Parallel(n_jobs=int(sys.argv[2]))(joblib.delayed(load)(path) for path in paths)
"""


def timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, and the peak memory [MB] of its largest process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def copies(caches: Path, folder: Path, num_copy: int) -> list[str]:
    """Copy each obs cache `num_copy` times, and return the ids of the simulations."""
    run_ids = []
    for path in sorted(caches.glob("*-obs.joblib")):
        for number in range(num_copy):
            run_id = f"{path.name.removesuffix('-obs.joblib')}{number}"
            shutil.copy(path, folder / f"{run_id}-obs.joblib")
            run_ids.append(run_id)
    return run_ids


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--caches", type=Path, required=True)
    parser.add_argument("--num_copy", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--n_jobs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    rows = []
    for num_copy in arguments.num_copy:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "caches").mkdir()
            (folder / "bare.py").write_text(BARE)
            run_ids = copies(arguments.caches, folder / "caches", num_copy)
            manifest = {"train": run_ids[2:], "val": run_ids[:1], "test": run_ids[1:2]}
            (folder / "split.json").write_text(json.dumps(manifest))
            pairs = []
            for repeat in range(arguments.repeats):
                bare, _ = timed(
                    [sys.executable, str(folder / "bare.py"), str(folder / "caches"), str(arguments.n_jobs)]
                )
                command = [sys.executable, "-m", "starjax", "build", "--config=dataset"]
                command += [f"--config.caches={folder / 'caches'}", f"--config.out={folder / f'out{repeat}'}"]
                command += [
                    f"--config.split_manifest={folder / 'split.json'}",
                    f"--config.n_jobs={arguments.n_jobs}",
                ]
                built, peak = timed(command)
                pairs.append((built / bare, built, bare, peak))
            megabytes = sum(path.stat().st_size for path in (folder / "out0").iterdir()) / 1e6
            ratio, built, bare, peak = sorted(pairs)[len(pairs) // 2]
            rows.append(
                {
                    "simulations": len(run_ids),
                    "joblib.load_s": bare,
                    "build_s": built,
                    "ratio": ratio,
                    "output_MB": megabytes,
                    "peak_MB": peak,
                }
            )
    report.show("build of a data set", rows, arguments.out)


if __name__ == "__main__":
    main()
