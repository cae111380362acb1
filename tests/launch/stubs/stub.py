"""What the stubs share: a log of their calls, and the processes that they start.

They keep their state in files of the folder STUB_FOLDER: calls.jsonl, pids, and those of single stubs.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["STUB_FOLDER"])


def record(name: str = "") -> list[str]:
    """Log this call, and return its arguments."""
    arguments = sys.argv[1:]
    with open(FOLDER / "calls.jsonl", "a") as file:
        file.write(json.dumps([name or Path(sys.argv[0]).name, *arguments]) + "\n")
    return arguments


def content_of(name: str, default: str) -> str:
    """Return the content of a file of this folder, or the default if it does not exist."""
    path = FOLDER / name
    return path.read_text() if path.exists() else default


def environment_of(process: int, count: int) -> dict[str, str]:
    """Return the variables that srun gives to one of `count` processes; each has a node, here localhost."""
    return os.environ | {
        "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "1"),
        "SLURM_NTASKS": str(count),
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NUM_NODES": str(count),
        # By default jax derives the port from the job number, which another test may use too.
        "JAX_COORDINATOR_PORT": os.environ["STUB_PORT"],
    }


def start(commands: list[list[str]], environments: list[dict[str, str]]) -> list[subprocess.Popen]:
    """Start processes, and write their numbers into `pids` for other stubs."""
    started = [
        subprocess.Popen(command, env=environment)
        for command, environment in zip(commands, environments, strict=True)
    ]
    (FOLDER / "pids").write_text(" ".join(str(process.pid) for process in started))
    return started


def signal_all(number: signal.Signals) -> None:
    """Send a signal to the started processes."""
    for pid in content_of("pids", "").split():
        os.kill(int(pid), number)
