"""Devices and processes: the only file that names a mesh axis."""

import importlib.util
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from starjax.errors import ConfigError

DATA_AXIS = "data"

# What srun sets, and jax.distributed reads; without it a SLURM allocation is one process.
_SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def initialize(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the processes of a multi-process run, if this is one; before any other use of jax.

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
    if coordinator_address or _is_in_cluster():
        jax.distributed.initialize(coordinator_address, num_processes, process_id)


def _is_in_cluster() -> bool:
    variables = os.environ
    is_step = all(name in variables for name in _SLURM_STEP) and int(variables["SLURM_NTASKS"]) > 1
    is_open_mpi = "OMPI_COMM_WORLD_SIZE" in variables and int(variables["OMPI_COMM_WORLD_SIZE"]) > 1
    has_tpu = importlib.util.find_spec("libtpu") is not None and any(map(os.path.exists, _TPU_DEVICES))
    return "JAX_COORDINATOR_ADDRESS" in variables or is_step or is_open_mpi or _is_indexed_job() or has_tpu


def _is_indexed_job() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and "JOB_COMPLETION_INDEX" in os.environ


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns once all processes have called it with this name."""
    multihost_utils.sync_global_devices(name)


def make_mesh() -> jax.sharding.Mesh:
    """All devices of all processes in one row."""
    return jax.make_mesh((jax.device_count(),), (DATA_AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def replicate(tree, mesh: jax.sharding.Mesh):
    """Puts a copy of every array of `tree`, the same in all processes, on every device of `mesh`."""
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def local_rows(batch_size: int) -> jax.Array:
    """Inside `on_mesh`: the rows of the global batch that fall to this device."""
    num_local = batch_size // jax.lax.axis_size(DATA_AXIS)
    return jax.lax.axis_index(DATA_AXIS) * num_local + jnp.arange(num_local)


def vary(tree):
    """Inside `on_mesh`: the same values, one copy a device; their gradients are summed over devices at this place."""
    return jax.lax.pcast(tree, DATA_AXIS, to="varying")


def total(tree):
    """Inside `on_mesh`: the sum over devices."""
    return jax.lax.psum(tree, DATA_AXIS)


def on_mesh(function: Callable, mesh: jax.sharding.Mesh, *, is_output_sharded: bool = False, **jit_options):
    """Compiles `function` of replicated arguments for every device of `mesh`.

    Args:
      is_output_sharded: False: every device returns the same. True: each returns its own rows,
        which are put side by side along the second axis.
    """
    out_specs = PartitionSpec(None, DATA_AXIS) if is_output_sharded else PartitionSpec()
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=PartitionSpec(), out_specs=out_specs), **jit_options
    )


def gather(array: jax.Array) -> np.ndarray:
    """The whole of a sharded array, in every process."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
