"""Scripts of `launch/`, and the programs that stand in for those of clusters."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import free_port

ROOT = Path(__file__).parents[2]
STUBS = Path(__file__).parent / "stubs"


def variables_of(script: Path) -> list[str]:
    """What stands on top of a script."""
    return re.findall(r"^([A-Z_]+)=\$\{\1:-", script.read_text(), flags=re.MULTILINE)


class Cluster:
    """A script, called where the programs of a cluster are stood in for."""

    def __init__(self, folder: Path, script: str, **variables: str):
        self.folder, self.script = folder, ROOT / "launch" / script
        self.started: list[subprocess.Popen] = []
        # Defaults are tested, not what this machine has.
        own = variables_of(self.script)
        self.environment = {name: value for name, value in os.environ.items() if name not in own} | variables
        self.environment |= {
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "STANDING_IN": str(folder),
            "STANDING_IN_PORT": str(free_port()),
            "STANDING_IN_PYTHON": sys.executable,
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }

    def start(self, *words: str, **variables: str) -> subprocess.Popen:
        """The script, at work, with what it prints."""
        process = subprocess.Popen(
            ["bash", self.script, *words],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """What the script prints, which is to end with this status."""
        process = self.start(*words, **variables)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == status, printed
        return printed

    def calls(self, program: str = "") -> list[list[str]]:
        """Calls of a program, or of all, in their order."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if program in ("", call[0])]

    def end(self) -> None:
        """Ends what is at work still, where a test has failed."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("STANDING_IN") == str(self.folder):
                    process.kill()
        for process in self.started:
            process.communicate()


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
def slurm(cluster, tmp_path):
    """`(**variables) -> Cluster` of SLURM's script, as a job has it: a copy in another place."""

    def make(**variables):
        made = cluster("slurm.sh", **{"NODES": "2", "CPUS_PER_TASK": "2"} | variables)
        made.script = shutil.copy(made.script, tmp_path / "slurm_script")
        return made

    return make


@pytest.fixture(scope="session")
def in_job() -> dict[str, str]:
    """What SLURM says to a batch script of two nodes."""
    return {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}


@pytest.fixture
def pod(cluster, tmp_path):
    """The TPU script, which sends what is committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("there is no clone")
    return cluster("tpu_pod.sh", PROJECT="mine", ZONE="here-a", OUTPUT_BASE=str(tmp_path), POLL_SECONDS="0")


@pytest.fixture
def kubernetes(cluster):
    """The script for Kubernetes."""
    return cluster("kubernetes.sh", IMAGE="registry.example/starjax:cuda", POLL_SECONDS="0")


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
