"""Compare the predictions of a model for observed clusters with their ages and masses in the literature.

    python -m benchmarks.real_sky --lists=members.csv.gz --literature=literature.csv --run=DIR --out=FOLDER

The lists are a member catalogue of all clusters, with a column `cluster`. The literature is a CSV file with a
row per cluster: `cluster`, `log_age_yr`, `mass_msun` and its error `mass_error_msun`, the extinction
`extinction_v_mag` and its error, which the model is told, and `is_age_placeholder`, True for ages that are
not measured. All but `cluster` may be absent or empty.

The figures of a set of clusters: number; bias, the median of log10(predicted / literature); scatter about it,
1.48 times the median absolute deviation; Pearson's correlation of the logarithms; and the fraction of 68 and
95 % intervals that cover the literature's value, after its error is added in quadrature to each side.
"""

import argparse
import collections
import itertools
import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import starjax
from benchmarks import real_sky_figure, report
from starjax import errors, quantities
from starjax.catalogs.stated.view import View
from starjax.evaluation.calibration import LEVEL_NAMES, LEVELS, PERCENTILES
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.inference.prediction_table import Prediction
from starjax.io import files, tables
from starjax.plotting import style
from starjax.runtime import devices

# The model's targets, by what the tables here call them.
TARGETS = {"age": "time", "mass": quantities.MASS}
# Of Gaia EDR3 and DR3 at the magnitudes of most members (Lindegren et al. 2021, A&A 649, A4, figure 5).
ZERO_POINT_MAS = -0.04
# Edges of the bins of age [Myr].
AGE_EDGES = (0, 20, 60, 180, 350, np.inf)
# Smaller predictions count as this [Myr, Msun], so that they have a logarithm.
FLOOR = 0.1


class RealSkyError(errors.StarjaxError):
    """A table that cannot be compared."""


def read_literature(path: Path) -> pd.DataFrame:
    """Return `age` [Myr], `mass` [Msun], `mass_error` [dex] and extinction [mag] by cluster.

    They are NaN where they are not known, and for ages that are placeholders.
    """
    table = pd.read_csv(path)
    if "cluster" not in table or table["cluster"].duplicated().any():
        raise RealSkyError(f"{path} should have a column cluster, with each name once")
    table = table.set_index(table["cluster"].astype(str))

    def column(name: str) -> pd.Series:
        return table[name] if name in table else pd.Series(np.nan, table.index)

    is_placeholder = column("is_age_placeholder").astype(str).str.lower().isin(("true", "1", "1.0"))
    mass = column("mass_msun").where(lambda mass: mass > 0)
    return pd.DataFrame(
        {
            "age": (10 ** (column("log_age_yr") - 6)).mask(is_placeholder),
            "mass": mass,
            "mass_error": (column("mass_error_msun") / mass / np.log(10)).fillna(0.0),
            "extinction_v_mag": column("extinction_v_mag"),
            # Fits have errors: an error of zero stands for one that is not known.
            "extinction_v_error_mag": column("extinction_v_error_mag").where(lambda error: error > 0),
        }
    )


def literature_views(literature: pd.DataFrame) -> dict[str, View]:
    """Return the extinction of each cluster as a view; the rest is estimated from the lists."""
    columns = literature[["extinction_v_mag", "extinction_v_error_mag"]]
    return {
        name: View(parallax_zero_point_mas=ZERO_POINT_MAS, **row.dropna()) for name, row in columns.iterrows()
    }


