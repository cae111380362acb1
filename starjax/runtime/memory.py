"""Measure the free memory, and choose the largest micro-batch that fits into it."""

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import psutil

from starjax.runtime import devices

# Fraction of the free memory that the temporary arrays of a training step may take. The rest is left to what
# is not there yet when it is measured: chunks of streamed stars, validation, checkpoints.
TEMPORARY_SHARE = 0.5
# Samples of a micro-batch on a CPU core: their activations, kept for the gradient, fit into its cache
# (measured in docs/explanation/performance.md).
CPU_MICRO_BATCH = 64
# Memory limits of containers and batch jobs (cgroups, version 2), and the cgroup of this process.
_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def free_bytes(device: jax.Device) -> int:
    """Return the free memory of `device`; of a CPU device, its share of what this process may allocate."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats["bytes_in_use"]
    # Devices of a CPU share the memory of the host, and each may take its part of what is free.
    free = [psutil.virtual_memory().available, *_left_in_cgroups(), *_left_in_limits()]
    return max(min(free), 0) // jax.local_device_count()


def _left_in_limits() -> list[int]:
    """Return the bytes that each limit of the process (`ulimit`) leaves."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return []
    in_use = psutil.Process().memory_info()
    # psutil knows the size of the data segment on Linux only.
    used = {resource.RLIMIT_AS: in_use.vms, resource.RLIMIT_DATA: getattr(in_use, "data", in_use.rss)}
    limits = {kind: resource.getrlimit(kind)[0] for kind in used}
    return [limit - used[kind] for kind, limit in limits.items() if limit != resource.RLIM_INFINITY]


def _left_in_cgroups() -> list[int]:
    """Return the bytes that the limits of the process's cgroup, and of those around it, leave."""
    if not _OWN_CGROUP.exists():
        return []
    lines = _OWN_CGROUP.read_text().splitlines()
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folder, left = _CGROUPS / own, []
    for group in (folder, *folder.parents):
        if not group.is_relative_to(_CGROUPS):
            break
        limit = group / "memory.max"
        if limit.exists() and limit.read_text().strip().isdecimal():
            statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            # Cached files count as used, but the kernel drops them when memory is needed.
            in_use = int((group / "memory.current").read_text()) - int(statistics["inactive_file"])
            left.append(int(limit.read_text()) - in_use)
    return left


def peak_bytes() -> int:
    """Return the peak memory of the first device; on a CPU, of the process."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    try:
        import resource
    except ImportError:  # Windows
        return getattr(psutil.Process().memory_info(), "peak_wset")  # noqa: B009, mypy knows the fields of Linux
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


def largest_micro_batch(
    compiled_with: Callable, num_local: int, mesh: jax.sharding.Mesh, most: int | None = None
):
    """Compile a step with the largest micro-batch whose temporary arrays fit into memory.

    Args:
      compiled_with: `(micro_batch_size) -> jax.stages.Compiled`.
      num_local: samples of a batch on a device.
      mesh: the devices.
      most: the first size to try; None: CPU_MICRO_BATCH on a CPU, elsewhere `num_local`.

    Returns:
      The micro-batch size, equal in all processes, and the compiled step.
    """
    device = mesh.local_devices[0]
    size = min(num_local, most or (CPU_MICRO_BATCH if device.platform == "cpu" else num_local))
    limit = devices.min_over_processes(int(TEMPORARY_SHARE * free_bytes(device)))
    while True:
        # How much memory a program needs is known only after its compilation.
        compiled = compiled_with(size)
        needed = compiled.memory_analysis().temp_size_in_bytes
        if needed <= limit or size == 1:
            return size, compiled
        # Memory grows at most in proportion to the size, so this size is likely to fit.
        size = max(1, min(size // 2, int(size * limit / needed)))
