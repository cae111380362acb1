"""How much memory there is, and what fits into it."""

import resource
from collections.abc import Callable
from pathlib import Path

import jax
import psutil

from starjax import distributed

# What of the free memory a program may plan to take for what it computes in passing.
TEMPORARY_SHARE = 0.5
# Samples that a core takes through a model at a time: what they leave behind for the gradient stays in its
# cache. Measured in benchmarks/README.md.
CPU_MICRO_BATCH = 64
# Of a container (cgroup, version 2), as seen from inside.
_LIMIT, _IN_USE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def free_bytes(device: jax.Device) -> int:
    """Memory that `device` has left: its own, or its share of what this process may still take of the machine's."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    free = [psutil.virtual_memory().available]
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free.append(limit - psutil.Process().memory_info().vms)
    if _LIMIT.exists() and _LIMIT.read_text().strip().isdecimal():
        free.append(int(_LIMIT.read_text()) - int(_IN_USE.read_text()))
    return max(min(free), 0) // jax.local_device_count()


def largest_micro_batch(compiled_with: Callable, num_local: int, mesh: jax.sharding.Mesh):
    """Compiles a step for the most samples at a time that the memory of the devices holds.

    Args:
      compiled_with: `(micro_batch_size) -> jax.stages.Compiled`.
      num_local: a device's share of the batch.

    Returns:
      The micro-batch size, the same in all processes, and what was compiled for it.
    """
    device = mesh.local_devices[0]
    size = min(num_local, CPU_MICRO_BATCH) if device.platform == "cpu" else num_local
    limit = distributed.smallest(int(TEMPORARY_SHARE * free_bytes(device)))
    while True:
        compiled = compiled_with(size)
        needed = compiled.memory_analysis().temp_size_in_bytes
        if needed <= limit or size == 1:
            return size, compiled
        # What is needed grows at most in proportion.
        size = max(1, min(size // 2, int(size * limit / needed)))
