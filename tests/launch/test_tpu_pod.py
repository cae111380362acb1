"""Tests of the commands of tpu_pod.sh and of their effect on the workers. See also test_real_processes."""

import json
import shlex

import pytest

from tests.processes import wait_for

AWKWARD = ['--config.data.target_keys=("time", "it\'s")', "$HOME `id`", "a\\b", "*", "", "--", "two\nlines"]


@pytest.mark.slow
def test_arguments_reach_the_workers_unchanged(pod, echoing_python):
    pod.environment["STUB_PYTHON"] = echoing_python
    pod.run("create")
    pod.run("install")
    installed = (pod.folder / "worker-1/installed").read_text().splitlines()
    assert installed[-1] == "-m uv pip install --quiet --python venv/bin/python ./starjax[tpu]"
    pod.run("run", "--", *AWKWARD)
    for worker in "01":
        assert json.loads(pod.run("logs", WORKER=worker)) == ["-m", "starjax.main", *AWKWARD]
    pod.run("run", "--", "--config=a", STATUSES="1,1")
    pod.run("logs", status=1)


def test_a_file_server_is_mounted(pod):
    pod.run("create")
    pod.run("install", NFS="10.0.0.2:/share")
    for worker in ("worker-0", "worker-1"):
        installed = (pod.folder / worker / "installed").read_text().splitlines()
        assert installed[-1] == f"sudo mount -t nfs 10.0.0.2:/share {pod.environment['OUTPUT_BASE']}"


def test_resume_keeps_an_active_slice(pod, echoing_python):
    pod.environment["STUB_PYTHON"] = echoing_python
    pod.run("create")
    before = len(pod.calls())
    pod.run("resume", "--", "--config=a")
    assert [call[3:5] for call in pod.calls()[before:]] == [
        ["queued-resources", "list"],
        ["tpu-vm", "scp"],
        ["tpu-vm", "ssh"],
        ["tpu-vm", "ssh"],
    ]


def test_a_failed_request_ends_with_an_error(pod):
    pod.environment["POLL_SECONDS"] = "0.1"
    creation = pod.start("create")
    wait_for(creation, "WAITING_FOR_RESOURCES")
    (pod.folder / "queue").write_text("FAILED")
    printed, _ = creation.communicate(timeout=20)
    assert creation.returncode == 1
    assert "error: starjax is FAILED" in printed


def test_a_missing_output_folder_is_refused(pod):
    pod.run("create")
    pod.run("install")
    assert "OUTPUT_BASE=/nowhere is not a writable folder" in pod.run(
        "run", "--", "--config=a", OUTPUT_BASE="/nowhere", status=1
    )


def test_a_dry_run_prints_the_calls(pod, echoing_python):
    pod.environment["STUB_PYTHON"] = echoing_python
    commands = (["create"], ["install"], ["run", "--", *AWKWARD], ["logs"], ["delete"])
    planned = []
    for words in commands:
        lines = pod.run("--dry-run", *words)
        planned.append([call for call in shlex_calls(lines) if call[0] == "gcloud"])
    assert pod.calls() == []
    for words, plan in zip(commands, planned, strict=True):
        before = len(pod.calls())
        pod.run(*words)
        made = [call for call in pod.calls()[before:] if "list" not in call]
        assert [without_folder(call) for call in plan] == [without_folder(call) for call in made]
    pod.run("--dry-run", "resume", "--", "--config=a")


def shlex_calls(printed):
    """Return the commands of a text. Each starts a line; an argument may contain line breaks."""
    words = shlex.split(printed.replace("\ngcloud", "\n; gcloud"))
    calls = [[]]
    for word in words:
        calls.append([]) if word == ";" else calls[-1].append(word)
    return calls


def without_folder(call):
    return [word for word in call if not word.endswith("starjax.tar.gz")]


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        ([], {}, "it should be one of: create, install"),
        (["begin"], {}, "unknown command begin"),
        (["create"], {"PROJECT": ""}, "PROJECT is not set"),
        (["logs"], {"ZONE": ""}, "ZONE is not set"),
        (["run", "--"], {}, "no config given"),
        (["stop", "now"], {}, "stop takes no arguments: now"),
    ],
)
def test_wrong_settings_are_refused(pod, words, variables, message):
    printed = pod.run(*words, status=1, **variables)
    assert printed.startswith("error: ")
    assert message in printed
    assert pod.calls() == []
