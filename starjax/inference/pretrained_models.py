"""Summaries of packaged models, from their records, tests and cards."""

import dataclasses
import textwrap

import pandas as pd

from starjax import quantities
from starjax.evaluation.calibration import LEVEL_NAMES
from starjax.io import files
from starjax.models import factory
from starjax.runs import run_config
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record

_WIDTH = 80


@dataclasses.dataclass(frozen=True)
class TargetTest:
    """The test of one target, over the test simulations of the data set.

    Attributes:
      mae, rmse: mean absolute and root-mean-square error, in physical units.
      r2: coefficient of determination, in scaled units.
      coverage: for each of `calibration.LEVEL_NAMES`, the fraction of true values within the intervals.
      coverage_error: their standard deviations (see `coverage.coverage_table`).
    """

    mae: float
    rmse: float
    r2: float
    coverage: tuple[float, ...]
    coverage_error: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """A packaged model in short.

    Attributes:
      purpose: the first paragraph of its card.
      feature_keys: the features that it sees.
      architecture: name of its model.
      num_member, num_param: ensemble members, and parameters of each.
      num_bytes: size of its folder.
      dataset, fingerprint: the data set that it was trained on.
      tests: by target.
    """

    name: str
    purpose: str
    feature_keys: tuple[str, ...]
    architecture: str
    num_member: int
    num_param: int
    num_bytes: int
    dataset: str
    fingerprint: str
    tests: dict[str, TargetTest]


def summarize(run_dir: RunDirectory) -> ModelSummary:
    """Return a packaged model in short.

    Raises:
      RunDirectoryError: one of its files is missing or damaged.
    """
    record = read_finished_record(run_dir)
    config = config_from_record(record["config"])
    metrics = files.read_json(run_dir.test_metrics)
    coverage = pd.read_csv(run_dir.coverage)
    coverage = coverage[coverage["by"] == "all"].set_index("target_key")
    return ModelSummary(
        name=run_dir.name,
        purpose=purpose(run_dir),
        feature_keys=tuple(key for key in config.data.feature_keys if key not in config.data.hidden_keys),
        architecture=config.model.name,
        num_member=metrics["members"],
        num_param=factory.num_params(config.model, *run_config.model_shape(config)),
        num_bytes=sum(path.stat().st_size for path in run_dir.path.iterdir()),
        dataset=record["dataset"]["name"],
        fingerprint=record["dataset"]["fingerprint"],
        tests={key: _test(metrics["test"][key], coverage.loc[key]) for key in config.data.target_keys},
    )


def _test(metrics: dict, coverage: pd.Series) -> TargetTest:
    return TargetTest(
        metrics["physical"]["mae"],
        metrics["physical"]["rmse"],
        metrics["scaled"]["r2"],
        tuple(float(coverage[f"coverage_{level}"]) for level in LEVEL_NAMES),
        tuple(float(coverage[f"coverage_{level}_error"]) for level in LEVEL_NAMES),
    )


def read_card(run_dir: RunDirectory) -> str:
    """Return the text of the card of a packaged model."""
    return files.read_bytes(run_dir.card).decode()


def purpose(run_dir: RunDirectory) -> str:
    """Return the first paragraph of a card after its title, in one line."""
    _, _, text = read_card(run_dir).partition("\n")
    return " ".join(text.strip().split("\n\n")[0].split())


def describe(summary: ModelSummary) -> str:
    """Return a packaged model in lines of at most 80 characters."""
    size = (
        f"{summary.num_bytes / 1e6:.1f} MB, {summary.num_member} members of {summary.architecture} with "
        f"{summary.num_param:,} parameters each"
    )
    rows = [
        ("predicts", "; ".join(map(_describe_target, summary.tests))),
        ("features", " ".join(summary.feature_keys)),
        ("size", size),
        ("trained on", f"{summary.dataset}, fingerprint {summary.fingerprint[:16]}"),
        *((_short_name(key), _describe_test(key, test)) for key, test in summary.tests.items()),
    ]
    lines = [
        summary.name,
        *textwrap.wrap(summary.purpose, _WIDTH, initial_indent="  ", subsequent_indent="  "),
    ]
    for title, text in rows:
        lines += textwrap.wrap(f"{title:<12}{text}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 14)
    return "\n".join(lines)


def _short_name(key: str) -> str:
    return f"test: {quantities.short_name(key)}"


def _describe_target(key: str) -> str:
    return f"{quantities.short_name(key)} [{quantities.unit(key)}] ({key})"


def _describe_test(key: str, test: TargetTest) -> str:
    covered = " and ".join(
        f"{level} % intervals cover {100 * covered:.0f} %"
        for level, covered in zip(LEVEL_NAMES, test.coverage, strict=True)
    )
    return f"error {test.rmse:.3g} {quantities.unit(key)} (rms), R² {test.r2:.2f}; {covered}"
