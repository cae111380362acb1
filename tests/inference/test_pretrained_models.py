"""Packaged models: how they are found by name; those of this version are whole, small and described."""

from pathlib import Path

import pytest
from astropy.table import vstack

import starjax
from starjax.catalogs import member_list
from starjax.inference import pretrained_models
from starjax.inference.loading import load_predictor
from starjax.runs import best_params, pretrained
from starjax.runs.best_params import BestParamsError
from starjax.runs.directory import RunDirectory, RunDirectoryError
from starjax.runtime import devices
from starjax.training.trainer import abstract_arrays
from tools import package_model

MAX_BYTES = 5_000_000


@pytest.fixture(scope="module")
def folder(mixture, tmp_path_factory):
    """A folder of packaged models with one of them, `small`."""
    folder = tmp_path_factory.mktemp("pretrained")
    package_model.package_model(load_predictor(mixture.path), folder / "small")
    return folder


@pytest.fixture
def model(folder, monkeypatch, tmp_path):
    """The only packaged model; the current folder is empty."""
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    return RunDirectory(folder / "small")


def test_a_packaged_model_is_loaded_by_its_name(model):
    assert pretrained.model_names() == ("small",)
    run = starjax.load("small")
    assert run.run_dir == model
    assert pretrained.is_packaged(run.run_dir)
    assert run.predict("example").table["run"][0] == str(model.path)


def test_a_name_means_the_packaged_model_and_a_path_the_directory(model, mixture):
    Path("small").symlink_to(mixture.path)
    assert pretrained.find_run("small") == model
    for directory in ("./small", "small/", Path("small")):
        found = pretrained.find_run(directory)
        assert found.path == Path("small")
        assert not pretrained.is_packaged(found)
    Path("mine").symlink_to(mixture.path)
    assert starjax.load("mine").run_dir.path == Path("mine")


def test_the_error_of_an_unknown_name_says_what_it_could_be(model):
    with pytest.raises(RunDirectoryError, match=r"neither a packaged model nor a directory gaja.* small\)"):
        starjax.load("gaja")
    with pytest.raises(RunDirectoryError, match=r"\./gaja|gaja holds no run"):
        starjax.load("./gaja")
    with pytest.raises(RunDirectoryError, match="no packaged model gaja; packaged are small"):
        pretrained.packaged_model("gaja")


def test_a_summary_has_what_a_reader_chooses_by(model, mixture):
    summary = pretrained_models.summarize(model)
    assert summary.feature_keys == ("y", "z", "vy", "vz", "log_L_L_sol")
    assert summary.num_bytes == sum(path.stat().st_size for path in model.path.iterdir())
    run = load_predictor(mixture.path)
    sizes = [leaf.size for leaf in best_params.flatten(run.params).values()]
    assert (summary.num_member, summary.num_param) == (1, sum(sizes))
    assert all(len(test.coverage) == len(test.coverage_error) == 2 for test in summary.tests.values())


def test_the_description_fits_a_terminal(model):
    lines = pretrained_models.describe(pretrained_models.summarize(model)).splitlines()
    assert lines[0] == "small"
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "features y z vy vz log_L_L_sol" in text
    assert "predicts age [Myr] (time); mass [Msun] (total_mass_within_2x_r_tidal)" in text
    assert "68 % intervals cover" in text


# ---- the file of parameters


@pytest.fixture
def like(mixture):
    return abstract_arrays(load_predictor(mixture.path).config, devices.make_mesh())


def test_parameters_of_another_model_are_an_error(model, like, tmp_path):
    best = best_params.load_best(model, like)
    copy = RunDirectory(tmp_path)
    changed = {"phi": best.params["phi"]}
    for params, said in ((changed, "params/rho"), (best.params | {"phi": best.params["rho"]}, "params/phi")):
        best_params.save_params(copy.params, best_params.BestParams(model.params, best.epochs, params))
        with pytest.raises(BestParamsError, match=f"params.npz cannot be read .*{said}"):
            best_params.load_best(copy, like)
    # Fewer epochs than members.
    best_params.save_params(copy.params, best_params.BestParams(model.params, (1, 2), best.params))
    with pytest.raises(BestParamsError, match=r"should be float32 of shape \(2, "):
        best_params.load_best(copy, like)
    copy.params.write_bytes(b"")
    with pytest.raises(BestParamsError, match="cannot be read"):
        best_params.load_best(copy, like)


# ---- the models of this version


def test_packaged_models_are_small():
    total = sum(path.stat().st_size for path in pretrained.FOLDER.rglob("*") if path.suffix != ".pyc")
    assert total <= MAX_BYTES


@pytest.mark.parametrize("name", pretrained.model_names())
def test_packaged_models_are_whole_and_described(name):
    run = starjax.load(name)
    card = pretrained_models.read_card(run.run_dir)
    assert card.startswith(f"# {name}\n")
    assert package_model.training_command(run.config) in card
    text = pretrained_models.describe(pretrained_models.summarize(run.run_dir))
    assert max(map(len, text.splitlines())) <= 80
    assert not run.caveats


def test_a_list_larger_than_a_sample_is_noted_and_counted_whole():
    copies = [member_list.read_member_list(member_list.find_member_list("example")) for _ in range(3)]
    for number, copy in enumerate(copies):
        copy["ra"] += 1e-4 * number
        copy.remove_columns([name for name in ("source_id",) if name in copy.colnames])
    found = starjax.load("gaia").predict(vstack(copies, metadata_conflicts="silent"))
    (members,) = found.members.values()
    assert found.table["num_star"][0] == len(members.feature) > 1024
    assert f"Of the {len(members.feature):,} stars, the model reads the 1,024 brightest" in members.notes[-1]
    assert f"{len(members.feature):,} stars, trained on" in found.table["flag_reasons"][0]
