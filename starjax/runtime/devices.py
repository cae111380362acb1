"""Devices and processes: the only file that names a mesh axis."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from starjax.runtime import log

MEMBER_AXIS, DATA_AXIS = "member", "data"

# As wide as the processor has them; by default XLA uses half of an AVX-512 (benchmarks/README.md).
CPU_COMPILER_OPTIONS = {"xla_cpu_prefer_vector_width": 512}


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


def min_over_processes(number: int) -> int:
    """The smallest of what the processes give."""
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.float64(number)).min())


def agrees_over_processes(*numbers: int) -> bool:
    """Whether all processes give the same numbers."""
    if jax.process_count() == 1:
        return True
    found = multihost_utils.process_allgather(np.array(numbers, np.int32))
    return bool((found == found[0]).all())


def is_main_process() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def log_once(message: str) -> None:
    """Says a line, once in a multi-process run."""
    if is_main_process():
        log.info(message)


def sync_processes(name: str) -> None:
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


def shard_members(tree, mesh: jax.sharding.Mesh):
    """Puts arrays, the same in all processes, on the devices that train the members along their first axis."""
    return _put(tree, member_sharding(mesh))


def member_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
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


def place_shares(trees: dict, mesh: jax.sharding.Mesh):
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


def local_stars(tree, is_sharded: bool):
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


def vary_over_devices(tree):
    """Inside `on_mesh`: the same values as a copy of each device's own, whose gradient is that device's alone."""
    return jax.lax.pcast(tree, DATA_AXIS, to="varying")


def sum_over_devices(tree):
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
