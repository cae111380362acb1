"""A trace of the training steps of an epoch, and how long the devices did nothing in it."""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax

from starjax.io import files

# What the traced span is called, and what the CPU calls the time in which a program runs on one of its devices.
_SPAN, _CPU_RUN = "starjax epoch", "ThunkExecutor::Execute (wait for completion)"
# Planes of accelerators, and the line of them that holds whole programs, where there is one.
_DEVICE, _PROGRAMS = re.compile(r"/device:(GPU|TPU):\d+"), "XLA Modules"


@contextlib.contextmanager
def traced_epoch(directory: Path) -> Iterator[None]:
    """Traces what is done inside, for XProf or Perfetto, and leaves `directory/idle.json` beside the trace.

    It holds `seconds`, how long it took, and `idle_share`, the share of them in which a device, on the average,
    ran nothing.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # calls of Python functions would slow down what is measured
    with jax.profiler.trace(str(directory), profiler_options=options), jax.profiler.TraceAnnotation(_SPAN):
        yield
    newest = max(directory.glob("plugins/profile/*/*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    files.write_json(directory / "idle.json", idle(jax.profiler.ProfileData.from_file(str(newest))))


def idle(data: jax.profiler.ProfileData) -> dict[str, float]:
    """Seconds of the span and the share of them in which devices did nothing, from a trace made by `traced`."""
    host = next(plane for plane in data.planes if plane.name == "/host:CPU")
    [(start, end)] = _intervals(host, _SPAN)
    devices = [plane for plane in data.planes if _DEVICE.fullmatch(plane.name)]
    if devices:
        busy = sum(_covered(_intervals(plane), start, end) for plane in devices) / len(devices)
    else:
        # Each run on each device of a CPU is an event, whichever thread it falls to.
        runs = _intervals(host, _CPU_RUN)
        busy = sum(min(b, end) - max(a, start) for a, b in runs if b > start and a < end)
        busy /= jax.local_device_count()
    return {"seconds": (end - start) / 1e9, "idle_share": 1 - busy / (end - start)}


def _intervals(plane, name: str | None = None) -> list[tuple[float, float]]:
    """Begin and end [ns] of the events of that name; of all programs or, where they are not told, of all kernels."""
    lines = list(plane.lines)
    if name is None:
        lines = [line for line in lines if line.name == _PROGRAMS] or lines
    events = (event for line in lines for event in line.events if name in (None, event.name))
    return [(event.start_ns, event.start_ns + event.duration_ns) for event in events]


def _covered(intervals: Iterable[tuple[float, float]], start: float, end: float) -> float:
    """How much of a span is covered by intervals, which may overlap."""
    covered, reached = 0.0, start
    for first, last in sorted(intervals):
        last = min(last, end)
        covered += max(last - max(first, reached), 0)
        reached = max(reached, last)
    return covered
