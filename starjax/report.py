"""A finished run as one HTML page that needs nothing beside it.

python -m starjax.report --run=RUN_DIR
"""

import argparse
import base64
import dataclasses
import importlib.resources
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
import markdown_it
import markupsafe
import numpy as np
import pandas as pd
from flax.traverse_util import flatten_dict

from starjax import calibration, command, errors, files, finished, novelty, outcome, plots
from starjax import coverage as coverage_lib
from starjax.data import dataset
from starjax.experiment import Experiment

# The figures of a run, and what they show.
CAPTIONS = {
    "predicted-against-true": "Predicted against true, test samples.",
    "errors": "Errors of the test snapshots, by what the clusters are like.",
    "calibration": "How often the truth of a test snapshot lies below each predicted quantile, and in calibrated intervals.",
    "training-curves": "Loss by epoch.",
}
# What a bin is of, as people call it.
BINNED_BY = {"all": "all", "num_star": "stars", "distance_pc": "distance [pc]", "time_myr": "time [Myr]"}


class ReportError(errors.StarjaxError):
    """A run of which no page can be made."""


@dataclasses.dataclass(frozen=True)
class HtmlTable:
    """Text in rows and columns, and what they are."""

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
    """A part of the page, called `key` in links to it."""

    key: str
    title: str
    text: str = ""
    tables: Sequence[HtmlTable] = ()
    figures: Sequence[Figure] = ()
    card: str | markupsafe.Markup = ""


def page(place: Experiment) -> str:
    """The page of a finished run.

    Raises:
      ReportError, ExperimentError: the directory holds no finished run, or a file of it is missing or damaged.
    """
    record = finished.read(place)
    try:
        tested = files.read_json(place.test_metrics)
        coverage, history = pd.read_csv(place.coverage), pd.read_csv(place.metrics)
        sections = [
            _results(place, tested),
            _calibration(place, coverage),
            _training(place, history),
            _config(record),
            _data_card(record, novelty.load(place.training_set)),
        ]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, errors.StarjaxError):
            raise
        raise ReportError(f"{place.directory}: {error}: restore the file, or train the run again") from error
    config = record["config"]
    summary = f"{config['model']['name']}, trained on the data set {record['dataset']['name']}, starjax {record['versions']['starjax']}"
    source = importlib.resources.files("starjax").joinpath("report.html").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(source)
    return template.render(name=place.name, summary=summary, sections=sections)


def _results(place: Experiment, tested: dict) -> Section:
    rows = [
        [
            plots.plain_label(key),
            plots.unit(key) if units == "physical" else "scaled",
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
    if place.members.exists():
        of_members = pd.read_csv(place.members)
        cells = outcome.members(of_members, list(tested["test"]))
        tables.append(HtmlTable(*cells, outcome.members_title(of_members)))
    return Section("results", "Results", text, tables, _figures(place, "predicted-against-true", "errors"))


def _calibration(place: Experiment, coverage: pd.DataFrame) -> Section:
    names = [f"{100 * level:.0f}" for level in calibration.LEVELS]
    of_levels = [title for name in names for title in (f"{name} % hold", "width")]
    columns = ["target", "by", "range", "snapshots", "runs", *of_levels, "MAE", "CRPS"]
    rows = []
    for row in coverage.to_dict("records"):
        is_told = row["by"].startswith(coverage_lib.TOLD)
        of = f"{'predicted' if is_told else 'true'} {_titled(row['by'].removeprefix(coverage_lib.TOLD))}"
        by = BINNED_BY.get(row["by"], of)
        ends = [f"{row[end]:z,.0f}" for end in ("low", "high") if not np.isnan(row[end])]
        unit = plots.unit(row["target_key"])
        cells = [
            plots.plain_label(row["target_key"]),
            by,
            " to ".join(dict.fromkeys(ends)),
            f"{row['num_snapshot']}",
            f"{row['num_run']}",
        ]
        for name in names:
            cells.append(f"{row[f'coverage_{name}']:.3f} ± {row[f'coverage_{name}_error']:.3f}")
            cells.append(f"{row[f'width_{name}']:,.1f} {unit}")
        rows.append([*cells, f"{row['mae']:,.1f} {unit}", f"{row['crps_scaled']:.3f}"])
    text = (
        "How often calibrated intervals hold the truth of a test snapshot, ± by how much such a share scatters about its level "
        "from one set of runs to another, and how wide they are; MAE is that of medians, CRPS in scaled units. In bins of a truth the lowest and "
        "highest values are held less often by any model, since what it predicts of them lies nearer to the middle."
    )
    return Section(
        "calibration", "Calibration", text, [HtmlTable(columns, rows)], _figures(place, "calibration")
    )


def _training(place: Experiment, history: pd.DataFrame) -> Section:
    shown = ["member", "epoch", "learning_rate", "train_loss", "val_loss"]
    best = history.loc[history.groupby("member")["val_loss"].idxmin()]
    rows = [[f"{row[name]:.6g}" for name in shown] for row in best.to_dict("records")]
    text = f"{history['epoch'].max()} epochs; the best of each member:"
    return Section("training", "Training", text, [HtmlTable(shown, rows)], _figures(place, "training-curves"))


def _config(record: dict) -> Section:
    fields = flatten_dict(record["config"], sep=".")
    rows = [[f"config.{name}", json.dumps(value)] for name, value in fields.items()]
    rows += [[f"version of {name}", version] for name, version in record["versions"].items()]
    return Section("config", "Config", tables=[HtmlTable(("field", "value"), rows)])


def _data_card(record: dict, reference: novelty.Reference) -> Section:
    """What the data set says of itself, where it still is, and the ranges that were trained on."""
    rows = [
        [_titled(key), f"{low:z,.0f}", f"{high:z,.0f}"]
        for key, (low, high) in zip(reference.range_keys, reference.ranges, strict=True)
    ]
    text = f"Data set {record['dataset']['name']}, fingerprint {record['dataset']['fingerprint'][:16]}…; the clusters learned from have:"
    directory = dataset.directory(record["dataset"]["name"])
    readme, made_by = directory / "README.md", directory / dataset.CONFIG_FILE
    card = ""
    if readme.exists():
        # Neither HTML nor images of its own: the page needs nothing beside it.
        reader = markdown_it.MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
        card = markupsafe.Markup(reader.render(readme.read_text(encoding="utf-8")))
    elif made_by.exists():
        card = markupsafe.Markup("<pre>{}</pre>").format(made_by.read_text(encoding="utf-8"))
    return Section("data", "Data card", text, [HtmlTable(("", "least", "most"), rows)], card=card)


def _titled(key: str) -> str:
    """What a range is of, with its unit."""
    return BINNED_BY.get(key) or f"{plots.plain_label(key)} [{plots.unit(key)}]"


def _figures(place: Experiment, *names: str) -> list[Figure]:
    return [
        Figure(base64.b64encode((place.figures / f"{name}.png").read_bytes()).decode(), CAPTIONS[name])
        for name in names
    ]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = command.parser("report", "Makes one HTML page of a finished run.")
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--out", help="the page to write [default: report.html in the run directory]")
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    place = Experiment(Path(arguments.run))
    content = page(place)
    out = Path(arguments.out) if arguments.out else place.directory / "report.html"
    with files.written_whole(out) as temporary:
        temporary.write_text(content, encoding="utf-8")
    print(f"wrote {out}")


if __name__ == "__main__":
    command.run(main, flags_parser=parse)
