"""Print the results of a benchmark as a table, and write them as JSON with machine and versions."""

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from starjax.io import files

_PACKAGES = ("starjax", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "bayesflow")


def machine() -> dict:
    """Return the machine and the versions that figures depend on."""
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "num_device": jax.device_count(),
        "num_core": os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {
            package: importlib.metadata.version(package) for package in _PACKAGES if _is_installed(package)
        },
    }


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        if names:
            return names[0]
    return platform.processor()


def show(title: str, rows: list[dict], out: str | None) -> None:
    """Print rows as a table, and write them to `out`, if given, with the machine."""
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in columns:
        is_text = any(isinstance(row.get(name), str) for row in rows)
        table.add_column(name.replace("_", " "), justify="left" if is_text else "right")
    for row in rows:
        table.add_row(*(_text(row.get(name)) for name in columns))
    Console(width=150).print(table)
    found = machine()
    devices, version = f"{found['num_device']} {found['device']} device(s)", found["versions"]["jax"]
    print(f"{devices}, {found['processor']}, jax {version}")
    if out:
        files.write_json(Path(out), {"title": title, "machine": found, "rows": rows})


def _text(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def bias_and_scatter(error: np.ndarray) -> tuple[float, float]:
    """Return the median of errors, and 1.48 times their median absolute deviation from it."""
    bias = np.median(error)
    return float(bias), float(1.48 * np.median(np.abs(error - bias)))


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the option that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--out", help="JSON file for all figures")
    return made


def seconds(function: Callable[[], object], num_run: int = 5) -> list[float]:
    """Return the seconds of some calls, until their results are computed, after a warm-up call."""
    jax.block_until_ready(function())
    found = []
    for _ in range(num_run):
        start = time.perf_counter()
        jax.block_until_ready(function())
        found.append(time.perf_counter() - start)
    return found


def median_seconds(function: Callable[[], object], num_run: int = 5) -> float:
    """Return the median of `seconds`."""
    return statistics.median(seconds(function, num_run))
