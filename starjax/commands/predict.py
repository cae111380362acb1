"""The command `starjax predict`: age and mass of observed clusters from their member catalogues."""

import argparse
from pathlib import Path

from starjax import errors
from starjax.commands import cli

# The packaged model that is used unless a run is named.
DEFAULT_MODEL = "gaia"
MAX_FIGURES_NAMED = 5
# As `prediction_files.FIGURES` and `prediction_summary.NOTES`, which import jax.
FIGURES, NOTES = ("none", "flagged", "all"), ("short", "full")


class PredictError(errors.StarjaxError):
    """An option whose value cannot be read."""


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "predict",
        "Predict age and mass of clusters. What is not given is estimated from the stars.",
        usage="[--catalog=]FILE ... [--run=NAME] [option ...]",
        epilog="Columns, named as in Gaia or VizieR: ra dec parallax pmra pmdec radial_velocity "
        "phot_g_mean_mag bp_rp membership_probability cluster, and errors such as pmra_error.",
    )
    add = options.add_argument
    add(
        "--run",
        metavar="NAME",
        type=cli.path,
        help=f"packaged model, or directory of a run [{DEFAULT_MODEL}]",
    )
    add("--num_draws", metavar="N", type=int, help="samples per cluster with many stars [16]")
    _add_stars(options.add_argument_group("stars"))
    _add_clusters(options.add_argument_group("clusters, where something is known of them"))
    _add_output(options.add_argument_group("output"))
    return options


