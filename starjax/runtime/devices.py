"""Devices and processes: the only module that names a mesh axis.

Devices form a mesh of rows and columns. Ensemble members are divided among the rows, the samples of a batch
among the columns; a column's part of the batch is called its share.
"""

import math
import os
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from starjax.runtime import log

MEMBER_AXIS, DATA_AXIS = "member", "data"

# By default XLA uses vectors of 256 bits, half the width of AVX-512 (docs/explanation/performance.md).
CPU_COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


def use_cores(batch_size: int) -> None:
    """Make every CPU core a device of jax, or as many cores as divide `batch_size`.

    Each core then works on its own samples in its own cache: on two cores 1.5 to 1.9 times as fast as one
    device that uses both (docs/explanation/performance.md). The environment variable `JAX_NUM_CPU_DEVICES`
    takes precedence.
    """
    if getattr(jax.config, "jax_num_cpu_devices") < 0:  # noqa: B009, jax declares no such field
        num_core = joblib.cpu_count(only_physical_cores=True)
        num = max((n for n in range(1, num_core + 1) if batch_size % n == 0), default=1)
        jax.config.update("jax_num_cpu_devices", num)
        if num < num_core:
            log.warning(
                f"using {num} of {num_core} cores, because {num_core} does not divide "
                f"config.train.batch_size={batch_size}"
            )


def missing_platforms() -> str:
    """Return the environment variable `JAX_PLATFORMS` if jax finds no device of it; otherwise ''."""
    try:
        jax.devices()
    except (AssertionError, RuntimeError):
        return os.environ.get("JAX_PLATFORMS", "")
    return ""


def min_over_processes(number: int) -> int:
    """Return the smallest of the numbers that the processes pass."""
    if jax.process_count() == 1:
        return number
    # As a float, since jax would cut an integer to 32 bits, and numbers of bytes have more.
    return int(multihost_utils.process_allgather(np.float64(number)).min())


def all_processes_agree(*numbers: int) -> bool:
    """Return whether all processes pass the same numbers."""
    if jax.process_count() == 1:
        return True
    found = multihost_utils.process_allgather(np.array(numbers, np.int32))
    return bool((found == found[0]).all())


def is_main_process() -> bool:
    """Return whether this is the process that writes files and logs."""
    return jax.process_index() == 0


def log_on_main_process(message: str) -> None:
    """Log a line on the main process, so that a run of many processes prints it once."""
    if is_main_process():
        log.info(message)


def sync_processes(name: str) -> None:
    """Wait until all processes have called this function with the same name."""
    multihost_utils.sync_global_devices(name)


