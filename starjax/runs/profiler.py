"""A trace of the training steps of an epoch, and the share of time in which the devices were idle."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax

from starjax.io import files

# Name of the traced span, and the CPU backend's name for the run of a program on one of its devices.
_SPAN, _CPU_RUN = "starjax epoch", "ThunkExecutor::Execute (wait for completion)"
# Planes of accelerators in a trace, and their line of whole programs, which not all accelerators have.
_DEVICE, _PROGRAMS = re.compile(r"/device:(GPU|TPU):\d+"), "XLA Modules"


@contextlib.contextmanager
def traced_epoch(directory: Path) -> Iterator[None]:
    """Trace this block for XProf or Perfetto, and write `directory/idle.json` beside the trace.

    That file contains `seconds`, the duration of the block, and `idle_share`, the share of it in which a
    device ran nothing, as a mean over devices.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # tracing Python calls would slow down what is measured
    with jax.profiler.trace(str(directory), profiler_options=options), jax.profiler.TraceAnnotation(_SPAN):
        yield
    # Earlier traces of the run stay beside it.
    newest = max(directory.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    files.write_json(directory / "idle.json", idle(jax.profiler.ProfileData.from_file(str(newest))))


def idle(data: jax.profiler.ProfileData) -> dict[str, float]:
    """Return the duration of the block and the idle share of the devices, from a trace of `traced_epoch`."""
    host = next(plane for plane in data.planes if plane.name == "/host:CPU")
    # The trace begins before the block and ends after it.
    [(start, end)] = _intervals(host, _SPAN)
    devices = [plane for plane in data.planes if _DEVICE.fullmatch(plane.name)]
    if devices:
        busy = sum(_covered(_intervals(plane), start, end) for plane in devices) / len(devices)
    else:
        # Every run of a program on a device of the CPU is one event, in any of the threads.
        runs = _intervals(host, _CPU_RUN)
        busy = sum(min(b, end) - max(a, start) for a, b in runs if b > start and a < end)
        busy /= jax.local_device_count()
    return {"seconds": (end - start) / 1e9, "idle_share": 1 - busy / (end - start)}


def _intervals(plane, name: str | None = None) -> list[tuple[float, float]]:
    """Return start and end [ns] of the events of a plane.

    Args:
      name: of the events; None: of all programs or, if the plane does not list them, of all kernels.
    """
    lines = list(plane.lines)
    if name is None:
        lines = [line for line in lines if line.name == _PROGRAMS] or lines
    events = (event for line in lines for event in line.events if name in (None, event.name))
    return [(event.start_ns, event.start_ns + event.duration_ns) for event in events]


def _covered(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """Return the length of the part of a span that intervals cover; they may overlap."""
    covered, reached = 0.0, start
    for first, last in sorted(intervals):
        last = min(last, end)
        covered += max(last - max(first, reached), 0)
        reached = max(reached, last)
    return covered
