"""The batch script, from its submission to the end of its run; SLURM is stood in for, the processes are real."""

import json
import shlex
import shutil
import signal

import pytest

from tests.processes import wait_for

# What a shell, sbatch or srun could take for something else.
AWKWARD = ["--config=set_transformer", '--config.data.target_keys=("time", "it\'s")', "$HOME", "a\\b", "*", "", "--"]
IN_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}


@pytest.fixture
def slurm(cluster, tmp_path):
    """The script, as a job has it: a copy in another place."""

    def make(**variables):
        made = cluster("slurm.sh", NODES="2", CPUS_PER_TASK="2", **variables)
        made.script = shutil.copy(made.script, tmp_path / "slurm_script")
        return made

    return make


@pytest.mark.slow
def test_a_run_that_was_asked_to_go_is_queued_again_and_goes_on(slurm, arguments, tmp_path):
    import sys

    base = tmp_path / "output"
    job = slurm(PYTHON=sys.executable, OUTPUT_BASE=str(base), **IN_JOB)
    words = ["--", *arguments("--config.train.max_epochs=60", "--config.train.patience=60")]
    process = job.start(*words)
    seen = wait_for(process, "epoch   2/")
    assert "4 device(s)" in seen  # two processes, of two cores each
    process.send_signal(signal.SIGTERM)  # the batch script alone: `scancel --batch`
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 75, seen + printed
    assert printed.count("asked to end: ") == 2
    assert job.calls("scancel") == [["scancel", "--signal=TERM", "7"]]
    assert job.calls("scontrol")[-1] == ["scontrol", "requeue", "7"]
    before = len(job.calls())

    printed = job.run(*words, SLURM_RESTART_COUNT="1")
    assert "going on after epoch" in printed
    assert (base / "experiments/run/run-test.parquet").exists()
    assert [call[0] for call in job.calls()[before:]] == ["srun"]


@pytest.mark.parametrize(
    ("statuses", "variables", "status", "is_requeued"),
    [
        ("0,0", {}, 0, False),
        ("1,1", {}, 1, False),
        ("75,75", {}, 75, True),
        ("75,134", {}, 134, True),  # jax noticed first
        ("75,137", {}, 137, False),  # killed: for want of memory, perhaps
        ("75,75", {"SLURM_RESTART_COUNT": "20"}, 1, False),
        ("75,75", {"SLURM_RESTART_COUNT": "20", "MAX_RESTARTS": "21"}, 75, True),
    ],
)
def test_what_is_queued_again(slurm, telling_python, statuses, variables, status, is_requeued):
    job = slurm(PYTHON=telling_python, STATUSES=statuses, **IN_JOB, **variables)
    job.run("--config=deep_sets", status=status)
    assert (["scontrol", "requeue", "7"] in job.calls()) == is_requeued


def test_a_job_that_slurm_is_ending_is_left_to_it(slurm, telling_python):
    job = slurm(PYTHON=telling_python, STATUSES="75,75", **IN_JOB)
    (job.folder / "state").write_text("COMPLETING")  # cancelled, or taken back into the queue
    job.run("--config=deep_sets", status=75)
    assert job.calls("scontrol") == [["scontrol", "show", "job", "7"]]


def test_arguments_come_through_as_they_are(slurm, telling_python):
    job = slurm(PYTHON=telling_python)
    assert "Submitted batch job 7" in job.run(*AWKWARD)
    [submitted] = job.calls("sbatch")
    script = submitted.index(str(job.script))
    printed = job.run(*submitted[script + 1 :], **IN_JOB)
    assert [json.loads(line) for line in printed.splitlines()] == [["-m", "starjax.main", *AWKWARD]] * 2


def test_what_is_asked_for(slurm):
    variables = dict(GPUS_PER_NODE="4", PER="gpu", TIME="1:00:00", PARTITION="gpu", ACCOUNT="stars", MEMORY="64G", ARRAY="8")
    job = slurm()
    planned = job.run("--dry-run", "--config=grid", **variables).splitlines()
    assert job.calls() == []
    job.run("--config=grid", **variables)
    assert shlex.split(planned[1]) == job.calls()[0]
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
    assert planned[3].endswith("-m starjax.grid --config=grid --shard=I/8")
    job.run("--config=grid", **variables, **IN_JOB, PYTHON="true", SLURM_ARRAY_TASK_ID="3")
    assert job.calls("srun")[0][1:] == [
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
    ],
)
def test_what_cannot_be_is_refused(cluster, variables, words, said):
    job = cluster("slurm.sh", **variables)
    printed = job.run(*words, status=1)
    assert printed.startswith("error: ")
    assert said in printed
    assert job.calls() == []
