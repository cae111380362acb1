"""`starjax pretrained` lists packaged models and prints cards, and `starjax predict` uses them by name."""

from pathlib import Path

import pandas as pd
import pytest

from starjax.catalogs import member_list
from starjax.commands import predict, pretrained
from starjax.errors import StarjaxError
from starjax.inference.loading import load_predictor
from starjax.runs import pretrained as packaged
from tools import package_model


def run(command, *arguments):
    command.main(command.parser().parse(arguments))


@pytest.fixture(scope="module")
def folder(mixture, tmp_path_factory):
    """A folder of packaged models with the default one and another."""
    folder = tmp_path_factory.mktemp("pretrained")
    for name in (predict.DEFAULT_MODEL, "other"):
        package_model.package_model(load_predictor(mixture.path), folder / name)
    return folder


@pytest.fixture
def models(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_models(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)


def test_models_are_listed_within_80_columns(models, capsys):
    run(pretrained)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == ["gaia", "other"]
    assert max(map(len, lines)) <= 80


def test_a_card_is_printed(models, folder, capsys):
    run(pretrained, "other")
    assert capsys.readouterr().out == (folder / "other" / "README.md").read_text()
    with pytest.raises(StarjaxError, match="starjax has no packaged model nothing; packaged are gaia, other"):
        run(pretrained, "nothing")


def test_without_models_the_list_says_so(no_models, capsys):
    run(pretrained)
    assert capsys.readouterr().out == "This version of starjax comes without a trained model.\n"


def test_a_prediction_uses_the_default_model_and_says_so(models, folder, tmp_path, capsys):
    run(predict, "example")
    assert (
        "model gaia, packaged with starjax: starjax pretrained gaia prints its card"
        in capsys.readouterr().out
    )
    table = pd.read_csv(tmp_path / "prediction" / "prediction.csv")
    assert table["run"][0] == str(folder / "gaia")
    assert Path(table["catalog"][0]) == member_list.EXAMPLE_FILE


def test_a_prediction_names_its_model(models, mixture, tmp_path, capsys):
    run(predict, "--catalog=example", "--run=other", "--out=named")
    assert "model other, packaged with starjax" in capsys.readouterr().out
    run(predict, "example", f"--run={mixture.path}", "--out=own")
    assert "packaged with starjax" not in capsys.readouterr().out
    named, own = (pd.read_csv(tmp_path / name / "prediction.csv") for name in ("named", "own"))
    assert named["time"].equals(own["time"])


def test_without_the_default_model_a_run_has_to_be_named(no_models):
    with pytest.raises(StarjaxError, match=r"comes without the model gaia.*name one, such as --run="):
        run(predict, "example")
