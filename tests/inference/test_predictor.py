"""Predictions of a loaded run: equal to its test, complete, flagged, or refused with a reason."""

import doctest
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table

import starjax
from starjax.catalogs import member_list
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated.view import View
from starjax.datasets import shard
from starjax.datasets.shard_files import shard_path
from starjax.inference.loading import load_predictor
from starjax.inference.predictor import PredictorError
from starjax.predictions import prediction_summary
from starjax.runtime.paths import PathError
from starjax.training.run import train_and_test

TARGETS = ("time", "total_mass_within_2x_r_tidal")
VISIBLE = ("y", "z", "vy", "vz", "log_L_L_sol")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def ensemble(answering_config, base):
    """An ensemble of two members with point heads, whose samples have 64 stars."""
    changes = {"name": "ensemble", "ensemble.size": 2, "data.num_star_per_sample": 64}
    return train_and_test(answering_config(base, **changes))


@pytest.fixture(scope="module")
def stars(member_list_file):
    return member_list.read_member_list(member_list_file)


def test_a_loaded_run_predicts_what_its_test_predicted(mixture, small):
    run = starjax.load(mixture.path)
    raw = shard.load_shard(shard_path(small, "raw", "test")).select(VISIBLE, TARGETS)
    clusters = {str(i): raw.feature[raw.ptr[i] : raw.ptr[i + 1]] for i in range(raw.num_snapshot)}
    found = run.posterior(clusters).table
    tested = pd.read_parquet(mixture.snapshots)
    np.testing.assert_array_equal(found["cluster"].astype(int), tested["snapshot_id"])
    for name in (
        "prediction_scaled",
        "p16_scaled",
        "p97.5_scaled",
        "prediction_physical",
        "novelty",
        "num_star",
    ):
        np.testing.assert_allclose(found[name], tested[name], rtol=1e-4, atol=1e-4)


