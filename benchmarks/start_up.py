"""Measure the time from the command to the first step, with a cold and a warm cache.

python -m benchmarks.start_up --out=start_up.json
"""

import json
import tempfile
from pathlib import Path

from benchmarks import epoch, report


def one_run(name: str, base: str, *options: str) -> tuple[dict, Path]:
    """Return the seconds until the first step, the first epoch and the end; and the run directory."""
    found, directory = {}, None
    for seconds, line in epoch.lines_of(name, base, "--config.train.max_epochs=3", *options):
        if " parameters, " in line:
            found["first_step_s"] = seconds
        elif epoch.epoch_number(line) == 1:
            found["first_epoch_s"] = seconds
        directory = directory or epoch.run_directory(line)
        found["three_epochs_and_test_s"] = seconds
    return found, directory


def main() -> None:
    options = report.parser(__doc__).parse_args()
    rows = []
    for name in epoch.CONFIGS:
        with tempfile.TemporaryDirectory() as base:
            for kind in ("cold", "warm"):
                seconds, _ = one_run(name, base)
                rows.append({"config": name, "compilation_cache": kind, **seconds})
            _, traced = one_run(name, base, "--config.profile=2")
            idle = json.loads((traced / "profile" / "idle.json").read_text())
        rows[-1]["share_of_training_steps_that_devices_wait"] = idle["idle_share"]
    report.show("from the command to the first step", rows, options.out)


if __name__ == "__main__":
    main()
