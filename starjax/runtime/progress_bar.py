"""Progress for people: a bar on a terminal, nothing moving in a log."""

import sys
from collections.abc import Callable, Hashable

import joblib
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def is_terminal() -> bool:
    """Whether somebody watches."""
    return sys.stderr.isatty()


def bar() -> Progress:
    """A progress display on standard error; silent where nobody watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not is_terminal(), transient=True)


def parallel(
    jobs: dict[Hashable, tuple],
    n_jobs: int,
    description: str,
    meanwhile: Callable[[], object] = lambda: None,
) -> dict:
    """Runs named jobs `(function, *arguments)` under the joblib backend in force, with a bar.

    Args:
      meanwhile: called in this process before the results are waited for: beside the jobs where a backend
        gives results as they come (joblib's own does, with n_jobs other than 1), else before or after them.

    Returns:
      the results by name, in the order of `jobs`. The first error of a job ends them all.
    """
    backend, _ = joblib.parallel.get_active_backend()
    # Some third-party backends hand over everything at the end only.
    is_streaming = getattr(backend, "supports_return_generator", False)
    workers = joblib.Parallel(n_jobs=n_jobs, return_as="generator" if is_streaming else "list")
    results = workers(joblib.delayed(function)(*arguments) for function, *arguments in jobs.values())
    meanwhile()
    with bar() as display:
        return dict(zip(jobs, display.track(results, total=len(jobs), description=description), strict=True))
