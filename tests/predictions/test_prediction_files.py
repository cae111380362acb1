"""Predictions of many clusters: in parts, resumed, of several files, with the figures that are asked for."""

import os
from pathlib import Path

import pandas as pd
import pytest
from astropy.table import Table

from starjax.catalogs import member_list
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated.view import View
from starjax.inference import cluster_lists
from starjax.inference.loading import load_predictor
from starjax.inference.predictor import Predictor, PredictorError
from starjax.predictions import prediction_files, prediction_parts, table_formats
from starjax.predictions.prediction_files import Request, predict_to_files

ROOT = Path(__file__).parents[2]
CLUSTERS = ("NGC 1", "NGC 2", "few", "NGC 3", "NGC 4")


@pytest.fixture(scope="module")
def run():
    return load_predictor(ROOT / "tests" / "data" / "run")


@pytest.fixture(scope="module")
def stars(member_list_file):
    """Five clusters, one of them of too few stars."""
    whole = member_list.read_member_list(member_list_file).to_pandas().drop(columns=["source_id", "row"])
    sizes = (150, 120, 7, 100, 80)
    return pd.concat(
        [whole.iloc[:size].assign(cluster=name) for name, size in zip(CLUSTERS, sizes, strict=True)]
    )


@pytest.fixture
def catalogue(stars, tmp_path):
    path = tmp_path / "stars.csv"
    stars.to_csv(path, index=False)
    return path


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(cluster_lists, "PART_SIZE", 2)


def without_figures(monkeypatch):
    """Write figures at no cost."""
    monkeypatch.setattr(prediction_parts.cluster_figure, "draw_cluster", lambda *arguments: None)
    monkeypatch.setattr(prediction_parts.style, "save_figure", lambda figure, path: path.touch())


def request(catalog, **options):
    return Request(catalog, **{"num_samples": 10, "figures": "none"} | options)


