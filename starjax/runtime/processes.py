"""How a process joins the others of a run, and how it ends as one of them."""

import atexit
import faulthandler
import functools
import importlib.util
import os
import subprocess
import sys

import jax

from starjax.errors import ConfigError

# What srun sets, and jax.distributed reads; without it a SLURM allocation is one process.
_SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def join_processes(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> bool:
    """Joins the processes of a multi-process run, if this is one, and says so; before any other use of jax.

    It is one when a coordinator is named, or when the environment is that of SLURM or Open MPI with
    several processes, of a Kubernetes indexed job, or of a Cloud TPU.
    """
    if not coordinator_address and (num_processes is not None or process_id is not None):
        raise ConfigError("--num_processes and --process_id go with --coordinator_address=HOST:PORT")
    is_named = coordinator_address or "JAX_COORDINATOR_ADDRESS" in os.environ
    if not is_named and _is_indexed_job() and importlib.util.find_spec("kubernetes") is None:
        raise ConfigError(
            "in a Kubernetes indexed job jax finds the other processes by the package kubernetes: install "
            "starjax[k8s], or give --coordinator_address, --num_processes and --process_id"
        )
    if not coordinator_address and not _is_in_cluster():
        return False
    jax.distributed.initialize(coordinator_address, num_processes, process_id, _device_ids())
    _prepare_to_end()
    return True


def _device_ids() -> list[int] | None:
    """Which devices of its host jax is to give this process; an empty list: all, None: as jax does.

    Under SLURM and Open MPI that is the one of its number on the host, of which the others would then lie idle where a host has
    one process. Where nothing is left to find, jax does not look for a cluster, and so not for the package kubernetes.
    """
    variables = os.environ
    tasks, nodes = variables.get("SLURM_STEP_NUM_TASKS"), variables.get("SLURM_STEP_NUM_NODES")
    is_alone = (
        (tasks is not None and tasks == nodes)
        or variables.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
        or _is_indexed_job()
    )
    return [] if is_alone and not variables.get("JAX_LOCAL_DEVICE_IDS") else None


def _prepare_to_end() -> None:
    """Sees to it that this process of many ends with a word, and lets the others end."""
    faulthandler.disable()  # absl's, which adds where each thread was when jax ends a process
    atexit.register(_witness().communicate, b"\n")
    sys.excepthook = _leave_after


def leave(status: int) -> None:
    """Ends this process of many at once: orderly, it would wait for the others, which may wait for it."""
    _witness().communicate(b"\n")
    os._exit(status)


def _leave_after(*error) -> None:
    sys.__excepthook__(*error)
    leave(1)


@functools.cache
def _witness() -> subprocess.Popen:
    """A shell that says the last word if this process ends without one of its own, which would be a line to its input.

    Jax aborts processes that have lost another (within 100 s), wherever they are, with pages of its own inside.
    """
    message = (
        f"process {jax.process_index()} was ended by force, or has lost another one of this run: see what that says last. The same "
        "command, given again to all of them, goes on from the last checkpoint"
    )
    script = """trap "" INT TERM; read -r _ || echo "$0" >&2"""
    return subprocess.Popen(["sh", "-c", script, message], stdin=subprocess.PIPE)


def is_loss_of_a_process(error: BaseException) -> bool:
    """Whether an error, of jax or of what uses it, says that another process of this run cannot be reached.

    Collectives of CPUs say so at once. Those of GPUs and TPUs wait, until the coordinator has missed a process for 100 s and jax ends
    all others, with its own words.
    """
    said = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "arrier", "oordination")
    return jax.process_count() > 1 and any(word in str(error) for word in said)


def _is_in_cluster() -> bool:
    variables = os.environ
    is_step = all(name in variables for name in _SLURM_STEP) and int(variables["SLURM_NTASKS"]) > 1
    is_open_mpi = "OMPI_COMM_WORLD_SIZE" in variables and int(variables["OMPI_COMM_WORLD_SIZE"]) > 1
    has_tpu = importlib.util.find_spec("libtpu") is not None and any(map(os.path.exists, _TPU_DEVICES))
    return "JAX_COORDINATOR_ADDRESS" in variables or is_step or is_open_mpi or _is_indexed_job() or has_tpu


def _is_indexed_job() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
