"""Run all benchmarks that need no data but the packaged ones, in about 13 minutes.

python -m benchmarks.all --out=FOLDER
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

# The benchmarks and their options.
PLAN = {
    "sampler": (),
    "attention": (),
    "train_step": ("--num_round=2",),
    "train_step_bfloat16": ("--dtype=bfloat16", "--num_worker", "--num_round=1"),
    "large_sets": (),
    "ensemble": ("--num_run=3",),
    "observer": (),
    "simulated_lists": ("--draws=1",),
    "streaming": (),
    "epoch": (),
    "start_up": (),
    "many_clusters": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder for a JSON file of each benchmark")
    parser.add_argument("--only", nargs="+", default=list(PLAN), choices=PLAN)
    arguments = parser.parse_args()
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in arguments.only:
        module = name.removesuffix("_bfloat16")
        start = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{module}", f"--out={folder / name}.json", *PLAN[name]]
        status = subprocess.run(command, check=False).returncode
        print(f"{name}: {time.perf_counter() - start:.0f} s\n", flush=True)
        failed += [name] if status else []
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