def compare(prediction: Prediction, literature: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cluster with predictions, the literature's values (`_literature`), and flags."""
    table = prediction.table.set_index("cluster")
    endings = ("", *(f"_{bound}" for bounds in PERCENTILES for bound in bounds))
    columns = {f"{name}{end}": f"{key}{end}" for name, key in TARGETS.items() for end in endings}
    rows = table[["distance_pc", "num_star"]].join(
        table.reindex(columns=list(columns.values())).set_axis(list(columns), axis=1)
    )
    rows = rows.join(literature.rename(columns=lambda name: f"{name}_literature"))
    return rows.join(table[["novelty", "is_flagged", "flag_reasons"]]).reset_index()


def log_of(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Return the logarithm (n,) of a column [dex]."""
    return np.log10(np.maximum(rows[column].to_numpy(float), FLOOR))


def is_covered(rows: pd.DataFrame, name: str, level: int, error_dex) -> np.ndarray:
    """Return whether intervals cover the literature's value (n,), given its error (a number or (n,) [dex]).

    Args:
      level: 0 for the 68 % interval, 1 for the 95 % interval.
    """
    low, high = PERCENTILES[level]
    middle = log_of(rows, name)
    deviation = log_of(rows, f"{name}_literature") - middle
    added = statistics.NormalDist().inv_cdf((1 + LEVELS[level]) / 2) * np.asarray(error_dex)
    below = np.hypot(middle - log_of(rows, f"{name}_{low}"), added)
    above = np.hypot(log_of(rows, f"{name}_{high}") - middle, added)
    return (-below <= deviation) & (deviation <= above)


def scores(rows: pd.DataFrame, name: str, error_dex) -> dict[str, float | None]:
    """Return the figures of a set of clusters (see the top of this file); None where there are too few.

    Args:
      rows: as from `compare`, with a value of the literature in each.
    """
    found: dict[str, float | None] = {"n": len(rows)}
    columns = ("bias", "scatter", "correlation", *(f"covered_{level}" for level in LEVEL_NAMES))
    if len(rows) < 3:
        return found | dict.fromkeys(columns)
    predicted, truth = log_of(rows, name), log_of(rows, f"{name}_literature")
    values = (
        *report.bias_and_scatter(predicted - truth),
        np.corrcoef(predicted, truth)[0, 1],
        *(is_covered(rows, name, level, error_dex).mean() for level in range(len(LEVELS))),
    )
    return found | {column: round(float(x), 4) for column, x in zip(columns, values, strict=True)}


def subsets(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the sets of clusters that are summarized, by name, as masks; ages are the literature's."""
    age, extinction = rows["age_literature"], rows["extinction_v_mag_literature"]
    is_usual, is_clear, is_near = age.between(20, 1000), extinction < 0.6, rows["distance_pc"] < 500
    found = {
        "all": pd.Series(True, rows.index),
        "20 to 1,000 Myr": is_usual,
        "A_V below 0.6": is_clear,
        "nearer than 500 pc": is_near,
        "more than 150 stars": rows["num_star"] > 150,
        "20 to 1,000 Myr, A_V below 0.6, nearer than 500 pc": is_usual & is_clear & is_near,
    }
    for low, high in itertools.pairwise(AGE_EDGES):
        name = f"{low} to {high} Myr" if np.isfinite(high) else f"above {low} Myr"
        found[name] = age.between(low, high, inclusive="left")
    return found


def summarize(rows: pd.DataFrame, age_error_dex: float) -> list[dict[str, Any]]:
    """Return the figures of ages, and then of masses, of each of `subsets`."""
    found = []
    for name in TARGETS:
        is_known = rows[f"{name}_literature"].notna() & rows[name].notna()
        for subset, mask in subsets(rows).items():
            known = rows[mask & is_known]
            error_dex = age_error_dex if name == "age" else known["mass_error_literature"].to_numpy()
            found.append({"of": name, "clusters": subset} | scores(known, name, error_dex))
    return found


def is_in_training_range(rows: pd.DataFrame, reference: TrainingReference) -> pd.Series:
    """Return whether age and mass of the literature are known, and within those of training."""
    inside = (rows[f"{name}_literature"].between(*reference.range_of(key)) for name, key in TARGETS.items())
    return next(inside) & next(inside)


def count_flags(rows: pd.DataFrame) -> dict[str, Any]:
    """Return number and fraction of flagged clusters, and how often each reason occurs, without numbers."""
    reasons = collections.Counter(
        re.sub(r"\d+([.,]\d+)*", "#", reason)
        for flags in rows["flag_reasons"]
        for reason in filter(None, flags.split("; "))
    )
    fraction = round(float(rows["is_flagged"].mean()), 4) if len(rows) else None
    return {"n": len(rows), "flagged": fraction, "reasons": dict(reasons.most_common())}


def print_tables(rows: pd.DataFrame, summary: list[dict], flags: Mapping[str, dict], title: str) -> None:
    """Print a line per cluster, the summary, and the reasons of flags."""
    report.show(title, [_short(row) for row in rows.to_dict("records")], None)
    report.show(f"{title}: summary [dex]", summary, None)
    for name, found in flags.items():
        print(f"flagged, {name}: {found['flagged']:.0%} of {found['n']}" if found["n"] else f"{name}: none")
        for reason, number in found["reasons"].items():
            print(f"  {number:3d} {reason}")


def _short(row: dict) -> dict:
    """Return what a line of the terminal shows of a cluster."""
    low, high = PERCENTILES[0]
    found = {"cluster": row["cluster"], "distance": round(row["distance_pc"]), "stars": row["num_star"]}
    for name in TARGETS:
        bounds = f"{row[f'{name}_{low}']:,.0f} to {row[f'{name}_{high}']:,.0f}"
        found[name] = f"{row[name]:,.0f} ({bounds})"
        known = row[f"{name}_literature"]
        found[f"literature {name}"] = f"{known:,.0f}" if known > 0 else "–"
    return found | {"novelty": f"{row['novelty']:.2f}", "flagged": "yes" if row["is_flagged"] else "no"}


def run_command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lists", required=True, help="member catalogue of all clusters")
    parser.add_argument("--literature", required=True, help="CSV file with a row per cluster")
    parser.add_argument("--run", default="gaia", help="run directory, or a packaged model [%(default)s]")
    parser.add_argument("--age_error", type=float, default=0.12, help="of the literature, dex [%(default)s]")
    parser.add_argument("--out", help="folder for real_sky.json, real_sky.csv and real_sky.png")
    arguments = parser.parse_args()
    devices.use_cores(64)
    literature = read_literature(Path(arguments.literature))
    table, digest = tables.load_table(Path(arguments.lists))
    predictor = starjax.load(arguments.run)
    prediction = predictor.predict(table, views=literature_views(literature))
    rows = compare(prediction, literature)
    summary = summarize(rows, arguments.age_error)
    is_inside = is_in_training_range(rows, predictor.reference)
    flags = {"all": count_flags(rows), "within the training range": count_flags(rows[is_inside])}
    title = f"{predictor.run_dir.name} on {Path(arguments.lists).name}"
    print_tables(rows, summary, flags, title)
    for name, reason in prediction.refused.items():
        print(f"{name}, no prediction: {reason}")
    if prediction.unmatched:
        print(f"in the literature, but not in the lists: {', '.join(prediction.unmatched)}")
    if arguments.out:
        out = Path(arguments.out)
        content = {"title": title, "machine": report.machine(), "lists_sha256": digest}
        content |= {
            "run_sha256": prediction.table["run_sha256"].iloc[0],
            "age_error_dex": arguments.age_error,
        }
        content |= {"summary": summary, "flags": flags, "refused": prediction.refused}
        write_files(out, rows, content)


def write_files(out: Path, rows: pd.DataFrame, content: dict) -> None:
    """Write the rows as CSV and, with the rest of the content, as JSON; and the figure."""
    # pandas writes NaN as null, which JSON has.
    as_json = {"rows": json.loads(rows.to_json(orient="records"))}
    files.write_json(out / "real_sky.json", content | as_json)
    with files.atomic_write(out / "real_sky.csv") as temporary:
        rows.to_csv(temporary, index=False)
    figure = real_sky_figure.predicted_against_literature(rows, content["age_error_dex"])
    style.save_figure(figure, out / "real_sky.png")


if __name__ == "__main__":
    run_command()
