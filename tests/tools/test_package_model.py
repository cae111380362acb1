"""A packaged model predicts as the run that it was made from, and its card says how to make it."""

import re
import shlex
import shutil

import numpy as np
import pytest

from starjax.commands import config_flag
from starjax.configs import common, posterior
from starjax.inference import pretrained_models
from starjax.inference.loading import load_predictor
from starjax.io import files
from starjax.runs import pretrained
from starjax.runs.config_record import config_to_record
from starjax.runs.directory import RunDirectory, RunDirectoryError
from tools import package_model
from tools.package_model import BEGIN, END, training_command


@pytest.fixture(scope="module")
def packaged(mixture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrained") / "small"
    return package_model.package_model(load_predictor(mixture.path), folder)


def contents(run_dir):
    return {path.name: path.read_bytes() for path in run_dir.path.iterdir()}


def test_it_predicts_what_the_run_predicts(mixture, packaged):
    now, then = (load_predictor(one.path).predict("example").table for one in (packaged, mixture))
    same = [name for name in then if name not in ("run", "run_sha256", "checkpoint", "novelty")]
    assert now[same].equals(then[same])
    np.testing.assert_allclose(now["novelty"], then["novelty"], rtol=1e-5)
    assert now["checkpoint"][0] == str(packaged.params)
    assert now["run_sha256"][0] == files.sha256(packaged.path / files.SUMS)


def test_it_is_small_and_the_same_each_time(mixture, packaged, tmp_path):
    assert set(contents(packaged)) == {
        *("config.json", "params.npz", "calibration.json", "training_set.npz"),
        *("feature_scaler_bundle.joblib", "target_scaler_bundle.joblib"),
        *("test_metrics.json", "coverage.csv", "SHA256SUMS", "README.md"),
    }
    of_run, of_model = (load_predictor(one.path).record for one in (mixture, packaged))
    assert of_run == of_model
    again = package_model.package_model(load_predictor(mixture.path), tmp_path / "small")
    assert contents(again) == contents(packaged)
    # A packaged model is a run, of which the same model can be made.
    once_more = package_model.package_model(load_predictor(again.path), again.path)
    assert contents(once_more) == contents(packaged)


@pytest.mark.parametrize("name", ["params.npz", "training_set.npz", "calibration.json", "coverage.csv"])
def test_damage_is_noticed(packaged, tmp_path, name):
    copy = RunDirectory(tmp_path / "small")
    shutil.copytree(packaged.path, copy.path)
    content = bytearray((copy.path / name).read_bytes())
    content[len(content) // 2] ^= 4
    (copy.path / name).write_bytes(content)
    with pytest.raises(RunDirectoryError, match=f"{name} missing or changed"):
        load_predictor(copy.path)


def test_what_a_person_wrote_in_the_card_is_kept(mixture, packaged, tmp_path):
    copy = RunDirectory(tmp_path / "small")
    shutil.copytree(packaged.path, copy.path)
    written = packaged.card.read_text().replace("Predicts age", "Guesses age") + "\n## Limits\n\nMany.\n"
    copy.card.write_text(re.sub(f"{BEGIN}.*{END}", f"{BEGIN}{END}", written, flags=re.DOTALL))
    package_model.package_model(load_predictor(mixture.path), copy.path)
    assert copy.card.read_text() == written
    assert pretrained_models.purpose(copy).startswith("Guesses age and mass of a star cluster from y, z,")


def test_the_card_has_the_test_of_the_run(mixture, packaged):
    card = packaged.card.read_text()
    metrics = files.read_json(mixture.test_metrics)["test"]["time"]
    [row] = re.findall(r"^\| `time` \[Myr\] \| (.*) \|$", card, re.MULTILINE)
    mean, rms, r2, *covered = row.split(" | ")
    assert float(mean) == pytest.approx(metrics["physical"]["mae"], rel=1e-2)
    assert float(rms) == pytest.approx(metrics["physical"]["rmse"], rel=1e-2)
    assert float(r2) == pytest.approx(metrics["scaled"]["r2"], abs=1e-3)
    assert len(covered) == 2
    record = files.read_json(mixture.config)
    assert record["dataset"]["fingerprint"] in card
    assert f"jax {record['versions']['jax']}" in card


def small_posterior():
    config = posterior.get_config()
    config.train.max_epochs, config.name = 2, "a name is no result"
    return config


def unusual():
    config = common.get_config("set_transformer")
    config.data.feature_keys, config.data.dataset = ("x",), "/a folder/it's"
    config.data.feature_clip, config.data.random_rotations = float("inf"), False
    config.sweep.learning_rate, config.ensemble.size = (1e-3, 3e-2), 2
    return config


@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
@pytest.mark.parametrize(
    ("config", "start"),
    [
        (posterior.get_config(), "starjax train --config=posterior"),
        (small_posterior(), "starjax train --config=posterior \\\n    --config.train.max_epochs=2"),
        (unusual(), "starjax train --config=common:set_transformer \\\n"),
        (common.get_config("deep_sets"), "starjax train --config=deep_sets"),
    ],
    ids=["as it is", "shorter", "unusual", "default"],
)
def test_the_command_trains_the_same_config(config, start):
    command = training_command(config)
    assert command.startswith(start)
    _, _, *options = shlex.split(command.replace("\\\n", ""))
    assert config_to_record(config_flag.load(options, "")) == config_to_record(config)


def test_names_are_plain(capsys):
    for name in ("Gaia", "a/b", ".", "7"):
        with pytest.raises(SystemExit):
            package_model.main(["run", name])
    assert "small letters" in capsys.readouterr().err


def test_the_command_writes_into_the_package(mixture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    package_model.main([str(mixture.path), "small"])
    assert pretrained.model_names() == ("small",)
    assert "say in README.md what it is for" in capsys.readouterr().out
