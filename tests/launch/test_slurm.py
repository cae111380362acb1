"""The batch script: what it asks for, and what it does when its processes have ended. With real ones: test_real_processes."""

import json
import shlex
import signal
from pathlib import Path

import pytest

from tests.processes import wait_for

# What a shell, sbatch or srun could take for something else.
AWKWARD = [
    "--config=set_transformer",
    '--config.data.target_keys=("time", "it\'s")',
    "$HOME",
    "a\\b",
    "*",
    "",
    "--",
]


@pytest.mark.parametrize(
    ("statuses", "variables", "status", "is_requeued"),
    [
        ("0,0", {}, 0, False),
        ("1,1", {}, 1, False),
        (
            "75,1",
            {},
            75,
            True,
        ),  # an error, and a process that has lost the one of that: srun says the highest
        ("75,75", {}, 75, True),
        ("75,134", {}, 134, True),  # jax noticed first
        ("75,137", {}, 137, False),  # killed: for want of memory, perhaps
        ("75,75", {"SLURM_RESTART_COUNT": "20"}, 1, False),
        ("75,75", {"SLURM_RESTART_COUNT": "20", "MAX_RESTARTS": "21"}, 75, True),
    ],
)
def test_what_is_queued_again(slurm, in_job, telling_python, statuses, variables, status, is_requeued):
    job = slurm(PYTHON=telling_python, STATUSES=statuses, **in_job, **variables)
    job.run("--in-job", "--", "--config=deep_sets", status=status)
    assert (["scontrol", "requeue", "7"] in job.calls()) == is_requeued


def test_of_an_array_the_task_is_meant(slurm, telling_python):
    # One task of an array has the number of the array, by which all tasks would be meant.
    of_array = {"SLURM_JOB_ID": "36", "SLURM_ARRAY_JOB_ID": "36", "SLURM_ARRAY_TASK_ID": "8", "ARRAY": "8"}
    job = slurm(PYTHON=telling_python, STATUSES="75,75", **of_array)
    job.run("--in-job", "--", "--config=grid", status=75)
    assert job.calls("scontrol") == [["scontrol", "show", "job", "36_8"], ["scontrol", "requeue", "36_8"]]

    telling = Path(telling_python)
    telling.write_text(telling.read_text().replace("sys.exit(", "import time; time.sleep(100)\nsys.exit("))
    process = job.start("--in-job", "--", "--config=grid")
    wait_for(process, "--shard=8/8")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert job.calls("scancel") == [["scancel", "--signal=TERM", "36_8"]]


def test_within_an_allocation_it_is_submitted_too(slurm):
    allocation = {"SLURM_JOB_ID": "99", "SLURM_ARRAY_TASK_ID": "4", "SLURM_CPU_BIND": "quiet,mask_cpu:0x1"}
    job = slurm()
    planned = job.run("--dry-run", "--config=grid", ARRAY="8", **allocation)
    assert planned.endswith("--shard=I/8\n")
    job.run("--config=grid", ARRAY="8", SLURM_CONF="/etc/slurm.conf", **allocation)
    [submitted] = job.calls()
    assert submitted[0] == "sbatch"
    assert (job.folder / "taken_over").read_text() == "SLURM_CONF"


def test_a_job_that_slurm_is_ending_is_left_to_it(slurm, in_job, telling_python):
    job = slurm(PYTHON=telling_python, STATUSES="75,75", **in_job)
    (job.folder / "state").write_text("COMPLETING")  # cancelled, or taken back into the queue
    job.run("--in-job", "--", "--config=deep_sets", status=75)
    assert job.calls("scontrol") == [["scontrol", "show", "job", "7"]]


def test_arguments_come_through_as_they_are(slurm, in_job, telling_python):
    job = slurm(PYTHON=telling_python)
    assert "Submitted batch job 7" in job.run(*AWKWARD)
    [submitted] = job.calls("sbatch")
    script = submitted.index(str(job.script))
    printed = job.run(*submitted[script + 1 :], **in_job)
    assert [json.loads(line) for line in printed.splitlines()] == [["-m", "starjax.main", *AWKWARD]] * 2


def test_what_is_asked_for(slurm, in_job):
    variables = {
        "GPUS_PER_NODE": "4",
        "PER": "gpu",
        "TIME": "1:00:00",
        "PARTITION": "gpu",
        "ACCOUNT": "stars",
        "MEMORY": "64G",
        "ARRAY": "8",
    }
    job = slurm()
    planned = job.run("--dry-run", "--config=grid", **variables).splitlines()
    assert job.calls() == []
    job.run("--config=grid", **variables)
    [submission] = [line for line in planned if line.startswith("sbatch ")]
    assert shlex.split(submission) == job.calls()[0]
    assert "#SBATCH --signal=TERM@300" in planned
    assert {
        "--nodes=2",
        "--ntasks-per-node=4",
        "--gpus-per-node=4",
        "--cpus-per-task=2",
        "--time=1:00:00",
        "--partition=gpu",
        "--account=stars",
        "--mem=64G",
        "--array=1-8",
    } <= set(job.calls()[0])
    assert planned[-1].endswith("-m starjax.grid --config=grid --shard=I/8")
    of_array = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    job.run("--in-job", "--", "--config=grid", **variables, **in_job, **of_array, PYTHON="true")
    [call] = job.calls("srun")
    assert call[1:] == [
        "--kill-on-bad-exit=0",
        "--cpus-per-task=2",
        "--gpu-bind=none",
        "true",
        "-m",
        "starjax.grid",
        "--config=grid",
        "--shard=3/8",
    ]


@pytest.mark.parametrize(
    ("variables", "words", "said"),
    [
        ({"NODES": "two"}, ["--config=a"], "NODES=two"),
        ({"PER": "core"}, ["--config=a"], "PER=core should be node or gpu"),
        ({"PER": "gpu"}, ["--config=a"], "GPUS_PER_NODE"),
        ({}, [], "name a config"),
        ({"ARRAY": "1-8"}, ["--config=a"], "ARRAY=1-8"),
        ({"ARRAY": "0"}, ["--config=a"], "ARRAY=0 should be a whole number, 1 or more"),
        ({"NODES": "0"}, ["--config=a"], "NODES=0"),
        ({"GPUS_PER_NODE": "08"}, ["--config=a"], "GPUS_PER_NODE=08"),
        ({"MAX_RESTARTS": "010"}, ["--config=a"], "MAX_RESTARTS=010"),
    ],
)
def test_what_cannot_be_is_refused(cluster, variables, words, said):
    job = cluster("slurm.sh", **variables)
    printed = job.run(*words, status=1)
    assert printed.startswith("error: ")
    assert said in printed
    assert job.calls() == []
