"""Answers for observed member lists: a run directory and a list of stars in, a table and figures out.

python -m starjax.predict --run=RUN_DIR --catalog=members.csv --out=prediction
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from starjax import command, errors, prediction_files, trained
from starjax.data.geometry import View


class PredictError(errors.StarjaxError):
    """A prediction that cannot be made or written, with what to do."""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = command.parser(
        "predict",
        "Age and mass of observed clusters. What is not given is taken from the list.",
        usage="--run=RUN_DIR --catalog=LIST [option ...]",
        epilog="Columns, as Gaia has them: ra dec parallax pmra pmdec radial_velocity phot_g_mean_mag bp_rp, and their "
        "_error; log_L_L_sol; cluster.",
    )
    parser.add_argument("--run", metavar="RUN_DIR", required=True, help="a finished run")
    parser.add_argument(
        "--catalog", required=True, metavar="LIST", help="CSV, ECSV, Parquet, FITS, VOTable; or 'example'"
    )
    parser.add_argument("--out", default="prediction", help="folder to write to [%(default)s]")
    parser.add_argument("--overwrite", action="store_true", help="replace the prediction that is there")
    parser.add_argument(
        "--columns",
        metavar="NAMES",
        default="",
        help="its own, if others: ra=RAJ2000,dec=DEJ2000",
    )
    parser.add_argument("--centre", metavar="RA,DEC", help="of the cluster [deg]")
    parser.add_argument("--distance_pc", metavar="PC", type=float, help="distance of the cluster")
    parser.add_argument(
        "--radial_velocity_kms", metavar="KMS", type=float, help="radial velocity of the cluster"
    )
    parser.add_argument(
        "--parallax_zero_point_mas",
        metavar="P",
        type=float,
        default=0.0,
        help="what parallaxes are too large by [%(default)s]",
    )
    parser.add_argument(
        "--extinction_v_mag",
        metavar="MAG",
        type=float,
        default=0.0,
        help="A_V in front of the cluster [%(default)s]",
    )
    parser.add_argument("--keep_outliers", action="store_true", help="keep stars that move unlike the rest")
    parser.add_argument(
        "--num_draws",
        metavar="N",
        type=int,
        default=trained.NUM_DRAWS,
        help="samples of a cluster of many stars [%(default)s]",
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
    # Before the wait for an answer that could not be written.
    prediction_files.check_free(out, () if arguments.overwrite else prediction_files.NAMES)
    run = trained.load(arguments.run)
    found = run.predict(arguments.catalog, view, arguments.num_draws, _columns(arguments.columns))
    written = prediction_files.write(found, run, out, overwrite=arguments.overwrite)
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
