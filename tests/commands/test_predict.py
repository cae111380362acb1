"""`starjax predict`: the files that it writes, and its errors."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

import starjax
from starjax.catalogs import member_list
from starjax.catalogs.stated.view import View
from starjax.commands import predict
from starjax.predictions import prediction_files, prediction_summary, table_formats


def run_command(*arguments):
    predict.main(predict.parser().parse(arguments))


@pytest.fixture
def stars_named(member_list_file):
    """Return the stars of a list as a cluster of the given name."""
    stars = member_list.read_member_list(member_list_file).to_pandas()
    return lambda name: stars.assign(cluster=name)


def test_the_choices_of_the_command_are_those_of_the_modules():
    assert predict.FIGURES == prediction_files.FIGURES
    assert predict.NOTES == prediction_summary.NOTES


def test_options_cannot_be_abbreviated(capsys):
    with pytest.raises(SystemExit):
        predict.parser().parse(["--run=a", "--catalog=b", "--distance=100"])
    assert "unknown option --distance, did you mean --distance_pc?" in capsys.readouterr().err


def test_the_help_states_the_defaults_of_a_view():
    assert predict.parser().parse(["list.csv"]).min_probability == View().min_probability


def test_the_command_writes_tables_and_a_figure_and_replaces_them_with_overwrite(
    mixture, member_list_file, tmp_path, capsys
):
    out = tmp_path / "out"
    arguments = [f"--run={mixture.path}", f"--catalog={member_list_file}", f"--out={out}"]
    run_command(*arguments)
    printed = capsys.readouterr().out
    assert "age [Myr]" in printed
    assert "members: Distance 199." in printed
    tables = {*table_formats.TABLES, table_formats.STARS, table_formats.SAMPLES}
    assert {path.name for path in out.iterdir()} == {*tables, "members.png"}
    assert len(pd.read_parquet(out / "samples.parquet")) == 1000
    parquet, text = pd.read_parquet(out / "prediction.parquet"), pd.read_csv(out / "prediction.csv")
    assert list(parquet) == list(text)
    ecsv = Table.read(out / "prediction.ecsv")
    assert str(ecsv["time_p16"].unit) == "Myr"
    assert str(ecsv["mass_virial_error"].unit) == "solMass"
    assert len(parquet["catalog_sha256"][0]) == 64
    assert (Path(parquet["run"][0]) / "checkpoints" / "2").samefile(parquet["checkpoint"][0])
    assert f"jax {jax.__version__}" in parquet["versions"][0].split(", ")
    with pytest.raises(
        prediction_files.PredictionFileError, match=r"contains prediction\.parquet.*--overwrite"
    ):
        run_command(*arguments)
    run_command(*arguments, "--overwrite", "--distance_pc=210", "--num_samples=0")
    assert pd.read_parquet(out / "prediction.parquet")["distance_pc"][0] == 210
    assert not (out / "samples.parquet").exists()


def test_other_files_are_not_replaced_and_the_catalogue_never_is(mixture, stars_named, tmp_path):
    run = starjax.load(mixture.path)
    listed = tmp_path / "stars.parquet"
    stars_named("M67").to_parquet(listed)
    found, before = run.predict(listed), listed.read_bytes()
    with pytest.raises(prediction_files.PredictionFileError, match=r"contains stars\.parquet already"):
        prediction_files.write_prediction(found, run, tmp_path)
    with pytest.raises(prediction_files.PredictionFileError, match=r"stars\.parquet is the member catalogue"):
        prediction_files.write_prediction(found, run, tmp_path, overwrite=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / "M67.png").write_text("a figure of mine")
    with pytest.raises(prediction_files.PredictionFileError, match=r"contains M67\.png"):
        prediction_files.write_prediction(found, run, out)
    assert [path.name for path in out.iterdir()] == ["M67.png"]
    assert listed.read_bytes() == before


def test_overwriting_removes_earlier_figures_and_tolerates_a_damaged_table(mixture, stars_named, tmp_path):
    run = starjax.load(mixture.path)
    prediction_files.write_prediction(run.predict(stars_named("M67")), run, tmp_path)
    assert (tmp_path / "M67.png").exists()
    other = run.predict(stars_named("NGC 752"))
    prediction_files.write_prediction(other, run, tmp_path, overwrite=True)
    assert {path.name for path in tmp_path.glob("*.png")} == {"NGC_752.png"}
    table = tmp_path / "prediction.parquet"
    table.write_bytes(table.read_bytes()[:100])
    prediction_files.write_prediction(other, run, tmp_path, overwrite=True)
    assert list(pd.read_parquet(table)["cluster"]) == ["NGC 752"]
    whole, rng = table.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        table.write_bytes(content)
        prediction_files._earlier_files(tmp_path)  # does not raise


@pytest.mark.slow
def test_markup_in_names_is_not_interpreted(mixture, stars_named, tmp_path, capsys):
    """rich interprets brackets and colons, matplotlib dollar signs."""
    names = ["[/b]", "[fsr2007] 101", ":star:", r"$\frac{1}{$"]
    run = starjax.load(mixture.path)
    found = run.predict(pd.concat([stars_named(name) for name in names]))
    prediction_files.write_prediction(found, run, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == len(names)
    prediction_summary.print_prediction(found, run)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


def test_clusters_without_a_prediction_are_in_a_file_of_their_own(mixture, stars_named, tmp_path):
    run = starjax.load(mixture.path)
    both = run.predict(pd.concat([stars_named("M67"), stars_named("few")[:7]]))
    assert "refused.csv" in [path.name for path in prediction_files.write_prediction(both, run, tmp_path)]
    refused = pd.read_csv(tmp_path / "refused.csv")
    assert list(refused["cluster"]) == ["few"]
    assert "only 7 stars" in refused["reason"][0]
    prediction_files.write_prediction(run.predict("example"), run, tmp_path, overwrite=True)
    assert not (tmp_path / "refused.csv").exists()
    # A file of that name that is not from a prediction.
    (tmp_path / "of_mine").mkdir()
    mine = tmp_path / "of_mine" / "refused.csv"
    mine.touch()
    with pytest.raises(prediction_files.PredictionFileError, match=r"contains refused\.csv already"):
        prediction_files.write_prediction(both, run, mine.parent)
    prediction_files.write_prediction(run.predict("example"), run, mine.parent, overwrite=True)
    assert mine.exists()


def test_the_repr_of_a_prediction_is_short(mixture):
    shown = repr(starjax.load(mixture.path).predict("example"))
    assert "cluster" in shown
    assert len(shown) < 500


def test_the_digest_is_that_of_the_catalogue_as_it_was_read(mixture, stars_named, tmp_path, monkeypatch):
    path = tmp_path / "list.parquet"
    stars_named("M67").to_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def read_and_remove(path, columns):
        found = read(path, columns)
        path.unlink()
        return found

    read = member_list.read_member_list
    monkeypatch.setattr(member_list, "read_member_list", read_and_remove)
    found = starjax.load(mixture.path).predict(path)
    assert set(found.table["catalog_sha256"]) == {digest}


def test_a_table_states_what_is_known_of_each_cluster_and_options_the_rest(
    mixture, stars_named, tmp_path, capsys
):
    catalog, clusters, out = tmp_path / "stars.parquet", tmp_path / "clusters.csv", tmp_path / "out"
    pd.concat([stars_named("M67"), stars_named("NGC 752").assign(source_id=np.arange(407))]).to_parquet(
        catalog
    )
    clusters.write_text("Name,dist,e_dist,AV,[Fe/H],age\nM_67,210,3,0.2,0.1,9.5\nM1,,,,,\n")
    run_command(
        f"--run={mixture.path}",
        f"--catalog={catalog}",
        f"--clusters={clusters}",
        f"--out={out}",
        "--distance_pc=190",
    )
    table = pd.read_csv(out / "prediction.csv", index_col="cluster")
    columns = [
        "distance_pc",
        "distance_error_pc",
        "extinction_v_mag",
        "extinction_v_error_mag",
        "metallicity",
    ]
    assert table.loc["M67", columns].tolist() == pytest.approx([210, 3, 0.2, 0.1, 0.1])
    assert table.loc["NGC 752", columns].tolist() == pytest.approx([190, 0, 0, 0.1, np.nan], nan_ok=True)
    assert table["extinction_source"].to_dict() == {"M67": "given", "NGC 752": "assumed"}
    assert str(Table.read(out / "prediction.ecsv")["extinction_v_mag"].unit) == "mag"
    printed = capsys.readouterr().out
    assert f"{clusters}: columns recognized: Name as cluster, dist as distance_pc, e_dist as" in printed
    assert f"{clusters}: columns not used: age" in printed
    assert "Clusters under other names in the table of clusters: M67 is M_67." in printed
    assert "Not in the table of clusters: NGC 752." in printed
    assert "The catalogue has no cluster M1" in printed


def test_a_file_instead_of_a_folder_is_an_error_before_the_prediction(mixture, tmp_path):
    (tmp_path / "out").touch()
    arguments = (
        f"--run={tmp_path / 'none'}",
        f"--catalog={member_list.EXAMPLE_FILE}",
        f"--out={tmp_path / 'out'}",
    )
    for more in ((), ("--overwrite",)):
        with pytest.raises(prediction_files.PredictionFileError, match="out is a file, and not a folder"):
            run_command(*arguments, *more)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--columns=ra", "ra should be OURS=THEIRS"),
        ("--columns=ra=ra,ra=dec", "names ra twice"),
        ("--centre=12", "RA,DEC in degrees"),
        ("--centre=a,b", "RA,DEC in degrees"),
        ("--num_draws=0", "at least 1"),
        ("--num_samples=-1", "at least 0"),
        ("--distance_pc=-3", "positive"),
        ("--distance_error_pc=3", "state --distance_pc"),
        ("--parallax_zero_point_mas=mine", "should be a number, or lindegren2021"),
        ("--extinction_map=mine", "known maps of dust are"),
        ("--min_probability=50", "between 0 and 1"),
        ("--extinction_v_error_mag=-1", "not be negative"),
        ("--clusters=none.csv", "none.csv: there is no such file"),
    ],
)
def test_invalid_options_are_an_error(mixture, tmp_path, option, said):
    with pytest.raises(starjax.errors.StarjaxError, match=said):
        run_command(
            f"--run={mixture.path}",
            f"--catalog={member_list.EXAMPLE_FILE}",
            f"--out={tmp_path / 'o'}",
            option,
        )
    assert not (tmp_path / "o").exists()


def test_many_figures_are_counted_and_not_named():
    tables, figures = ["prediction.csv", "stars.parquet"], [f"{i}.png" for i in range(6)]
    assert predict._shortened([*tables, *figures[:2]]) == "prediction.csv, stars.parquet, 0.png, 1.png"
    assert predict._shortened([*tables, *figures]) == "prediction.csv, stars.parquet, 6 figures"
