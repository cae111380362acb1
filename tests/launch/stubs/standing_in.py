"""What the programs of this folder share, which stand in for those of clusters: a record of their calls, and processes.

What they know of each other is in the folder STANDING_IN: calls.jsonl, pids, and what each of them says of itself.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ["STANDING_IN"])


def record(name: str = "") -> list[str]:
    """The arguments of this call, which is noted."""
    arguments = sys.argv[1:]
    with open(FOLDER / "calls.jsonl", "a") as file:
        file.write(json.dumps([name or Path(sys.argv[0]).name, *arguments]) + "\n")
    return arguments


def said(name: str, otherwise: str) -> str:
    """What a test has put into a file of this folder."""
    path = FOLDER / name
    return path.read_text() if path.exists() else otherwise


def environment_of(process: int, count: int) -> dict[str, str]:
    """What srun gives a process of `count`, each on a node of its own; all of these are this machine."""
    return os.environ | {
        "SLURM_JOB_ID": os.environ.get("SLURM_JOB_ID", "1"),
        "SLURM_NTASKS": str(count),
        "SLURM_PROCID": str(process),
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NUM_NODES": str(count),
        # Jax would take one by the job's number, which another test may have.
        "JAX_COORDINATOR_PORT": os.environ["STANDING_IN_PORT"],
    }


def start(commands: list[list[str]], environments: list[dict[str, str]]) -> list[subprocess.Popen]:
    """Processes, whose numbers others find in `pids`."""
    started = [
        subprocess.Popen(command, env=environment)
        for command, environment in zip(commands, environments, strict=True)
    ]
    (FOLDER / "pids").write_text(" ".join(str(process.pid) for process in started))
    return started


def signal_all(number: signal.Signals) -> None:
    for pid in said("pids", "").split():
        os.kill(int(pid), number)
