"""Join the processes of a run, and end as one of them.

On Windows a run is one process: the last message of a process that is killed is printed by a POSIX shell.
"""

import atexit
import faulthandler
import functools
import importlib.util
import os
import subprocess
import sys

import jax

from starjax.errors import ConfigError

# Set by srun and read by jax.distributed. An allocation without srun is one process.
_SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def join_processes(
    coordinator_address: str | None, num_processes: int | None, process_id: int | None
) -> bool:
    """Join the other processes of a run, if there are any, before any other use of jax.

    There are others if a coordinator is named, or if the environment is that of SLURM or Open MPI with
    several processes, of a Kubernetes indexed job, or of a Cloud TPU.

    Args:
      coordinator_address: host and port of process 0; None: as jax finds it.
      num_processes: number of processes; None: as jax finds it.
      process_id: number of this process, from 0; None: as jax finds it.

    Returns:
      Whether this process is one of many.

    Raises:
      ConfigError: arguments or packages are missing, or the system is Windows.
    """
    if not coordinator_address and (num_processes is not None or process_id is not None):
        raise ConfigError("--num_processes and --process_id need --coordinator_address=HOST:PORT")
    is_named = coordinator_address or "JAX_COORDINATOR_ADDRESS" in os.environ
    if not is_named and _is_indexed_job() and importlib.util.find_spec("kubernetes") is None:
        raise ConfigError(
            "in a Kubernetes indexed job jax needs the package kubernetes to find the other processes: "
            "install starjax[k8s], or give --coordinator_address, --num_processes and --process_id"
        )
    if not coordinator_address and not _is_in_cluster():
        return False
    if sys.platform == "win32":
        raise ConfigError("runs of many processes are not supported on Windows: start one process")
    jax.distributed.initialize(coordinator_address, num_processes, process_id, _device_ids())
    _prepare_to_end()
    return True


def _device_ids() -> list[int] | None:
    """Return the devices of this host that the process takes: [] for all, None for the choice of jax.

    Under SLURM and Open MPI jax chooses the device with the number of the process on its host. With one
    process per host the other devices would be idle.
    """
    # With all its arguments given, jax does not search for a cluster, which in Kubernetes needs a further
    # package.
    variables = os.environ
    tasks, nodes = variables.get("SLURM_STEP_NUM_TASKS"), variables.get("SLURM_STEP_NUM_NODES")
    is_alone = (
        (tasks is not None and tasks == nodes)
        or variables.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1"
        or _is_indexed_job()
    )
    return [] if is_alone and not variables.get("JAX_LOCAL_DEVICE_IDS") else None


def _prepare_to_end() -> None:
    """Let this process, one of many, end with a message and without waiting for the others."""
    # absl enables it; it would print the stacks of all threads when jax aborts the process.
    faulthandler.disable()
    # Started now: a process that jax aborts can no longer start anything.
    atexit.register(_watcher().communicate, b"\n")
    sys.excepthook = _leave_after_error


def leave(status: int) -> None:
    """End this process, one of many, at once; a normal exit may wait for others that wait for this one."""
    _watcher().communicate(b"\n")
    os._exit(status)


def _leave_after_error(*error) -> None:
    sys.__excepthook__(*error)
    leave(1)


@functools.cache
def _watcher() -> subprocess.Popen:
    """Start a shell that prints a last message if this process ends without dismissing it.

    A line on its standard input dismisses it. Within 100 s of losing another process jax aborts this one,
    wherever it is, with pages of internal messages.
    """
    message = (
        f"process {jax.process_index()} was killed, or has lost another process of this run: read the last "
        "line of that one. The same command, started again for all processes, resumes from the last "
        "checkpoint"
    )
    # Ctrl-C and the end of a batch job reach the shell as well, which has to outlive this process.
    script = """trap "" INT TERM; read -r _ || echo "$0" >&2"""
    return subprocess.Popen(["sh", "-c", script, message], stdin=subprocess.PIPE)


def is_loss_of_a_process(error: BaseException) -> bool:
    """Return whether an error, raised by jax or a library on top of it, means that another process is lost.

    Collectives on CPUs raise at once. On GPUs and TPUs they wait: after 100 s without a process jax aborts
    the others.
    """
    # There is no exception class for it; these words are in the messages of the various transports. Two lack
    # their first letter, which some messages write in upper case.
    words = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "heartbeat", "arrier", "oordination")
    return jax.process_count() > 1 and any(word in str(error) for word in words)


def _is_in_cluster() -> bool:
    """Return whether the environment is one in which jax finds the other processes of a run."""
    variables = os.environ
    is_step = all(name in variables for name in _SLURM_STEP) and int(variables["SLURM_NTASKS"]) > 1
    is_open_mpi = "OMPI_COMM_WORLD_SIZE" in variables and int(variables["OMPI_COMM_WORLD_SIZE"]) > 1
    has_tpu = importlib.util.find_spec("libtpu") is not None and any(map(os.path.exists, _TPU_DEVICES))
    return "JAX_COORDINATOR_ADDRESS" in variables or is_step or is_open_mpi or _is_indexed_job() or has_tpu


def _is_indexed_job() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ
