"""Answers for observed member lists: a run directory and a list of stars in, a table and figures out.

python -m starjax.predict --run=RUN_DIR --catalog=members.csv --out=prediction
"""

import argparse
import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from absl.flags import argparse_flags
from astropy.table import Table

from starjax import answers, command, errors, files, physics, plots, prediction_files, trained
from starjax.data import catalog, observe, sky
from starjax.data.geometry import View
from starjax.data.observe import Members
from starjax.prediction_files import Prediction
from starjax.trained import Answer, Trained


class PredictError(errors.StarjaxError):
    """A prediction that cannot be made or written, with what to do."""


def predict(
    run: Trained, clusters: Mapping[str, Table], view: View, num_draws: int | None = None
) -> Prediction:
    """Answers for the member list of each cluster (see `catalog.read` and `catalog.clusters`).

    Args:
      view: what the user states; distance, centre and radial velocity, if any, hold for all clusters.

    Raises:
      PredictError: a list cannot be used, with the name of the cluster.
    """
    members = {}
    for name, table in clusters.items():
        try:
            members[name] = observe.features(table, run.feature_keys, view)
        except errors.StarjaxError as error:
            raise PredictError(f"cluster {name}: {error}") from error
    answer = run.answer({name: one.feature for name, one in members.items()}, num_draws)
    return Prediction(table_of(run, members, answer), members, answer)


def table_of(run: Trained, members: Mapping[str, Members], answer: Answer) -> pd.DataFrame:
    """One row a cluster.

    Returns:
      `cluster`; of each target its value in physical units under its own name, the bounds of its calibrated
      intervals (`_p16 _p84 _p2.5 _p97.5`), `_spread_members` and `_spread_draws`; `num_star`; `novelty`, `is_flagged` and
      `flags`, why; `distance_pc`, `radial_velocity_kms`; classical estimates with standard errors: `sigma_1d_kms`,
      `r_half_projected_pc`, `mass_virial` and so on; `notes` on the list; `run`, `epochs` and `version`.
    """
    rows = []
    for name, one in members.items():
        of_cluster = answer.table[answer.table["cluster"] == name].set_index("target_key")
        row = {"cluster": name}
        for key in run.target_keys:
            row |= {key: of_cluster.loc[key, "prediction_physical"]}
            bounds = [bound for pair in answers.PERCENTILES for bound in pair]
            row |= {f"{key}_{bound}": of_cluster.loc[key, f"{bound}_physical"] for bound in bounds}
            row |= {f"{key}_{s}": of_cluster.loc[key, s] for s in ("spread_members", "spread_draws")}
        row |= {what: of_cluster[what].iloc[0] for what in ("num_star", "novelty")}
        found = reasons(run, row | {"distance_pc": one.distance_pc})
        row |= {"is_flagged": bool(found), "flags": "; ".join(found)}
        row |= {"distance_pc": one.distance_pc, "radial_velocity_kms": one.radial_velocity_kms}
        rows.append(row | classical(one) | {"notes": " ".join(one.notes)})
    return pd.DataFrame(rows).assign(
        run=str(run.place.directory),
        epochs=", ".join(map(str, run.epochs)),
        version=importlib.metadata.version("starjax"),
    )


def reasons(run: Trained, row: Mapping) -> list[str]:
    """Why the answer for a cluster should not be believed as it stands; none where nothing speaks against it."""
    found = []
    if row["novelty"] > 1:
        found.append(f"unlike the clusters trained on: novelty {row['novelty']:.1f}, above 1")
    for key, what in (("num_star", "stars"), ("distance_pc", "pc away")):
        low, high = run.reference.range_of(key)
        if not low <= row[key] <= high:
            found.append(f"{row[key]:,.0f} {what}, trained on {low:,.0f} to {high:,.0f}")
    low_bound, high_bound = answers.PERCENTILES[0]
    for key in run.target_keys:
        low, high = run.reference.range_of(key)
        # A range that begins at zero ends there for all clusters.
        reaches_down = low > 0 and row[f"{key}_{low_bound}"] < low
        if reaches_down or row[key] < low or row[f"{key}_{high_bound}"] > high:
            name, unit = plots.LABELS_PLAIN.get(key, key), plots.unit(key)
            found.append(f"{name} reaches the end of what was trained on, {low:,.0f} to {high:,.0f} {unit}")
    return found