def test_the_path_of_a_catalogue_is_expanded_or_refused(mixture, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    run = starjax.load(mixture.path)
    for path, expected in (("$HOME/none.csv", "/home/me"), (Path("~/none.csv"), "~")):
        with pytest.raises(CatalogError, match=rf"^{expected}/none\.csv: there is no such file"):
            run.predict(path)
    with pytest.raises(PathError, match="is not in UTF-8"):
        run.predict("am\udce9lie.csv")


def test_a_prediction_is_complete(mixture, stars):
    found = starjax.load(str(mixture.path)).predict(stars)
    [row] = found.table.to_dict("records")
    assert row["cluster"] == "the table"
    assert row["num_star"] == len(found.members["the table"].feature)
    for key in TARGETS:
        ends = [row[f"{key}_{p}"] for p in ("p2.5", "p16", "p84", "p97.5")]
        assert ends == sorted(ends)
        assert ends[1] <= row[key] <= ends[2]
        assert row[f"{key}_spread_members"] == 0
    assert row["distance_pc"] == pytest.approx(200, abs=1)
    assert 100 < row["mass_projected_virial"] < 1000
    assert row["mass_virial_error"] > 0
    assert row["run"] == str(mixture.path)
    assert "zero point" in row["notes"]


def test_the_repr_says_what_is_predicted_from_what(mixture):
    text = repr(load_predictor(mixture.path))
    assert text.startswith(f"Predictor({mixture.path}: time, total_mass_within_2x_r_tidal from ")


def test_samples_have_the_intervals_of_the_table(mixture, stars):
    found = load_predictor(mixture.path).predict(stars)
    samples, row = found.samples("the table", 20_000), found.table.iloc[0]
    assert tuple(samples.columns) == TARGETS
    for key in TARGETS:
        width = row[f"{key}_p84"] - row[f"{key}_p16"]
        for name, level in (("p2.5", 0.025), ("p16", 0.16), ("p84", 0.84), ("p97.5", 0.975)):
            assert samples[key].quantile(level) == pytest.approx(row[f"{key}_{name}"], abs=0.1 * width)
    pd.testing.assert_frame_equal(samples, found.samples("the table", 20_000))
    with pytest.raises(KeyError, match="no cluster 'another'; there are the table"):
        found.samples("another")


def test_stars_without_a_colour_or_a_listed_luminosity_still_count(mixture, stars):
    run, few = load_predictor(mixture.path), stars.copy()
    few["bp_rp"][::3] = np.nan
    whole, of_few = (run.predict(table).table.iloc[0] for table in (stars, few))
    assert of_few["num_star"] == whole["num_star"]
    assert "left out" not in of_few["flag_reasons"]
    listed = stars.copy()
    listed["log_L_L_sol"] = np.where(np.arange(len(stars)) < 50, -1.0, np.nan)
    found = run.predict(listed).table.iloc[0]
    assert found["num_star"] == whole["num_star"]
    assert " stars as listed." in found["notes"]


def test_a_prediction_without_many_of_the_stars_is_flagged(mixture, stars):
    run, dim = load_predictor(mixture.path), stars.copy()
    dim["phot_g_mean_mag"][::3] = np.nan
    row = run.predict(dim).table.iloc[0]
    assert row["num_left_out"] > 100
    num_listed = row[["num_left_out", "num_star", "num_non_member"]].sum()
    assert f"{row['num_left_out']} of {num_listed} stars are left out" in row["flag_reasons"]


def test_a_cluster_that_cannot_be_predicted_does_not_stop_the_others(mixture, stars, capsys):
    both = stars.copy()
    both["cluster"] = np.where(np.arange(len(stars)) < 8, "few", "many")
    run = load_predictor(mixture.path)
    found = run.predict(both)
    assert list(found.table["cluster"]) == ["many"]
    assert set(found.refused) == {"few"}
    prediction_summary.print_prediction(found, run)
    printed = capsys.readouterr().out
    assert "few, no prediction: only 8 stars" in printed
    assert prediction_summary.NOTE_ON_COMPLETENESS in printed


def test_a_run_that_learned_from_lists_with_gaps_does_not_assume_complete_ones(mixture, stars, capsys):
    run = load_predictor(mixture.path)
    found = run.predict(stars)
    with run.config.unlocked():
        run.config.observer.distance_range_pc = (40.0, 2000.0)
    prediction_summary.print_prediction(found, run)
    assert prediction_summary.NOTE_ON_COMPLETENESS not in capsys.readouterr().out


def test_each_cluster_has_its_own_view_and_the_others_the_default(mixture, stars, capsys):
    half = stars[:200].copy()
    both = Table(np.concatenate([stars[:200].as_array(), half.as_array()]), names=stars.colnames)
    both["cluster"] = ["near"] * 200 + ["far"] * 200
    both.remove_column("source_id")
    both["ra"][200:] += 30
    run = load_predictor(mixture.path)
    views = {"far": View(distance_pc=210, extinction_v_mag=1.0), "Messier 1": View()}
    found = run.predict(both, View(distance_pc=190), views=views)
    distance = found.table.set_index("cluster")["distance_pc"]
    assert (distance["near"], distance["far"]) == (190, 210)
    assert any("A_V of 1 mag" in note for note in found.members["far"].notes)
    assert any("A_V of 0 mag" in note for note in found.members["near"].notes)
    assert found.unmatched == ("Messier 1",)
    prediction_summary.print_prediction(found, run)
    assert "The catalogue has no cluster Messier 1: what is stated" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_error_without_any_prediction_names_clusters_that_the_catalogue_lacks(mixture, stars):
    with pytest.raises(PredictorError, match=r"only 8 stars .* The catalogue has no cluster M1:"):
        load_predictor(mixture.path).predict(stars[:8], views={"M1": View()})


def test_two_clusters_under_one_name_are_an_error(mixture, stars):
    both = stars[:200].copy()
    both["parallax"] = np.where(np.arange(200) < 100, 5.0, 9.0)
    both["parallax_error"] = 0.01
    with pytest.raises(PredictorError, match="column cluster"):
        load_predictor(mixture.path).predict(both)


def test_the_order_of_the_rows_does_not_matter(mixture, stars):
    run = load_predictor(mixture.path)
    shuffled = stars[np.random.default_rng(0).permutation(len(stars))]
    columns = [*TARGETS, "novelty", "mass_virial", "distance_pc"]
    first, second = (run.predict(table).table[columns] for table in (stars, shuffled))
    np.testing.assert_allclose(first, second, rtol=1e-4)


@pytest.mark.slow
def test_clusters_of_one_catalogue_are_predicted_as_each_alone(mixture, stars):
    run = load_predictor(mixture.path)
    few = stars[::2]
    both = Table(np.concatenate([stars.as_array(), few.as_array()]), names=stars.colnames)
    both["cluster"] = ["whole"] * len(stars) + ["half"] * len(few)
    both["source_id"] = np.arange(len(both))
    found = run.predict(both.to_pandas()).table.set_index("cluster")
    assert list(found.index) == ["whole", "half"]
    for name, table in (("whole", stars), ("half", few)):
        alone = run.predict(table).table.iloc[0]
        for column in (*TARGETS, "novelty", "mass_wolf"):
            assert found.loc[name, column] == pytest.approx(alone[column], rel=1e-4)


@pytest.mark.slow
def test_a_cluster_larger_than_a_sample_is_drawn_many_times(ensemble, stars):
    run = load_predictor(ensemble.path)
    assert len(run.epochs) == 2
    [row] = run.predict(stars).table.to_dict("records")
    assert row["time_spread_members"] > 0
    assert row["time_spread_draws"] > 0
    again = run.predict(stars).table.iloc[0]
    assert again["time"] == row["time"]
    [one_draw] = run.predict(stars, num_draws=1).table.to_dict("records")
    assert one_draw["time_spread_draws"] == 0
    many = run.predict(stars, num_draws=200).table.iloc[0]
    assert abs(many["time"] - row["time"]) < 4 * row["time_spread_draws"]


@pytest.mark.slow
def test_the_prediction_of_a_cluster_does_not_depend_on_the_others(ensemble, stars):
    """Also if its stars are drawn, since they are more than fit into a sample."""
    run = load_predictor(ensemble.path)
    stars = stars.to_pandas().drop(columns="row")
    other = stars[::2].assign(cluster="a")
    both = run.predict(pd.concat([other, stars.assign(cluster="b")])).table.set_index("cluster")
    alone = run.predict(stars.assign(cluster="b")).table.set_index("cluster")
    assert len(stars) > run.config.data.num_star_per_sample
    for column in ("time", "time_p16", "time_spread_draws", "novelty", "mass_virial"):
        assert both.loc["b", column] == pytest.approx(alone.loc["b", column], rel=1e-5)


def test_given_properties_replace_those_of_the_catalogue(mixture, stars):
    run = load_predictor(mixture.path)
    found = run.predict(stars, View(distance_pc=250.0, radial_velocity_kms=10.0)).table.iloc[0]
    assert (found["distance_pc"], found["radial_velocity_kms"]) == pytest.approx((250, 10))


@pytest.mark.slow
def test_a_run_trained_about_the_simulations_origin_flags_every_prediction(ensemble, mixture, stars):
    run = load_predictor(ensemble.path)
    assert run.caveats == ()
    with run.config.unlocked():
        run.config.data.centred = False
    row = run.predict(stars).table.iloc[0]
    assert row["is_flagged"]
    assert row["flag_reasons"].startswith(
        "trained on positions and velocities about the origin of the simulations"
    )


def test_the_example_in_the_docstring_is_right(mixture, member_list_file):
    names = {"starjax": starjax, "run_directory": mixture.path, "catalog_file": member_list_file}
    [written] = doctest.DocTestFinder().find(load_predictor, globs=names)
    assert doctest.DocTestRunner().run(written) == (0, 5)


def test_the_error_names_the_cluster(mixture, stars):
    with pytest.raises(PredictorError, match=r"cluster the table: only 8 stars .* 10"):
        load_predictor(mixture.path).predict(stars[:8])


@pytest.mark.parametrize("kind", [dict, pd.DataFrame.to_records, lambda frame: None])
def test_a_catalogue_that_is_no_table_is_an_error(mixture, stars, kind):
    with pytest.raises(CatalogError, match=r"the table is a .*: give the name of a file"):
        load_predictor(mixture.path).predict(kind(stars.to_pandas()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config.json", "holds no run"),
        ("test_metrics.json", "not finished"),
        ("calibration.json", "calibration.json missing"),
        ("training_set.npz", "training_set.npz missing"),
        ("feature_scaler_bundle.joblib", "feature_scaler_bundle.joblib missing"),
        ("checkpoints", "checkpoints missing"),
    ],
)
def test_the_error_names_a_missing_file(mixture, copy_without, name, said):
    copy = copy_without(mixture, name)
    with pytest.raises(starjax.errors.StarjaxError, match=said):
        load_predictor(copy.path)


@pytest.mark.weekly
def test_the_error_of_a_sweep_names_its_best_run(answering_config, base):
    changes = {
        "name": "sweep",
        "ensemble.size": 2,
        "sweep.learning_rate": (1e-3, 1e-2),
        "data.num_star_per_sample": 32,
    }
    place = train_and_test(answering_config(base, **changes))
    with pytest.raises(PredictorError, match="sweep-best"):
        load_predictor(place.path)
    best = load_predictor(f"{place.path}-best")
    assert len(best.epochs) == 1


def test_the_run_directory_has_the_calibration_and_its_test(mixture):
    content = json.loads(mixture.calibration.read_text())
    assert set(content["targets"]) == set(TARGETS)
    table = pd.read_csv(mixture.coverage)
    tested = pd.read_parquet(mixture.snapshots)
    for key in TARGETS:
        whole = table[(table["target_key"] == key) & (table["by"] == "all")].iloc[0]
        rows = tested[tested["target_key"] == key]
        assert whole["num_snapshot"] == len(rows)
        assert whole["coverage_68"] == pytest.approx(rows["is_within_68"].mean())
        is_within = rows["target_scaled"].between(rows["p16_scaled"], rows["p84_scaled"])
        assert whole["coverage_68"] == pytest.approx(is_within.mean())
    assert {"num_star", "distance_pc", "time", *TARGETS} <= set(table["by"])
    assert tested["mass_projected_virial"].notna().any()
    joint = json.loads(mixture.test_metrics.read_text())["joint"]
    for test in ("ellipse", "tarp"):
        assert joint[test]["coverage_68"] == pytest.approx((tested[f"joint_{test}"] < 0.68).mean())
    figures = {path.name for path in mixture.figures.iterdir()}
    assert {"errors.png", "calibration.png", "joint-calibration.png"} <= figures
