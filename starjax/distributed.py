"""Devices and processes: the only file that names a mesh axis."""

import atexit
import faulthandler
import functools
import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from starjax import log
from starjax.errors import ConfigError

MEMBER_AXIS, DATA_AXIS = "member", "data"

# What srun sets, and jax.distributed reads; without it a SLURM allocation is one process.
_SLURM_STEP = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")
# As wide as the processor has them; by default XLA uses half of an AVX-512 (benchmarks/README.md).
CPU_COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


def initialize(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> bool:
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


def use_cores(batch_size: int) -> None:
    """Where the CPU computes, makes a device of every core (of as many as divide `batch_size`).

    Each then works on samples of its own, in its own cache: 1.5 to 1.9 times as fast on two cores as both at one
    sample (benchmarks/README.md). `JAX_NUM_CPU_DEVICES` overrules it.
    """
    if jax.config.jax_num_cpu_devices < 0:
        num_core = joblib.cpu_count(only_physical_cores=True)
        num = max((n for n in range(1, num_core + 1) if batch_size % n == 0), default=1)
        jax.config.update("jax_num_cpu_devices", num)
        if num < num_core:
            log.warning(
                f"{num} of {num_core} cores compute: {num_core} do not divide config.train.batch_size={batch_size}"
            )


def smallest(number: int) -> int:
    """The smallest of what the processes give."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.float64(number)).min())


def is_same(*numbers: int) -> bool:
    """Whether all processes give the same numbers."""
    if jax.process_count() == 1:
        return True
    found = multihost_utils.process_allgather(np.array(numbers, np.int32))
    return bool((found == found[0]).all())


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


def say(message: str) -> None:
    """Says a line, once in a multi-process run."""
    if is_main_process():
        log.info(message)


def wait_for_all(name: str) -> None:
    """Returns once all processes have called it with this name."""
    multihost_utils.sync_global_devices(name)


def make_mesh(num_member: int = 1, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """All devices of all processes, or those given.

    Members are shared out among its rows, the samples of a batch among its columns.
    """
    devices = devices or jax.devices()
    num_row = math.gcd(num_member, len(devices))
    return jax.make_mesh(
        (num_row, len(devices) // num_row),
        (MEMBER_AXIS, DATA_AXIS),
        devices=devices,
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )


def num_share(mesh: jax.sharding.Mesh) -> int:
    """How many devices the samples of a batch are shared out among."""
    return mesh.shape[DATA_AXIS]


def replicate(tree, mesh: jax.sharding.Mesh):
    """Puts a copy of every array of `tree`, the same in all processes, on every device of `mesh`."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def share_members(tree, mesh: jax.sharding.Mesh):
    """Puts arrays, the same in all processes, on the devices that train the members along their first axis."""
    return _put(tree, sharding_of_members(mesh))


def sharding_of_members(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Of arrays with members along their first axis."""
    return NamedSharding(mesh, PartitionSpec(MEMBER_AXIS))


def _put(tree, sharding: NamedSharding):
    def put(x):
        array = np.asarray(x)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def local_positions(mesh: jax.sharding.Mesh) -> list[int]:
    """Which of the shares of a batch this process has devices for."""
    is_own = [[device.process_index == jax.process_index() for device in row] for row in mesh.devices]
    return np.flatnonzero(np.any(is_own, axis=0)).tolist()


def from_each_device(trees: dict, mesh: jax.sharding.Mesh):
    """Puts a tree of equal shapes on the devices of each share of a batch.

    Args:
      trees: by share, those of this process (`local_positions`).

    Returns:
      One tree, of all shares' arrays along a first axis.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

    def join(*arrays):
        own = {i: np.asarray(x)[None] for i, x in zip(trees, arrays, strict=True)}
        shape = (num_share(mesh), *np.shape(arrays[0]))
        return jax.make_array_from_callback(shape, sharding, lambda index: own[index[0].start or 0])

    return jax.tree.map(join, *trees.values())


def own(tree, is_sharded: bool):
    """Inside `on_mesh`: a device's own part of what `from_each_device` made; a replicated tree as it is."""
    return jax.tree.map(lambda x: x[0], tree) if is_sharded else tree


def local_rows(batch_size: int, size: int | None = None, *, is_sharded: bool = False):
    """Inside `on_mesh`: the rows of a batch that fall to this device, `size` of them at a time.

    Args:
      is_sharded: False: rows are numbered over all devices. True: each device numbers its own.

    Returns:
      Rows int32 (number of times, size), by default all at once, filled up with -1; and by how much the numbers
      of the next batch are higher.
    """
    num_local = batch_size // jax.lax.axis_size(DATA_AXIS)
    first = 0 if is_sharded else jax.lax.axis_index(DATA_AXIS) * num_local
    # Each member draws its own samples at these rows.
    row = jax.lax.pcast(first + jnp.arange(num_local), MEMBER_AXIS, to="varying")
    num_left_over = -num_local % (size or num_local)
    row = jnp.pad(row, (0, num_left_over), constant_values=-1).reshape(-1, size or num_local)
    return row, num_local if is_sharded else batch_size


def vary(tree):
    """Inside `on_mesh`: the same values as a copy of each device's own, whose gradient is that device's alone."""
    return jax.lax.pcast(tree, DATA_AXIS, to="varying")


def total(tree):
    """Inside `on_mesh`: the sum over devices."""
    return jax.lax.psum(tree, DATA_AXIS)


def on_mesh(
    function: Callable,
    mesh: jax.sharding.Mesh,
    *,
    arguments: tuple[str, ...],
    result: str = "members",
    **jit_options,
):
    """Compiles `function` for every device of `mesh`.

    Args:
      arguments, result: how each argument lies on the devices, and what comes out:
        'same': replicated; 'members': with members along its first axis (`share_members`); 'shares': with shares of
        a batch along its first axis (`from_each_device`); 'rows': with members along its first axis and the
        rows of a batch along its third.
    """
    specs = {
        "same": PartitionSpec(),
        "members": PartitionSpec(MEMBER_AXIS),
        "shares": PartitionSpec(DATA_AXIS),
        "rows": PartitionSpec(MEMBER_AXIS, None, DATA_AXIS),
    }
    in_specs = tuple(specs[argument] for argument in arguments)
    mapped = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=specs[result])
    if mesh.devices.flat[0].platform == "cpu":
        jit_options["compiler_options"] = CPU_COMPILER_OPTIONS
    return jax.jit(mapped, **jit_options)


def gather(array: jax.Array) -> np.ndarray:
    """The whole of a sharded array, in every process."""
    if array.is_fully_addressable:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
