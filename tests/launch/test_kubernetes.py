"""Tests of kubernetes.sh and its manifests, by the schemas of Kubernetes and JobSet."""

import os

import jsonschema
import kubernetes_validate
import pydantic
import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

KINDS = {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}


def check(text):
    """Return a manifest of which the schemas know every field.

    Raises:
      ValueError, pydantic.ValidationError, jsonschema.ValidationError: a field is unknown or wrong.
    """
    manifest = yaml.safe_load(text)
    # The model drops fields that it does not know.
    known = JobsetV1alpha2JobSet.from_dict(manifest).to_dict()
    if known != manifest:
        raise ValueError(f"some fields are unknown; known are {known}")
    for job in manifest["spec"]["replicatedJobs"]:
        kubernetes_validate.validate(
            {"apiVersion": "batch/v1", "kind": "Job"} | job["template"],
            kubernetes_validate.latest_version(),
            strict=True,
        )
    return manifest


def pod_of(manifest):
    return manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("kind", KINDS)
def test_manifests_are_valid_and_have_the_settings(kubernetes, kind):
    variables = {
        "KIND": kind,
        "HOSTS": "4",
        "CHIPS_PER_HOST": "8",
        "TPU_TOPOLOGY": "4x8",
        "MAX_RESTARTS": "5",
        "CLAIM": "results",
        "NAME": "a-run",
    }
    kubernetes.run("run", "--", "--config=deep_sets", **variables)
    manifest = check((kubernetes.folder / "manifest.yaml").read_text())
    assert manifest["metadata"]["name"] == "a-run"
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 5
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["completions"] == job["parallelism"] == 4
    # A preempted run is started again; a failed one is not.
    [statuses] = [
        rule["onExitCodes"]["values"] for rule in job["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ]
    assert os.EX_TEMPFAIL in statuses
    assert 1 not in statuses
    pod = job["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {KINDS[kind]: 8}
    assert "command" not in container  # that of the image, without a shell, so that SIGTERM arrives
    assert container["args"][0] == "--config=deep_sets"
    assert container["args"][1:] == [
        "--coordinator_address=a-run-workers-0-0.a-run:55527",
        "--num_processes=4",
        "--process_id=$(JOB_COMPLETION_INDEX)",
    ]
    assert {"name": "output", "persistentVolumeClaim": {"claimName": "results"}} in pod["volumes"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("maxRestarts", "maxRestart"),
        ("replicatedJobs", "replicatedJob"),
        ("backoffLimit: 0", "backoffLimit: none"),
        ("terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("onExitCodes", "onExitCode"),
        ("action: FailJob\n", "action: [FailJob]\n"),
        ("mountPath", "path"),
        ("maxRestarts: 20", 'maxRestarts: "20"'),
    ],
)
def test_a_mistake_in_a_manifest_is_found(kubernetes, right, wrong):
    text = kubernetes.run("--dry-run", "run", "--", "--config=deep_sets")
    check(text)
    assert right in text
    with pytest.raises((ValueError, pydantic.ValidationError, jsonschema.ValidationError)):
        check(text.replace(right, wrong))


def test_names_that_look_like_numbers_stay_text(kubernetes):
    names = {
        "KIND": "tpu",
        "NAME": "no",
        "IMAGE": "1e3",
        "CLAIM": "true",
        "TPU_TOPOLOGY": "44",
        "HOSTS": "11",
        "CHIPS_PER_HOST": "4",
    }
    variables = names | {"TPU_ACCELERATOR": "5", "MAX_RESTARTS": "0"}
    manifest = check(kubernetes.run("--dry-run", "run", "--", "--config=a", **variables))
    assert manifest["metadata"]["name"] == "no"
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 0
    pod = pod_of(manifest)
    assert pod["containers"][0]["image"] == "1e3"
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "5",
        "cloud.google.com/gke-tpu-topology": "44",
    }
    assert pod["volumes"] == [{"name": "output", "persistentVolumeClaim": {"claimName": "true"}}]
    assert check(kubernetes.run("--dry-run", "run", "--", "--config=a", NAME="x"))["metadata"]["name"] == "x"


def test_the_manifests_differ_only_in_what_their_machines_need(kubernetes):
    common = []
    for kind in KINDS:
        manifest = check(kubernetes.run("--dry-run", "run", "--", "--config=a", KIND=kind))
        manifest["metadata"].pop("annotations", None)
        pod = pod_of(manifest)
        [container] = pod["containers"]
        for part in (pod, container):
            part.pop("securityContext", None)
        pod.pop("nodeSelector", None)
        container.pop("resources")
        # For NCCL.
        pod["volumes"] = [one for one in pod["volumes"] if one["name"] != "shared-memory"]
        container["volumeMounts"] = [
            one for one in container["volumeMounts"] if one["name"] != "shared-memory"
        ]
        common.append(manifest)
    assert common[0] == common[1]


def test_arguments_reach_the_container_unchanged(kubernetes):
    awkward = [
        '--config.data.target_keys=("time", "it\'s")',
        "$HOME $(NAME) ${CLAIM} $$",
        "a\\b",
        "*",
        "",
        "--",
        "# no",
    ]
    manifest = check(kubernetes.run("--dry-run", "run", "--", *awkward))
    given = pod_of(manifest)["containers"][0]["args"]
    # Kubernetes reads $$ as a literal $.
    assert [word.replace("$$", "$") for word in given[:-3]] == awkward


def test_calls_of_kubectl(kubernetes):
    planned = kubernetes.run("--dry-run", "resume", "--", "--config=a", NAMESPACE="stars")
    assert kubernetes.calls() == []
    assert planned.startswith("# kubectl --namespace=stars delete jobset starjax")
    kubernetes.run("resume", "--", "--config=a", NAMESPACE="stars")
    assert [call[:3] for call in kubernetes.calls()] == [
        ["kubectl", "--namespace=stars", "delete"],
        ["kubectl", "--namespace=stars", "create"],
    ]
    assert planned.endswith((kubernetes.folder / "manifest.yaml").read_text())
    kubernetes.run("delete")
    assert kubernetes.calls()[2][1:4] == ["delete", "jobset", "starjax"]


def test_logs_wait_for_the_first_pod(kubernetes):
    assert "NotFound" in kubernetes.run("logs", status=1)
    kubernetes.run("run", "--", "--config=a")
    assert kubernetes.run("--dry-run", "logs").startswith("# kubectl logs --follow")
    before = len(kubernetes.calls())
    assert kubernetes.run("logs") == "starjax: no pod yet\nstarjax: Pending\n"
    [*queries, following] = kubernetes.calls()[before:]
    assert [call[2] for call in queries] == ["jobset", "pods"] * 3
    assert following[1] == "logs"
    assert "jobset.sigs.k8s.io/jobset-name=starjax" in following[-1]
    assert {call[3] for call in queries[1::2]} == {following[-1]}  # the pod that was waited for
    kubernetes.run("delete")
    assert "NotFound" in kubernetes.run("logs", status=1)


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        ([], {}, "it should be one of: run, logs, resume, delete"),
        (["start"], {}, "unknown command start"),
        (["run", "--", "--config=a"], {"IMAGE": ""}, "IMAGE is not set"),
        (["run", "--", "--config=a"], {"IMAGE": "a\nb"}, "IMAGE=a\nb should be a name"),
        (["run", "--", "--config=a"], {"KIND": "cpu"}, "KIND=cpu should be gpu or tpu"),
        (
            ["run", "--", "--config=a"],
            {"KIND": "tpu", "TPU_TOPOLOGY": "2x4", "HOSTS": "3", "CHIPS_PER_HOST": "4"},
            "TPU_TOPOLOGY=2x4 has 8 chips, but HOSTS=3 times CHIPS_PER_HOST=4 is 12",
        ),
        (
            ["run", "--", "--config=a"],
            {"KIND": "tpu", "TPU_TOPOLOGY": "2x0"},
            "TPU_TOPOLOGY=2x0 should be of the form 4x4",
        ),
        (["run", "--", "--config=a"], {"HOSTS": "two"}, "HOSTS=two"),
        (["run", "--", "--config=a"], {"HOSTS": "0"}, "HOSTS=0 should be a whole number, 1 or more"),
        (["run", "--", "--config=a"], {"MAX_RESTARTS": "010"}, "MAX_RESTARTS=010"),
        (["run", "--", "--config=a"], {"NAME": "A run"}, "NAME=A run"),
        (["run", "--", "--config=a"], {"NAME": "run-"}, "not end with a hyphen"),
        (["run", "--", "--config=a"], {"NAME": "x" * 33}, "at most 32 lowercase letters"),
        (["run", "--", "two\nlines"], {}, "a line break"),
        (["run"], {}, "no config given"),
        (["logs", "all"], {}, "logs takes no arguments: all"),
    ],
)
def test_wrong_settings_are_refused(kubernetes, words, variables, message):
    printed = kubernetes.run(*words, status=1, **variables)
    assert printed.startswith("error: ")
    assert message in printed
    assert kubernetes.calls() == []
