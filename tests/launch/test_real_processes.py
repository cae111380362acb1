"""Tests that each script trains with two real processes; only the programs of the cluster are stubs.

They are in one file because they share compiled programs.
"""

import os
import shutil
import signal
import sys

import pytest
import yaml

from tests.processes import at_work, command, ended, free_port, wait_for


@pytest.fixture(scope="module")
def arguments(small):
    """Arguments of a small run that takes its output folder from OUTPUT_BASE."""
    # So many epochs that on a busy machine, too, the run is still training when it is asked to stop.
    own = command(small, "", "--config.train.max_epochs=24", "--config.train.patience=24")[3:]
    return [word for word in own if not word.startswith("--config.output_base")]


@pytest.mark.weekly
def test_a_preempted_slurm_job_is_queued_again_and_resumes(slurm_job, arguments, tmp_path):
    job = slurm_job(PYTHON=sys.executable, CPUS_PER_TASK="1", OUTPUT_BASE=str(tmp_path))
    process = job.start(*arguments)
    seen = wait_for(process, "epoch   2/")
    assert "2 device(s)" in seen  # one per process
    process.send_signal(signal.SIGTERM)  # only to the batch script, as `scancel --batch` does
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 75, seen + printed
    assert printed.count("asked to stop: ") == 2
    assert job.calls("scancel") == [["scancel", "--signal=TERM", "7"]]
    assert job.calls("scontrol")[-1] == ["scontrol", "requeue", "7"]
    before = len(job.calls())

    printed = job.run(*arguments, SLURM_RESTART_COUNT="1")
    assert "resuming after epoch" in printed
    assert (tmp_path / "experiments/run/run-test.parquet").exists()
    assert [call[0] for call in job.calls()[before:]] == ["srun"]


@pytest.mark.weekly
def test_a_run_outlives_its_tpu_slice(pod, arguments, tmp_path):
    assert pod.run("create") == "starjax: WAITING_FOR_RESOURCES\nstarjax: PROVISIONING\n"
    pod.run("install")
    pod.run("run", "--", *arguments)
    assert "a run is active here" in pod.run("install", status=1)
    logs = pod.start("logs")
    seen = wait_for(logs, "epoch   2/")
    assert "2 device(s)" in seen
    pod.run("stop")
    printed, _ = logs.communicate(timeout=300)
    assert logs.returncode == 75, seen + printed
    assert "asked to stop: " in printed

    # The slice is preempted, with everything that was on it.
    (pod.folder / "queue").write_text("SUSPENDED")
    for home in pod.folder.glob("worker-*"):
        shutil.rmtree(home)
    before = len(pod.calls())
    pod.run("resume", "--", *arguments)
    queue = [call[4] for call in pod.calls()[before:] if call[3] == "queued-resources"]
    assert queue == ["list", "delete", "create", "list", "list", "list"]
    printed = pod.run("logs")
    assert "resuming after epoch" in printed
    assert (tmp_path / "experiments/run/run-test.parquet").exists()
    assert "no run is active here" in pod.run("stop", status=1)
    pod.run("delete")
    assert not (pod.folder / "queue").exists()


@pytest.mark.weekly
def test_the_pods_of_a_manifest_are_one_run(kubernetes, arguments, tmp_path):
    kubernetes.run("run", "--", *arguments, "--config.train.max_epochs=2", HOSTS="2")
    manifest = yaml.safe_load((kubernetes.folder / "manifest.yaml").read_text())
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    assert [one["name"] for one in container["env"]] == ["OUTPUT_BASE"]
    first = "starjax-workers-0-0.starjax:55527"
    assert f"--coordinator_address={first}" in container["args"]
    port = free_port()
    lines, environments = [], []
    for number in range(job["completions"]):
        given = [
            word.replace("$(JOB_COMPLETION_INDEX)", str(number)).replace(first, f"127.0.0.1:{port}")
            for word in container["args"]
        ]
        lines.append([sys.executable, "-m", "starjax.main", *given])
        variables = {"JOB_COMPLETION_INDEX": str(number), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        environments.append(os.environ | variables | {"OUTPUT_BASE": str(tmp_path)})
    with at_work(lines, environments) as pods:
        printed, statuses = ended(pods)
    assert statuses == [0, 0], printed
    # They are one run, and only the first process prints.
    assert "epoch   2/2" in printed[0]
    assert "epoch " not in printed[1]
    assert "kubernetes" not in "".join(printed)  # jax does not look for a cluster
    assert (tmp_path / "experiments/run/run-test.parquet").exists()
