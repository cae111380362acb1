"""One row of `quantities.QUANTITIES` suffices for a column, from caches to a prediction from a catalogue."""

from pathlib import Path

import joblib
import numpy as np
import pytest
from astropy.table import Table

import starjax
from starjax.catalogs import member_list
from starjax.configs import common
from starjax.configs import dataset as dataset_config
from starjax.datasets import load
from starjax.inference.predictor import PredictorError
from starjax.nbody6.build import build_dataset
from starjax.predictions import prediction_files
from starjax.quantities import QUANTITIES, Quantity
from starjax.reports.html_report import html_page
from starjax.training.run import train_and_test

pytestmark = pytest.mark.slow
DATA = Path(__file__).parents[1] / "data"
ROWS = (
    Quantity("log_g", "feature", "log10 cm/s2", "surface gravity", is_default=True, catalogue="listed"),
    Quantity("r_core", "target", "pc", label="core radius", short_name="core", is_default=True),
)
FEATURES, TARGETS = ("y", "z", "vy", "vz", "log_g"), ("time", "r_core")


@pytest.fixture(scope="module", autouse=True)
def rows():
    """Two columns that starjax does not have."""
    with pytest.MonkeyPatch.context() as patch:
        for row in ROWS:
            patch.setitem(QUANTITIES, row.key, row)
        yield


@pytest.fixture(scope="module")
def dataset(rows, tmp_path_factory):
    """A data set of the small caches, with the two columns added."""
    folder = tmp_path_factory.mktemp("build")
    for path in (DATA / "caches").glob("*-obs.joblib"):
        cache = joblib.load(path)
        for snapshot in (snapshot for times in cache.values() for snapshot in times.values()):
            stars = snapshot["stars"]
            stars["log_g"] = 4.44 + np.log10(stars["mass"]) - 2 * stars["log_R_R_sol"]
            snapshot["header"]["r_core"] = 0.3 * snapshot["header"]["r_half_mass"]
        joblib.dump(cache, folder / path.name)
    config = dataset_config.get_config()
    config.caches, config.split_manifest = str(folder), str(DATA / "golden" / "split.json")
    config.out, config.n_jobs = str(folder / "out"), 1
    return build_dataset(config)


@pytest.fixture(scope="module")
def run_dir(dataset):
    config = common.get_config("deep_sets")
    config.output_base, config.data.dataset = str(dataset.parent), str(dataset)
    config.data.feature_keys, config.data.target_keys = FEATURES, TARGETS
    config.data.centred = True
    config.data.num_sample_per_snapshot, config.data.num_star_per_sample = 2, 64
    config.train.batch_size, config.train.max_epochs = 32, 2
    return train_and_test(config)


@pytest.fixture
def catalogue(member_list_file):
    """A member list with surface gravities, of which two are missing."""
    stars = member_list.read_member_list(member_list_file)
    stars["log_g"] = np.linspace(3.5, 5, len(stars))
    stars["log_g"][[200, 201]] = np.nan
    return stars


def test_a_build_includes_the_columns_by_default(dataset):
    found = load.load_dataset(str(dataset), ("log_g",), ("r_core",))
    assert found.feature_scalers.of("log_g").method == "robust"
    physical = found.feature_scalers.inverse(found.shards["train"].feature, ("log_g",))
    assert 3 < np.median(physical) < 6


def test_figures_and_report_of_the_run_name_the_target(run_dir):
    assert {"predicted-against-true.png", "errors.png"} <= {path.name for path in run_dir.figures.iterdir()}
    page = html_page(run_dir)
    assert "core [pc]" in page


def test_the_run_predicts_from_a_catalogue_that_lists_the_feature(run_dir, catalogue, tmp_path):
    run = starjax.load(run_dir.path)
    found = run.predict(catalogue)
    [members], [row] = found.members.values(), found.table.to_dict("records")
    np.testing.assert_array_equal(members.feature[:, -1], members.table["log_g"])
    assert np.isfinite(members.feature).all()
    assert "Left out because log_g is missing: 2 stars (rows 201, 202)." in members.notes
    # Three more have no proper motion.
    assert row["num_left_out"] == 5
    assert row["r_core_p16"] <= row["r_core"] <= row["r_core_p84"]
    prediction_files.write_prediction(found, run, tmp_path)
    assert str(Table.read(tmp_path / "prediction.ecsv")["r_core_p16"].unit) == "pc"


def test_the_feature_counts(run_dir, catalogue):
    """Gravities of other stars give another prediction."""
    run = starjax.load(run_dir.path)
    heavier = catalogue.copy()
    heavier["log_g"] -= 1
    values = [run.predict(table).table["r_core"][0] for table in (catalogue, heavier)]
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_a_catalogue_that_lacks_the_feature_is_refused(run_dir, catalogue):
    with pytest.raises(PredictorError, match="log_g needs a column log_g"):
        starjax.load(run_dir.path).predict("example")
    catalogue.rename_column("log_g", "logg")
    found = starjax.load(run_dir.path).predict(catalogue, columns={"log_g": "logg"})
    assert np.isfinite(found.table["r_core"][0])