def make_mesh(num_member: int = 1, devices: Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """Return a mesh of all devices of all processes, or of those given.

    Args:
      num_member: ensemble members.
    """
    devices = devices or jax.devices()
    # As many rows as possible: members need no communication, whereas the shares of a batch are summed.
    num_row = math.gcd(num_member, len(devices))
    return jax.make_mesh(
        (num_row, len(devices) // num_row),
        (MEMBER_AXIS, DATA_AXIS),
        devices=devices,
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
    )


def num_share(mesh: jax.sharding.Mesh) -> int:
    """Return how many shares a batch is divided into: the columns of the mesh."""
    return mesh.shape[DATA_AXIS]


def replicate(tree, mesh: jax.sharding.Mesh):
    """Copy every array of `tree`, which all processes pass alike, to every device of `mesh`."""
    return _put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_members(tree, mesh: jax.sharding.Mesh):
    """Divide arrays, which all processes pass alike, among the rows of `mesh`, members first."""
    return _put(tree, member_sharding(mesh))


def member_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
    """Return the sharding of arrays whose first axis is the ensemble members."""
    return NamedSharding(mesh, PartitionSpec(MEMBER_AXIS))


def _put(tree, sharding: NamedSharding):
    def put(x):
        array = np.asarray(x)
        # Each process copies to its own devices only; `jax.device_put` would first compare all processes.
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(put, tree)


def local_positions(mesh: jax.sharding.Mesh) -> list[int]:
    """Return the numbers of the shares that this process has devices for."""
    # A share is on all devices of a column, which may belong to several processes.
    is_own = [[device.process_index == jax.process_index() for device in row] for row in mesh.devices]
    return np.flatnonzero(np.any(is_own, axis=0)).tolist()


def place_shares(trees: dict, mesh: jax.sharding.Mesh):
    """Put a tree of arrays for each share on the devices of that share.

    Args:
      trees: by number of the share, the trees of this process (`local_positions`), with equal shapes.

    Returns:
      One tree; the first axis of its arrays is the shares.
    """
    sharding = NamedSharding(mesh, PartitionSpec(DATA_AXIS))

    def join(*arrays):
        own = {i: np.asarray(x)[None] for i, x in zip(trees, arrays, strict=True)}
        shape = (num_share(mesh), *np.shape(arrays[0]))
        return jax.make_array_from_callback(shape, sharding, lambda index: own[_first_row(index)])

    return jax.tree.map(join, *trees.values())


def _first_row(index: tuple[slice, ...] | None) -> int:
    """Return the first row of the part of an array that jax asks for."""
    return (index[0].start if index else None) or 0


def local_share(tree, is_sharded: bool):
    """Return, inside `on_mesh`, the device's own share of `place_shares`; a replicated tree unchanged."""
    # Of the axis of the shares `shard_map` leaves each device one entry.
    return jax.tree.map(lambda x: x[0], tree) if is_sharded else tree


def local_rows(batch_size: int, size: int | None = None, *, is_sharded: bool = False):
    """Return, inside `on_mesh`, the rows of a batch that this device computes, in micro-batches.

    Args:
      batch_size: samples of the batch, over all devices.
      size: samples of a micro-batch; by default all that this device has.
      is_sharded: if False, rows are numbered over all devices; if True, each device numbers its own.

    Returns:
      rows: int32 (number of micro-batches, size), padded with -1.
      stride: by how much the numbers of the next batch are higher.
    """
    num_local = batch_size // jax.lax.axis_size(DATA_AXIS)
    first = 0 if is_sharded else jax.lax.axis_index(DATA_AXIS) * num_local
    # Each member draws its own samples at these rows, so shard_map must take them as varying over members.
    row = jax.lax.pcast(first + jnp.arange(num_local), MEMBER_AXIS, to="varying")
    # The last micro-batch is filled up, since all have one shape; the numbers -1 mark rows that do not count.
    num_padding = -num_local % (size or num_local)
    row = jnp.pad(row, (0, num_padding), constant_values=-1).reshape(-1, size or num_local)
    return row, num_local if is_sharded else batch_size


def copy_per_device(tree):
    """Return, inside `on_mesh`, a copy of the values for each device, whose gradient is that device's alone.

    The gradient with respect to replicated values would already be summed over devices, once for each
    micro-batch; so it is once for each step (`sum_over_devices`).
    """
    return jax.lax.pcast(tree, DATA_AXIS, to="varying")


def sum_over_devices(tree):
    """Return, inside `on_mesh`, the sum over the shares of a batch."""
    return jax.lax.psum(tree, DATA_AXIS)


def on_mesh(
    function: Callable,
    mesh: jax.sharding.Mesh,
    *,
    arguments: tuple[str, ...],
    result: str = "members",
    **jit_options,
):
    """Return `function` jitted for all devices of `mesh`; each runs it on its own part of the arguments.

    Args:
      function: takes and returns trees of arrays.
      mesh: the devices.
      arguments: how each argument is divided among the devices:
        'same': replicated; 'members': the first axis is the ensemble members (`shard_members`); 'shares': the
        first axis is the shares of a batch (`place_shares`); 'rows': the first axis is the members, the third
        the rows of a batch.
      result: how the result is divided, in the same words.
      **jit_options: for `jax.jit`.
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
    """Return a sharded array as a whole, in every process."""
    if array.is_fully_addressable:
        return np.asarray(array)
    # tiled: `array` is one whole in parts, and not one array for each process.
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))
