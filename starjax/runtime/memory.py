"""How much memory there is, and what fits into it."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import psutil

from starjax.runtime import devices

# What of the free memory a program may plan to take for what it computes in passing.
TEMPORARY_SHARE = 0.5
# Samples that a core takes through a model at a time: what they leave behind for the gradient stays in its
# cache. Measured in benchmarks/README.md.
CPU_MICRO_BATCH = 64
# Limits of containers and batch jobs (cgroups, version 2), and which one this process is in.
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_bytes(device: jax.Device) -> int:
    """Memory that `device` has left: its own, or its share of what this process may still take of the machine's."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    free = [psutil.virtual_memory().available, *_left_in_cgroups()]
    free += _left_in_limits()
    return max(min(free), 0) // jax.local_device_count()


def _left_in_limits() -> list[int]:
    """What the limits of the process (`ulimit`) leave of memory."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return []
    in_use = psutil.Process().memory_info()
    # What counts as data is known on Linux only.
    used = {resource.RLIMIT_AS: in_use.vms, resource.RLIMIT_DATA: getattr(in_use, "data", in_use.rss)}
    limits = {kind: resource.getrlimit(kind)[0] for kind in used}
    return [limit - used[kind] for kind, limit in limits.items() if limit != resource.RLIM_INFINITY]


def _left_in_cgroups() -> list[int]:
    """What the limits of the process's cgroup, and of those that it lies in, leave of memory."""
    if not _OWN_CGROUP.exists():
        return []
    lines = _OWN_CGROUP.read_text().splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder, left = _CGROUPS / own, []
    for place in (folder, *folder.parents):
        if not place.is_relative_to(_CGROUPS):
            break
        limit = place / "memory.max"
        if limit.exists() and limit.read_text().strip().isdecimal():
            statistics = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
            # Files that were read are kept as long as nobody needs their room.
            in_use = int((place / "memory.current").read_text()) - int(statistics["inactive_file"])
            left.append(int(limit.read_text()) - in_use)
    return left


def peak_bytes() -> int:
    """Return the most memory in use so far on the first device; of the process, if the device is the CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


def largest_micro_batch(
    compiled_with: Callable, num_local: int, mesh: jax.sharding.Mesh, most: int | None = None
):
    """Compiles a step for the most samples at a time that the memory of the devices holds.

    Args:
      compiled_with: `(micro_batch_size) -> jax.stages.Compiled`.
      num_local: a device's share of the batch.
      most: samples at a time to begin with; None: on a CPU CPU_MICRO_BATCH, elsewhere all.

    Returns:
      The micro-batch size, the same in all processes, and what was compiled for it.
    """
    device = mesh.local_devices[0]
    size = min(num_local, most or (CPU_MICRO_BATCH if device.platform == "cpu" else num_local))
    limit = devices.min_over_processes(int(TEMPORARY_SHARE * free_bytes(device)))
    while True:
        compiled = compiled_with(size)
        needed = compiled.memory_analysis().temp_size_in_bytes
        if needed <= limit or size == 1:
            return size, compiled
        # What is needed grows at most in proportion.
        size = max(1, min(size // 2, int(size * limit / needed)))