def _add_stars(group) -> None:
    """Add the options on the catalogue."""
    # The same argument with and without the name of the option; the help shows it once.
    catalog = group.add_mutually_exclusive_group()
    catalog.add_argument(
        "catalog",
        metavar="FILE",
        type=cli.path,
        nargs="*",
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    catalog.add_argument(
        "--catalog",
        metavar="FILE",
        type=cli.path,
        nargs="+",
        help="tables, or a folder of them; or 'example'",
    )
    add = group.add_argument
    add("--columns", metavar="NAMES", default="", help="names in the catalogue: ra=alpha,dec=delta")
    add(
        "--min_probability",
        metavar="P",
        type=float,
        default=0.5,
        help="of membership; stars below are left out [%(default)s]",
    )
    add("--keep_outliers", action="store_true", help="keep stars with deviating motions or distances")
    add(
        "--parallax_zero_point_mas",
        metavar="P",
        type=_zero_point,
        default=0.0,
        help="of all parallaxes [0]; lindegren2021: of each",
    )


def _add_clusters(group) -> None:
    """Add the options on what is known of clusters."""
    add = group.add_argument
    add("--clusters", metavar="FILE", type=cli.path, help="table with a row per cluster, of what follows")
    add("--centre", metavar="RA,DEC", help="centre of the cluster, in degrees")
    add("--distance_pc", metavar="D", type=float, help="distance")
    add("--distance_error_pc", metavar="E", type=float, help="error of that distance [0]")
    add("--radial_velocity_kms", metavar="V", type=float, help="radial velocity")
    add("--extinction_v_mag", metavar="A", type=float, help="extinction A_V [0, and flagged in the disc]")
    add("--extinction_v_error_mag", metavar="E", type=float, help="error of the extinction [0.1]")
    add("--extinction_map", metavar="NAME", help="gives A_V: bayestar2019, edenhofer2023 or sfd")
    add("--metallicity", metavar="M", type=float, help="[Fe/H]; models do not see it")


def _add_output(group) -> None:
    """Add the options on what is written and printed."""
    add = group.add_argument
    add("--out", metavar="DIR", type=cli.path, default="prediction", help="folder to write to [%(default)s]")
    add("--overwrite", action="store_true", help="replace an earlier prediction there")
    add(
        "--num_samples",
        metavar="N",
        type=int,
        default=1000,
        help="samples of each posterior, or 0 [%(default)s]",
    )
    add("--figures", metavar="WHICH", choices=FIGURES, help="%(choices)s [all, of up to 100 clusters]")
    add("--notes", metavar="KIND", choices=NOTES, help="%(choices)s [full, of up to 10 clusters]")


def main(arguments: argparse.Namespace) -> None:
    """Predict, write the tables and figures, and print a summary."""
    if arguments.catalog is None:  # before the imports, which take seconds
        parser().error("name a catalogue, as in starjax predict members.csv")
    from starjax.catalogs.stated.view import View
    from starjax.gaia.dust_maps import load_map
    from starjax.inference.loading import load_predictor
    from starjax.inference.predictor import NUM_DRAWS
    from starjax.predictions import prediction_files, prediction_summary
    from starjax.runs import pretrained

    if (
        arguments.distance_error_pc is not None
        and arguments.distance_pc is None
        and arguments.clusters is None
    ):
        raise PredictError("--distance_error_pc is that of a distance: state --distance_pc, too")
    if arguments.extinction_map is not None and arguments.extinction_v_mag is not None:
        raise PredictError("--extinction_map and --extinction_v_mag both give the extinction: name one")
    extinction_map = None if arguments.extinction_map is None else load_map(arguments.extinction_map)
    view = View(
        centre=_centre(arguments.centre),
        distance_pc=arguments.distance_pc,
        radial_velocity_kms=arguments.radial_velocity_kms,
        parallax_zero_point_mas=arguments.parallax_zero_point_mas,
        extinction_v_mag=arguments.extinction_v_mag,
        extinction_v_error_mag=arguments.extinction_v_error_mag,
        min_probability=arguments.min_probability,
        clip=not arguments.keep_outliers,
        distance_error_pc=arguments.distance_error_pc,
        metallicity=arguments.metallicity,
        extinction_map=extinction_map,
    )
    name = _default_model() if arguments.run is None else arguments.run
    out = Path(arguments.out)
    request = prediction_files.Request(
        catalog=arguments.catalog,
        view=view,
        # The help states the default as a number, since reading it from there would import jax.
        num_draws=NUM_DRAWS if arguments.num_draws is None else arguments.num_draws,
        columns=_columns(arguments.columns),
        views={} if arguments.clusters is None else _views(arguments.clusters, view),
        num_samples=arguments.num_samples,
        figures=arguments.figures,
    )
    # Checked first, so that nobody waits for a prediction that cannot be written.
    prediction_files.check_free(out, () if arguments.overwrite else prediction_files.NAMES)
    run = load_predictor(name)
    if pretrained.is_packaged(run.run_dir):
        print(f"model {name}, packaged with starjax: starjax pretrained {name} prints its card")
    summary, written = prediction_files.predict_to_files(run, request, out, overwrite=arguments.overwrite)
    prediction_summary.print_summary(summary, run, arguments.notes)
    print(f"wrote {out} with {_shortened([path.name for path in written])}")


def _zero_point(text: str) -> float | str:
    """Return a zero point that is a number as such; others are names."""
    try:
        return float(text)
    except ValueError:
        return text


def _shortened(names: list[str]) -> str:
    """Return the names of the files that were written; of many figures only the number."""
    figures = [name for name in names if name.endswith(".png")]
    if len(figures) > MAX_FIGURES_NAMED:
        names = [*(name for name in names if name not in figures), f"{len(figures)} figures"]
    return ", ".join(names)


def _default_model() -> str:
    """Return the name of the packaged model, or raise PredictError if there is none of that name."""
    from starjax.runs import pretrained

    if DEFAULT_MODEL not in pretrained.model_names():
        raise PredictError(
            f"this version of starjax comes without the model {DEFAULT_MODEL}, which is used unless a run is "
            "named: name one, such as --run=output/experiments/NAME"
        )
    return DEFAULT_MODEL


def _views(path: str, default):
    """Return the view of each cluster of a table, and print what its columns are taken for."""
    from starjax.catalogs.stated import cluster_table

    table = cluster_table.read_cluster_table(Path(path))
    for note in cluster_table.describe_columns(table):
        print(note)
    return cluster_table.cluster_views(table, default)


def _columns(text: str) -> dict[str, str]:
    """Return the names of the catalogue's columns by ours."""
    pairs = text.split(",") if text else []
    bad = [pair for pair in pairs if pair.count("=") != 1]
    if bad:
        raise PredictError(f"--columns={text}: {bad[0]} should be OURS=THEIRS, such as ra=RAJ2000")
    ours = [pair.split("=")[0] for pair in pairs]
    twice = next((name for name in ours if ours.count(name) > 1), None)
    if twice:
        raise PredictError(f"--columns={text} names {twice} twice: name each column once")
    return dict(pair.split("=") for pair in pairs)


def _centre(text: str | None) -> tuple[float, float] | None:
    """Return right ascension and declination [deg]."""
    if text is None:
        return None
    try:
        ra, dec = map(float, text.split(","))
    except ValueError as error:
        raise PredictError(f"--centre={text} should be RA,DEC in degrees") from error
    return ra, dec
