"""Fixtures that run the scripts of `launch/` with stubs in place of the programs of a cluster."""

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
LAUNCH = ROOT / "launch"
STUBS = Path(__file__).parent / "stubs"


def variables_of(script: Path) -> list[str]:
    """Return the names of the settings at the top of a script."""
    return re.findall(r"^([A-Z_]+)=\$\{\1:-", script.read_text(), flags=re.MULTILINE)


class Cluster:
    """A script, and the stubs that it calls. `words` come before the arguments of each call."""

    def __init__(self, folder: Path, script: Path, words: tuple[str, ...] = (), **variables: str):
        self.folder, self.script, self.words = folder, script, words
        self.started: list[subprocess.Popen] = []
        # The tests start from the defaults, whatever this machine sets.
        own = variables_of(self.script)
        self.environment = {name: value for name, value in os.environ.items() if name not in own} | variables
        self.environment |= {
            "PATH": f"{STUBS}:{os.environ['PATH']}",
            "STUB_FOLDER": str(folder),
            "STUB_PORT": str(free_port()),
            "STUB_PYTHON": sys.executable,
            "PYTHONDONTWRITEBYTECODE": "1",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }

    def start(self, *words: str, **variables: str) -> subprocess.Popen:
        """Start the script with its output in a pipe."""
        process = subprocess.Popen(
            ["bash", self.script, *self.words, *words],
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, status: int = 0, **variables: str) -> str:
        """Return what the script prints; it has to end with this status."""
        process = self.start(*words, **variables)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == status, printed
        return printed

    def calls(self, program: str = "") -> list[list[str]]:
        """Return the calls of one stub, or of all, in order."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call for call in map(json.loads, lines) if program in ("", call[0])]

    def end(self) -> None:
        """Kill the processes that a failed test has left."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("STUB_FOLDER") == str(self.folder):
                    process.kill()
        for process in self.started:
            process.communicate()


@pytest.fixture
def cluster(tmp_path):
    """`(script, words, **variables) -> Cluster`, where `script` is a name in `launch/` or a path."""
    made = []

    def make(script, words=(), **variables):
        folder = tmp_path / "cluster"
        folder.mkdir(exist_ok=True)
        made.append(Cluster(folder, LAUNCH / script, words, **variables))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def slurm(cluster):
    """`(**variables) -> Cluster` of the script for SLURM that submits jobs of two nodes."""

    def make(**variables):
        return cluster("slurm.sh", **{"NODES": "2", "CPUS_PER_TASK": "2"} | variables)

    return make


@pytest.fixture
def slurm_job(cluster, tmp_path):
    """`(**variables) -> Cluster` of a batch job of two nodes. SLURM runs a copy of the script."""

    def make(**variables):
        job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "NODES": "2", "CPUS_PER_TASK": "2"}
        copy = shutil.copy(LAUNCH / "slurm.sh", tmp_path / "slurm_script")
        return cluster(copy, ("--in-job", str(LAUNCH), "--"), **job | variables)

    return make


@pytest.fixture
def pod(cluster, tmp_path):
    """The script for TPUs, which installs the committed state of a clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git clone")
    return cluster("tpu_pod.sh", PROJECT="mine", ZONE="here-a", OUTPUT_BASE=str(tmp_path), POLL_SECONDS="0")


@pytest.fixture
def kubernetes(cluster):
    """The script for Kubernetes."""
    return cluster("kubernetes.sh", IMAGE="registry.example/starjax:cuda", POLL_SECONDS="0")


@pytest.fixture
def echoing_python(tmp_path):
    """A Python that prints its arguments as JSON and ends with its status of STATUSES."""
    path = tmp_path / "echoing-python"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "print(json.dumps(sys.argv[1:]), flush=True)\n"
        "sys.exit(int(os.environ.get('STATUSES', '0,0').split(',')[int(os.environ['SLURM_PROCID'])]))\n"
    )
    path.chmod(0o755)
    return str(path)
