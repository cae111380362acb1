"""Scripts of `launch/`, and the programs that stand in for those of clusters."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import command, free_port

ROOT = Path(__file__).parents[2]
STUBS = Path(__file__).parent / "stubs"
# Their defaults are tested, not what this machine has.
VARIABLES = (
    "NAME PARTITION ACCOUNT TIME MEMORY NODES GPUS_PER_NODE PER CPUS_PER_TASK PYTHON ARRAY MAX_RESTARTS PROJECT ZONE "
    "ACCELERATOR_TYPE RUNTIME_VERSION SPOT NFS OUTPUT_BASE PYTHON_VERSION WORKER POLL_SECONDS KIND NAMESPACE IMAGE CLAIM HOSTS "
    "CHIPS_PER_HOST TPU_ACCELERATOR TPU_TOPOLOGY"
).split()


class Cluster:
    """A script, called where the programs of a cluster are stood in for."""

    def __init__(self, folder: Path, script: str, **variables: str):
        self.folder, self.script = folder, ROOT / "launch" / script
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        self.environment = kept | variables
        self.environment |= {
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "STANDING_IN": str(folder),
            "STANDING_IN_PORT": str(free_port()),
            "STANDING_IN_PYTHON": sys.executable,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, *words: str, **variables: str) -> subprocess.Popen:
        """The script, at work, with what it prints."""
        return subprocess.Popen(
            ["bash", self.script, *words],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """What the script prints, which is to end with this status."""
        process = self.start(*words, **variables)
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == status, printed
        return printed

    def calls(self, program: str = "") -> list[list[str]]:
        """Calls of a program, or of all, in their order."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if program in ("", call[0])]

    def end(self) -> None:
        """Ends what is at work still, where a test has failed."""
        for path in (self.folder / "pids", *self.folder.glob("worker-*/run/pid")):
            for pid in path.read_text().split() if path.exists() else []:
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if path.name == "pid" else os.kill)(int(pid), signal.SIGKILL)


@pytest.fixture
def cluster(tmp_path):
    """`(script, **variables) -> Cluster`."""
    made = []

    def make(script, **variables):
        folder = tmp_path / "cluster"
        folder.mkdir(exist_ok=True)
        made.append(Cluster(folder, script, **variables))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def arguments(small):
    """`(*more) -> arguments` of a small run, which says by `OUTPUT_BASE` where it is to be."""

    def of_run(*more):
        own = command(small, "", *more)[3:]
        return [word for word in own if not word.startswith("--config.output_base")]

    return of_run


@pytest.fixture
def telling_python(tmp_path):
    """A Python that prints its arguments, as JSON, and ends with the status that stands first in STATUSES for its process."""
    path = tmp_path / "telling-python"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print(json.dumps(sys.argv[1:]), flush=True)\n"
        "sys.exit(int(os.environ.get('STATUSES', '0,0').split(',')[int(os.environ['SLURM_PROCID'])]))\n"
    )
    path.chmod(0o755)
    return str(path)
