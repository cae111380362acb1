"""The report of a finished run: one self-contained HTML page.

starjax report --run=RUN_DIR
"""

import base64
import dataclasses
import importlib.resources
import json
from collections.abc import Sequence

import jinja2
import markdown_it
import markupsafe
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict

from starjax import errors, quantities
from starjax.datasets.dataset import CONFIG_FILE
from starjax.datasets.load import dataset_directory
from starjax.evaluation import out_of_distribution
from starjax.evaluation.calibration import LEVEL_NAMES
from starjax.evaluation.coverage import PREDICTED
from starjax.io import files
from starjax.reports import console_summary
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record

# Captions of the figures, by file name.
CAPTIONS = {
    "predicted-against-true": "Predicted against true values of the test samples.",
    "errors": "Errors of the test snapshots against properties of the clusters.",
    "calibration": "Fraction of test snapshots whose true value lies below each predicted quantile, and in "
    "the calibrated intervals.",
    "joint-calibration": "All targets together: fraction of test snapshots whose true values lie in the "
    "ellipse that contains as large a fraction of the samples of the posterior, or in such a ball about a "
    "random point (TARP). p is the probability of a deviation as large as the largest one if the posterior "
    "is calibrated.",
    "training-curves": "Loss by epoch.",
}


class ReportError(errors.StarjaxError):
    """A run whose files do not allow a report."""


@dataclasses.dataclass(frozen=True)
class HtmlTable:
    """A table of text: titles of columns, rows of cells, and a caption."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Figure:
    """A PNG in base64, and its caption."""

    content: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the page; `key` is its anchor, and `card` preformatted content at its end."""

    key: str
    title: str
    text: str = ""
    tables: Sequence[HtmlTable] = ()
    figures: Sequence[Figure] = ()
    card: str | markupsafe.Markup = ""


def html_page(run_dir: RunDirectory) -> str:
    """Return the page of a finished run.

    Raises:
      RunDirectoryError, ReportError: the directory holds no finished run, or one of its files is missing or
        damaged.
    """
    record = read_finished_record(run_dir)
    try:
        tested = files.read_json(run_dir.test_metrics)
        coverage, metrics = pd.read_csv(run_dir.coverage), pd.read_csv(run_dir.metrics)
        sections = [
            _results(run_dir, tested),
            _calibration(run_dir, coverage, tested.get("joint")),
            _training(run_dir, metrics),
            _config(record),
            _data_card(record, out_of_distribution.load(run_dir.training_set)),
        ]
    except (OSError, ValueError, KeyError) as error:
        # They are ValueErrors as well, and name file and remedy already.
        if isinstance(error, errors.StarjaxError):
            raise
        raise ReportError(f"{run_dir.path}: {error}: restore the file, or train the run again") from error
    config = record["config"]
    summary = (
        f"{config['model']['name']}, trained on the data set {record['dataset']['name']}, starjax "
        f"{record['versions']['starjax']}"
    )
    source = importlib.resources.files("starjax.reports").joinpath("report.html").read_text(encoding="utf-8")
    # Escaped, since names of runs and data sets may contain markup; strict, so that no gap goes unnoticed.
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    return template.render(name=run_dir.name, summary=summary, sections=sections)


def _results(run_dir: RunDirectory, tested: dict) -> Section:
    """Return the section of test metrics."""
    rows = [
        [
            quantities.short_name(key),
            quantities.unit(key) if units == "physical" else "scaled",
            *(f"{values[m]:.3f}" for m in ("mae", "rmse", "r2")),
        ]
        for key, by_units in tested["test"].items()
        for units, values in by_units.items()
    ]
    num_member = tested["members"]
    text = f"Test samples; best epoch {tested['best_epoch']} of {tested['epochs']}."
    if num_member > 1:
        text = f"Test samples; mean of {num_member} members, each at its best of {tested['epochs']} epochs."
    tables = [HtmlTable(("target", "units", "MAE", "RMSE", "R²"), rows)]
    if run_dir.members.exists():
        members = pd.read_csv(run_dir.members)
        cells = console_summary.members_cells(members, list(tested["test"]))
        tables.append(HtmlTable(*cells, console_summary.members_title(members)))
    return Section("results", "Results", text, tables, _figures(run_dir, "predicted-against-true", "errors"))


