"""From the command to the first step, with nothing compiled before and with everything; and how long devices wait.

python -m benchmarks.start_up --out=start_up.json
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report

CONFIGS = ("summary_stats", "deep_sets", "set_transformer")


def one_run(name: str, base: str, *options: str) -> tuple[float, float, Path]:
    """Seconds until the first epoch is done and until the command ends, and the run directory."""
    command = [sys.executable, "-m", "starjax.main", f"--config=configs/{name}.py", "--config.resume=False"]
    command += [f"--config.output_base={base}", "--config.train.max_epochs=3", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = directory = None
    for line in process.stdout:
        if line.startswith("epoch   1") and first is None:
            first = time.perf_counter() - start
        if line.startswith("run directory"):
            directory = Path(line.split()[-1])
    if process.wait():
        raise RuntimeError(f"{command} ended with status {process.returncode}")
    return first, time.perf_counter() - start, directory


def main() -> None:
    options = report.parser(__doc__).parse_args()
    rows = []
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as base:
            cold, cold_whole, _ = one_run(name, base)
            warm, warm_whole, _ = one_run(name, base)
            *_, traced = one_run(name, base, "--config.profile=2")
            idle = json.loads((traced / "profile" / "idle.json").read_text())
        rows.append(
            {
                "config": name,
                "first_epoch_cold_s": cold,
                "warm_s": warm,
                "three_epochs_and_test_cold_s": cold_whole,
                "all_warm_s": warm_whole,
                "share_of_an_epoch_that_devices_wait": idle["idle_share"],
            }
        )
    report.show("from the command to the first epoch", rows, options.out)


if __name__ == "__main__":
    main()
