"""Show progress: a bar on a terminal, nothing in a log file."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def is_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


def bar() -> Progress:
    """Return a progress display on standard error, which shows nothing without a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not is_terminal(), transient=True)


def parallel(
    jobs: Mapping[Any, tuple],
    n_jobs: int,
    description: str,
    meanwhile: Callable[[], object] = lambda: None,
) -> dict:
    """Run named jobs in parallel under the active joblib backend, with a progress bar.

    The first error of a job ends all of them.

    Args:
      jobs: by name, `(function, *arguments)`.
      n_jobs: number of processes; -1: one per core.
      description: of the progress bar.
      meanwhile: called in this process: while the jobs run if the backend returns results one by one
        (joblib's own backends do, with n_jobs other than 1), else before or after them.

    Returns:
      The results by name, in the order of `jobs`.
    """
    backend, _ = joblib.parallel.get_active_backend()
    # Some third-party backends return all results at the end.
    is_streaming = getattr(backend, "supports_return_generator", False)
    workers = joblib.Parallel(n_jobs=n_jobs, return_as="generator" if is_streaming else "list")
    results = workers(joblib.delayed(function)(*arguments) for function, *arguments in jobs.values())
    meanwhile()
    with bar() as display:
        return dict(zip(jobs, display.track(results, total=len(jobs), description=description), strict=True))
