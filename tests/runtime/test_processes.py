"""Conditions under which processes join. Runs of many processes are in test_many_processes."""

import jax
import pytest

from starjax import errors
from starjax.runtime import processes

SLURM_STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
INDEXED_JOB = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}


@pytest.mark.parametrize(
    ("variables", "address", "is_joined", "device_ids"),
    [
        ({}, None, False, None),
        ({}, "host:1234", True, None),
        (SLURM_STEP, None, True, None),
        # One process a node has all its devices, of two each has one.
        (SLURM_STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}, None, True, []),
        (SLURM_STEP | {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}, None, True, None),
        (SLURM_STEP | {"SLURM_NTASKS": "1"}, None, False, None),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, None, False, None),  # an allocation without srun
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, None, True, None),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, None, True, []),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, None, False, None),
        ({"JAX_COORDINATOR_ADDRESS": "host:1234"}, None, True, None),
        (INDEXED_JOB, None, True, []),
        (INDEXED_JOB | {"JAX_LOCAL_DEVICE_IDS": "0"}, None, True, None),  # as jax reads it
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None, False, None),  # a notebook in a cluster
    ],
)
def test_processes_join_in_environments_with_several_processes(
    variables, address, is_joined, device_ids, monkeypatch
):
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given: calls.append(given))
    monkeypatch.setattr(processes, "_prepare_to_end", lambda: None)  # this process is none of many
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name == "kubernetes")
    monkeypatch.setattr(processes.os, "environ", variables)
    processes.join_processes(address, None, None)
    assert calls == ([(address, None, None, device_ids)] if is_joined else [])


def test_a_kubernetes_job_without_the_package_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(processes.os, "environ", INDEXED_JOB)
    with pytest.raises(errors.ConfigError, match=r"starjax\[k8s\]"):
        processes.join_processes(None, None, None)


def test_a_process_number_without_a_coordinator_is_an_error():
    with pytest.raises(errors.ConfigError, match="coordinator_address"):
        processes.join_processes(None, 2, 0)