def _calibration(run_dir: RunDirectory, coverage: pd.DataFrame, joint: dict | None) -> Section:
    """Return the section of coverage; `joint` is the test of all targets together, None in earlier runs."""
    level_columns = [title for name in LEVEL_NAMES for title in (f"coverage at {name} %", "width")]
    columns = ["target", "by", "range", "snapshots", "simulations", *level_columns, "MAE", "CRPS"]
    rows = []
    for row in coverage.to_dict("records"):
        # The row of all snapshots has no range; a bin of equal values has one end.
        ends = [f"{row[end]:z,.0f}" for end in ("low", "high") if not np.isnan(row[end])]
        unit = quantities.unit(row["target_key"])
        cells = [
            quantities.short_name(row["target_key"]),
            _binned_by(row["by"]),
            " to ".join(dict.fromkeys(ends)),
            f"{row['num_snapshot']}",
            f"{row['num_simulation']}",
        ]
        for name in LEVEL_NAMES:
            cells.append(f"{row[f'coverage_{name}']:.3f} ± {row[f'coverage_{name}_error']:.3f}")
            cells.append(f"{row[f'width_{name}']:,.1f} {unit}")
        rows.append([*cells, f"{row['mae']:,.1f} {unit}", f"{row['crps_scaled']:.3f}"])
    text = (
        "Coverage of the calibrated intervals on test snapshots, ± its expected scatter about the nominal "
        "level over sets of calibration and test simulations, and median width of the intervals. MAE is that "
        "of the medians, CRPS is in scaled units. Binned by true value, coverage is below nominal in the "
        "extreme bins for any model (regression to the mean)."
    )
    tables, figures = [HtmlTable(columns, rows)], ["calibration"]
    if joint:
        tables.append(_joint_table(joint))
        figures.append("joint-calibration")
    return Section("calibration", "Calibration", text, tables, _figures(run_dir, *figures))


def _joint_table(joint: dict) -> HtmlTable:
    """Return the table of the tests of the joint posterior."""
    columns = ["test", *(f"coverage at {name} %" for name in LEVEL_NAMES), "largest deviation", "p"]
    rows = []
    for test, values in joint.items():
        covered = [console_summary.joint_cell(values, name) for name in LEVEL_NAMES]
        rows.append([test, *covered, f"{values['largest_deviation']:+.1%}", f"{values['p_value']:.2g}"])
    return HtmlTable(columns, rows, "all targets together")


def _training(run_dir: RunDirectory, metrics: pd.DataFrame) -> Section:
    """Return the section of training, with the best epoch of each member."""
    shown = ["member", "epoch", "learning_rate", "train_loss", "val_loss"]
    best = metrics.loc[metrics.groupby("member")["val_loss"].idxmin()]
    rows = [[f"{row[name]:.6g}" for name in shown] for row in best.to_dict("records")]
    text = f"{metrics['epoch'].max()} epochs; the best of each member:"
    return Section(
        "training", "Training", text, [HtmlTable(shown, rows)], _figures(run_dir, "training-curves")
    )


def _config(record: dict) -> Section:
    """Return the section of config fields and package versions."""
    fields = flatten_dict(record["config"], sep=".")
    rows = [[f"config.{name}", json.dumps(value)] for name, value in fields.items()]
    rows += [[f"version of {name}", version] for name, version in record["versions"].items()]
    return Section("config", "Config", tables=[HtmlTable(("field", "value"), rows)])


def _data_card(record: dict, reference: out_of_distribution.TrainingReference) -> Section:
    """Return the section of the data set: its ranges in training, and its README if it still exists."""
    rows = [
        [_titled(key), f"{low:z,.0f}", f"{high:z,.0f}"]
        for key, (low, high) in zip(reference.range_keys, reference.ranges, strict=True)
    ]
    text = (
        f"Data set {record['dataset']['name']}, fingerprint {record['dataset']['fingerprint'][:16]}…; ranges "
        "of the training clusters:"
    )
    # The run may have been moved to a machine without it.
    directory = dataset_directory(record["dataset"]["name"])
    readme, build_config = directory / "README.md", directory / CONFIG_FILE
    card = ""
    if readme.exists():
        # HTML and images could load something from elsewhere.
        reader = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        card = markupsafe.Markup(reader.render(readme.read_text(encoding="utf-8")))
    elif build_config.exists():
        card = markupsafe.Markup("<pre>{}</pre>").format(build_config.read_text(encoding="utf-8"))
    return Section("data", "Data card", text, [HtmlTable(("", "minimum", "maximum"), rows)], card=card)


def _titled(key: str) -> str:
    """Return the name of a quantity in tables, with its unit."""
    known = quantities.get(key)
    return f"{quantities.short_name(key)} [{known.unit}]" if known.unit else quantities.short_name(key)


def _binned_by(by: str) -> str:
    """Return the name of a property by which coverage is binned."""
    key = by.removeprefix(PREDICTED)
    if quantities.get(key).kind != "target" or by == "all":
        return _titled(by)
    return f"{'true' if by == key else 'predicted'} {_titled(key)}"


def _figures(run_dir: RunDirectory, *names: str) -> list[Figure]:
    """Return figures of the run directory."""
    return [
        Figure(base64.b64encode((run_dir.figures / f"{name}.png").read_bytes()).decode(), CAPTIONS[name])
        for name in names
    ]
