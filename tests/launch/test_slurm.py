"""Tests of slurm.sh: what it submits, and what it does when processes end. See also test_real_processes."""

import json
import shlex
import signal
from pathlib import Path

import pytest

from tests.processes import wait_for

# Arguments that a shell, sbatch or srun could misread.
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
        ("75,1", {}, 75, True),  # one failed, the other lost it: srun returns the highest status
        ("75,75", {}, 75, True),
        ("75,134", {}, 134, True),  # jax noticed it first
        ("75,137", {}, 137, False),  # killed, perhaps because memory ran out
        ("75,75", {"SLURM_RESTART_COUNT": "20"}, 1, False),
        ("75,75", {"SLURM_RESTART_COUNT": "20", "MAX_RESTARTS": "21"}, 75, True),
    ],
)
def test_only_preempted_runs_are_queued_again(
    slurm_job, echoing_python, statuses, variables, status, is_requeued
):
    job = slurm_job(PYTHON=echoing_python, STATUSES=statuses, **variables)
    job.run("--config=deep_sets", status=status)
    assert (["scontrol", "requeue", "7"] in job.calls()) == is_requeued


def test_a_task_of_an_array_affects_only_itself(slurm_job, echoing_python):
    # One task of an array has the number of the array, which alone would mean all tasks.
    of_array = {"SLURM_JOB_ID": "36", "SLURM_ARRAY_JOB_ID": "36", "SLURM_ARRAY_TASK_ID": "8", "ARRAY": "8"}
    job = slurm_job(PYTHON=echoing_python, STATUSES="75,75", **of_array)
    job.run("--config=grid", status=75)
    assert job.calls("scontrol") == [["scontrol", "show", "job", "36_8"], ["scontrol", "requeue", "36_8"]]

    python = Path(echoing_python)
    python.write_text(python.read_text().replace("sys.exit(", "import time; time.sleep(100)\nsys.exit("))
    process = job.start("--config=grid")
    wait_for(process, "--part=8/8")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert job.calls("scancel") == [["scancel", "--signal=TERM", "36_8"]]


def test_it_can_be_submitted_within_an_allocation(slurm):
    allocation = {"SLURM_JOB_ID": "99", "SLURM_ARRAY_TASK_ID": "4", "SLURM_CPU_BIND": "quiet,mask_cpu:0x1"}
    job = slurm()
    planned = job.run("--dry-run", "--config=grid", ARRAY="8", **allocation)
    assert planned.endswith("--part=I/8\n")
    job.run("--config=grid", ARRAY="8", SLURM_CONF="/etc/slurm.conf", **allocation)
    [submitted] = job.calls()
    assert submitted[0] == "sbatch"
    assert (job.folder / "inherited").read_text() == "SLURM_CONF"


def test_a_job_that_slurm_ends_is_not_queued_again(slurm_job, echoing_python):
    job = slurm_job(PYTHON=echoing_python, STATUSES="75,75")
    (job.folder / "state").write_text("COMPLETING")  # cancelled or requeued by SLURM
    job.run("--config=deep_sets", status=75)
    assert job.calls("scontrol") == [["scontrol", "show", "job", "7"]]


def test_arguments_reach_the_processes_unchanged(slurm, slurm_job, echoing_python):
    submission = slurm()
    assert "Submitted batch job 7" in submission.run(*AWKWARD)
    [submitted] = submission.calls("sbatch")
    script = submitted.index(str(submission.script))
    job = slurm_job(PYTHON=echoing_python)
    assert submitted[script + 1 :] == [*job.words, *AWKWARD]
    printed = job.run(*AWKWARD)
    assert [json.loads(line) for line in printed.splitlines()] == [["-m", "starjax.main", *AWKWARD]] * 2


def test_options_of_sbatch_and_srun(slurm, slurm_job):
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
    assert planned[-1].endswith("-m starjax grid --config=grid --part=I/8")
    of_array = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    slurm_job().run("--config=grid", **variables, **of_array, PYTHON="true")
    [call] = job.calls("srun")
    assert call[1:] == [
        "--kill-on-bad-exit=0",
        "--cpus-per-task=2",
        "--gpu-bind=none",
        "true",
        "-m",
        "starjax",
        "grid",
        "--config=grid",
        "--part=3/8",
    ]


@pytest.mark.parametrize(
    ("variables", "words", "message"),
    [
        ({"NODES": "two"}, ["--config=a"], "NODES=two"),
        ({"PER": "core"}, ["--config=a"], "PER=core should be node or gpu"),
        ({"PER": "gpu"}, ["--config=a"], "GPUS_PER_NODE"),
        ({}, [], "no config given"),
        ({"ARRAY": "1-8"}, ["--config=a"], "ARRAY=1-8"),
        ({"ARRAY": "0"}, ["--config=a"], "ARRAY=0 should be a whole number, 1 or more"),
        ({"NODES": "0"}, ["--config=a"], "NODES=0"),
        ({"GPUS_PER_NODE": "08"}, ["--config=a"], "GPUS_PER_NODE=08"),
        ({"MAX_RESTARTS": "010"}, ["--config=a"], "MAX_RESTARTS=010"),
    ],
)
def test_wrong_settings_are_refused(cluster, variables, words, message):
    job = cluster("slurm.sh", **variables)
    printed = job.run(*words, status=1)
    assert printed.startswith("error: ")
    assert message in printed
    assert job.calls() == []