def test_an_interrupted_prediction_resumes_to_the_same_files(
    run, catalogue, tmp_path, monkeypatch, small_parts
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict_to_files(run, request(catalogue), whole)
    predict_part, parts = Predictor.predict_part, []

    def predict_some(self, part, *arguments):
        parts.append(list(part.members))
        if len(parts) == 3:
            raise KeyboardInterrupt
        return predict_part(self, part, *arguments)

    monkeypatch.setattr(Predictor, "predict_part", predict_some)
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(run, request(catalogue), out)
    assert not (out / "prediction.csv").exists()
    summary, _ = predict_to_files(run, request(catalogue), out)
    assert parts == [["NGC 1", "NGC 2"], ["NGC 3"], ["NGC 4"], ["NGC 4"]]
    assert list(summary.table["cluster"]) == ["NGC 1", "NGC 2", "NGC 3", "NGC 4"]
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))
    for name in ("prediction.parquet", "stars.parquet", "samples.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(out / name), pd.read_parquet(whole / name))
    assert "only 7 stars" in pd.read_csv(out / "refused.csv")["reason"][0]


def test_parts_of_another_request_are_an_error_unless_overwritten(
    run, catalogue, tmp_path, monkeypatch, small_parts
):
    with monkeypatch.context() as patched:
        patched.setattr(prediction_parts.PartStore, "table", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_to_files(run, request(catalogue), tmp_path / "out")
    other = request(catalogue, view=View(distance_pc=210))
    with pytest.raises(
        prediction_parts.PartError, match="unfinished prediction of another catalogue, run or"
    ):
        predict_to_files(run, other, tmp_path / "out")
    summary, _ = predict_to_files(run, other, tmp_path / "out", overwrite=True)
    assert set(summary.table["distance_pc"]) == {210.0}
    assert not (tmp_path / "out" / prediction_parts.FOLDER).exists()


def test_clusters_of_several_processes_are_those_of_one(run, catalogue, tmp_path, monkeypatch, small_parts):
    tables = []
    for least in (2, 100):
        monkeypatch.setattr(cluster_lists, "_MIN_PARALLEL", least)
        summary, _ = predict_to_files(run, request(catalogue), tmp_path / str(least))
        tables.append(summary.table)
    pd.testing.assert_frame_equal(*tables)


def test_a_folder_or_a_pattern_is_a_catalogue_and_bad_files_do_not_stop_the_others(run, stars, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    for name in ("NGC 1", "NGC 3"):
        stars[stars["cluster"] == name].drop(columns="cluster").to_csv(lists / f"{name}.csv", index=False)
    stars[stars["cluster"].isin(["NGC 3", "NGC 4"])].to_parquet(lists / "others.parquet")
    (lists / "notes.csv").write_text("nothing,of\n1,2\n")
    (lists / "README.md").write_text("Two lists.")
    for number, catalog in enumerate((lists, str(lists / "*"), sorted(lists.iterdir()))):
        summary, _ = predict_to_files(run, request(catalog), tmp_path / f"out{number}")
        assert list(summary.table["cluster"]) == ["NGC 1", "NGC 3", "NGC 4"]
        assert [Path(path).name for path in summary.table["catalog"]] == [
            "NGC 1.csv",
            "NGC 3.csv",
            "others.parquet",
        ]
        assert "another file has a cluster NGC 3" in summary.refused[f"NGC 3 of {lists / 'others.parquet'}"]
        assert "has no column ra, dec" in summary.refused["notes"]
    with pytest.raises(CatalogError, match=r"none\*: there are no files"):
        predict_to_files(run, request(str(tmp_path / "none*")), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("catalog", "said"),
    [([], "no catalogue is given"), ("", "names no catalogue"), ([pd.DataFrame()], "join several tables")],
)
def test_what_names_no_catalogue_is_an_error(run, catalog, said):
    with pytest.raises(CatalogError, match=said):
        run.predict(catalog)


@pytest.mark.parametrize("figures", ["none", "flagged", "all"])
def test_figures_are_those_that_are_asked_for(run, stars, tmp_path, figures, monkeypatch):
    monkeypatch.setattr(prediction_parts.cluster_figure, "draw_cluster", lambda *arguments: None)
    monkeypatch.setattr(
        prediction_parts.style, "save_figure", lambda figure, path: path.write_text("a figure")
    )
    summary, written = predict_to_files(run, request(stars, figures=figures), tmp_path)
    table = summary.table
    wanted = {"none": [], "flagged": table["cluster"][table["is_flagged"]], "all": table["cluster"]}[figures]
    assert {path.name for path in written if path.suffix == ".png"} == {
        f"{name.replace(' ', '_')}.png" for name in wanted
    }


def test_without_any_prediction_nothing_is_written(run, stars, tmp_path):
    with pytest.raises(PredictorError, match="cluster few: only 7 stars"):
        predict_to_files(run, request(stars[stars["cluster"] == "few"]), tmp_path / "out")
    assert not (tmp_path / "out" / "prediction.csv").exists()
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("option", "said"), [("num_draws", "num_draws=-1"), ("num_samples", "num_samples=-1")]
)
def test_impossible_numbers_are_an_error(option, said):
    with pytest.raises(PredictorError, match=said):
        request("example", **{option: -1})


@pytest.mark.parametrize("part_size", [1, 128])
@pytest.mark.parametrize("identities", [("number", "none"), ("none", "number"), ("number", "text")])
def test_identities_keep_their_digits(run, stars, tmp_path, monkeypatch, part_size, identities):
    monkeypatch.setattr(cluster_lists, "PART_SIZE", part_size)
    first, lists = 4_000_000_000_000_000_001, []
    for name, kind in zip(CLUSTERS[:2], identities, strict=True):
        own = stars[stars["cluster"] == name].reset_index(drop=True)
        numbers = own.index + first
        column = {
            "none": {},
            "number": {"source_id": numbers},
            "text": {"source_id": "a" + numbers.astype(str)},
        }
        lists.append(tmp_path / f"{name}.csv")
        own.assign(**column[kind]).to_csv(lists[-1], index=False)
    predict_to_files(run, request(lists), tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / table_formats.STARS)
    found = set(table["source_id"].dropna())
    assert {str(first), str(first + 9)} <= set(map(str, found))
    assert len(found) == len(table) if "none" not in identities else 0 < len(found) < len(table)


def test_an_interruption_while_files_are_written_loses_nothing(run, stars, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_parts.cluster_figure, "draw_cluster", lambda *arguments: None)
    monkeypatch.setattr(
        prediction_parts.style, "save_figure", lambda figure, path: path.write_text("a figure")
    )
    wanted = request(stars, figures="all")
    predict_to_files(run, wanted, tmp_path / "whole")
    copied = []

    def copy_some(source, path):
        copied.append(path)
        if len(copied) == 3:
            raise KeyboardInterrupt
        path.write_bytes(source.read_bytes())

    with monkeypatch.context() as patched:
        patched.setattr(prediction_files.shutil, "copyfile", copy_some)
        with pytest.raises(KeyboardInterrupt):
            predict_to_files(run, wanted, tmp_path / "out")
    predict_to_files(run, wanted, tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "whole"))


def test_parts_are_neither_mixed_nor_lost(run, stars, tmp_path, monkeypatch):
    """Those of a changed table are refused, those of unknown inputs removed, those of a command kept."""
    folder = tmp_path / prediction_parts.FOLDER
    with monkeypatch.context() as patched:
        patched.setattr(prediction_parts.PartStore, "table", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            predict_to_files(run, request(stars), tmp_path)
    for change in ({"parallax": stars["parallax"] * 2}, {"cluster": stars["cluster"] + "a"}):
        with pytest.raises(prediction_parts.PartError, match="unfinished prediction of another"):
            predict_to_files(run, request(stars.assign(**change)), tmp_path)
    with pytest.raises(prediction_parts.PartError):
        prediction_files.write_prediction(run.predict(stars), run, tmp_path)
    assert len(list(folder.glob("part-*"))) == 1
    (folder / "inputs.json").unlink()
    with pytest.raises(prediction_parts.PartError):
        predict_to_files(run, request(stars), tmp_path)
    predict_to_files(run, request(stars[stars["cluster"] == "NGC 1"]), tmp_path, overwrite=True)
    assert list(pd.read_csv(tmp_path / "prediction.csv")["cluster"]) == ["NGC 1"]


def test_astropy_reads_the_samples_of_all_parts(run, stars, tmp_path, small_parts):
    names = {name: name * (1 + i) for i, name in enumerate(CLUSTERS)}
    predict_to_files(run, request(stars.replace({"cluster": names})), tmp_path)
    read = Table.read(tmp_path / table_formats.SAMPLES)
    assert set(read["cluster"]) == set(names.values()) - {names["few"]}
    assert str(read["time"].unit) == "Myr"


def test_the_notes_of_a_cluster_are_those_of_its_own_catalogue(run, stars, tmp_path):
    for name in ("NGC 1", "NGC 3"):
        own = stars[stars["cluster"] == name].assign(**{f"of {name}": 1})
        own.to_csv(tmp_path / f"{name}.csv", index=False)
    notes = predict_to_files(run, request(tmp_path), tmp_path / "out")[0].table["notes"]
    assert ["of NGC 1" in note for note in notes] == [True, False]
    assert ["of NGC 3" in note for note in notes] == [False, True]