def classical(members: Members) -> dict[str, float]:
    """Classical estimates from the same stars, and their standard errors."""
    stars = members.table
    lon, lat = np.radians(stars["lon_deg"]), np.radians(stars["lat_deg"])
    place = stars["dist_pc"] * np.cos(lat) * np.sin(lon), stars["dist_pc"] * np.sin(lat)
    scale = sky.KMS_PER_PC_MAS_YR * stars["dist_pc"]
    moves = scale * stars["pm_lon_coslat_mas_yr"], scale * stars["pm_lat_mas_yr"]
    columns = (*place, *moves, stars["vy_error"], stars["vz_error"])
    estimates = physics.estimates(*(column.to_numpy() for column in columns))
    found = {}
    for name, mass in estimates.mass.items():
        found |= {f"mass_{name}": mass.value, f"mass_{name}_error": mass.standard_error}
    for name in ("sigma_1d_kms", "r_half_projected_pc"):
        found |= {
            name: getattr(estimates, name).value,
            f"{name}_error": getattr(estimates, name).standard_error,
        }
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = argparse_flags.ArgumentParser(
        prog="python -m starjax.predict",
        description="Age and mass of observed clusters, by a finished run. What is not given here is taken from the list.",
    )
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--catalog", required=True, help="member list: CSV, ECSV, Parquet, FITS or VOTable")
    parser.add_argument("--out", default="prediction", help="folder to write to [%(default)s]")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the prediction that the folder holds"
    )
    parser.add_argument(
        "--columns", default="", help="names of the list's columns where they differ: ra=RAJ2000,dec=DEJ2000"
    )
    parser.add_argument("--centre", help="ra,dec of the cluster [deg]")
    parser.add_argument("--distance_pc", type=float, help="distance of the cluster")
    parser.add_argument("--radial_velocity_kms", type=float, help="radial velocity of the cluster")
    parser.add_argument(
        "--parallax_zero_point_mas",
        type=float,
        default=0.0,
        help="what parallaxes are too large by [%(default)s]",
    )
    parser.add_argument(
        "--extinction_v_mag", type=float, default=0.0, help="A_V in front of the cluster [%(default)s]"
    )
    parser.add_argument("--keep_outliers", action="store_true", help="keep stars that move unlike the rest")
    parser.add_argument(
        "--num_draws", type=int, help="samples of a cluster that has more stars than a sample holds"
    )
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    view = View(
        centre=_centre(arguments.centre),
        distance_pc=arguments.distance_pc,
        radial_velocity_kms=arguments.radial_velocity_kms,
        parallax_zero_point_mas=arguments.parallax_zero_point_mas,
        extinction_v_mag=arguments.extinction_v_mag,
        clip=not arguments.keep_outliers,
    )
    out = Path(arguments.out)
    if prediction_files.is_there(out) and not arguments.overwrite:
        raise PredictError(f"{out} holds a prediction: name another --out, or give --overwrite")
    if arguments.num_draws is not None and arguments.num_draws < 1:
        raise PredictError(f"--num_draws={arguments.num_draws} should be at least 1")
    table = catalog.read(Path(arguments.catalog), _columns(arguments.columns))
    run = trained.load(arguments.run)
    found = predict(run, catalog.clusters(table), view, arguments.num_draws)
    named = found.table.assign(catalog=arguments.catalog, catalog_sha256=files.sha256(arguments.catalog))
    found = dataclasses.replace(found, table=named)
    written = prediction_files.write(found, run, out)
    prediction_files.report(found, run)
    print(f"wrote {out} with {', '.join(path.name for path in written)}")


def _columns(text: str) -> dict[str, str]:
    pairs = text.split(",") if text else []
    bad = [pair for pair in pairs if pair.count("=") != 1]
    if bad:
        raise PredictError(f"--columns={text}: {bad[0]} should be OURS=THEIRS, such as ra=RAJ2000")
    return dict(pair.split("=") for pair in pairs)


def _centre(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        ra, dec = map(float, text.split(","))
    except ValueError as error:
        raise PredictError(f"--centre={text} should be ra,dec in degrees") from error
    return ra, dec


if __name__ == "__main__":
    command.run(main, flags_parser=parse)
