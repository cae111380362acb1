"""The table of a prediction: its flags, its classical masses, and the names of its figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View
from starjax.dynamics import cluster_masses
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.evaluation.posterior import Posterior
from starjax.inference import prediction_table
from starjax.predictions import prediction_files


def reference(**ranges):
    keys = tuple(ranges)
    one = np.ones((1, 1))
    return TrainingReference(
        one[0], one, one, 1.0, one[0], one, keys, np.array(list(ranges.values()), np.float64)
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"novelty": 1.3}, "novelty 1.3"),
        ({"num_star": 1304}, "1,304 stars, trained on 10 to 900"),
        ({"num_left_out": 20}, "20 of 225 stars are left out because values are missing"),
        ({"num_non_member": 50}, "50 of 250 stars are left out as non-members"),
        # Three stars without values are few of all stars, though not of the members.
        ({"num_star": 11, "num_non_member": 393}, "393 of 404 stars are left out as non-members"),
        ({"distance_pc": 47.4}, "47 pc away, trained on 50 to 600"),
        ({"metallicity": 0.1}, None),
        ({"metallicity": -0.5}, "[Fe/H] of -0.50, trained on -0.37 to 0.30"),
        ({"mass": 440.0, "mass_p84": 500.0}, "mass reaches the end"),
        ({"mass_p84": 431.0}, "mass reaches the end of the training range, 4 to 430"),
        ({"mass_p16": 3.0}, "mass reaches the end"),
        ({"time_p16": -3.0}, None),  # all ages begin at zero
        ({"time_p84": 400.0}, "age reaches the end of the training range, 0 to 380 Myr"),
    ],
)
def test_flags_give_the_reason(changes, expected):
    ranges = {"num_star": (10, 900), "distance_pc": (50, 600), "metallicity": (-0.37, 0.3)}
    known = reference(**ranges, time=(0, 380), mass=(4, 430))
    row = {
        "metallicity": np.nan,
        "novelty": 0.6,
        "num_star": 200,
        "num_left_out": 3,
        "num_non_member": 5,
        "distance_pc": 200.0,
    }
    row |= {
        "time": 100.0,
        "time_p16": 60.0,
        "time_p84": 150.0,
        "mass": 90.0,
        "mass_p16": 80.0,
        "mass_p84": 100.0,
    }
    found = prediction_table.flag_reasons(("time", "mass"), known, row | changes)
    assert len(found) == (expected is not None)
    if expected:
        assert expected in found[0]


def test_classical_masses_do_not_depend_on_the_features_of_the_run(member_list_file):
    table = member_list.read_member_list(member_list_file)
    filled = np.random.default_rng(0).normal(5, 0.1, len(table))
    table["radial_velocity"] = np.where(np.isnan(table["radial_velocity"]), filled, table["radial_velocity"])
    table["radial_velocity_error"] = 3.0
    keys = ("y", "z", "vy", "vz"), ("x", "y", "z", "vx", "vy", "vz"), ("y", "z")
    view = View(clip=False)
    across, galactic, places = (
        cluster_masses.masses_of_members(derive_features(table, k, view)) for k in keys
    )
    assert across["mass_virial"] > 0
    for name, value in across.items():
        for other in (galactic, places):
            assert other[name] == (value if isinstance(value, str) else pytest.approx(value, rel=0.05)), name


def predicted_row(members, feature_keys, caveats=()):
    """Return the row of a cluster whose prediction is within the training range."""
    known = reference(num_star=(10, 900), distance_pc=(50, 600), time=(0, 380))
    bounds = {"p2.5": 40, "p16": 60, "prediction": 100, "p84": 150, "p97.5": 200}
    row = {f"{name}_physical": value for name, value in bounds.items()} | {
        "cluster": "one",
        "target_key": "time",
    }
    row |= {"spread_members": 1.0, "spread_draws": 0.0, "novelty": 0.5, "num_star": len(members.feature)}
    posterior = Posterior(pd.DataFrame([row]), ("one",), [], None, None, None, ("time",))
    return prediction_table.prediction_table(
        ("time",), feature_keys, known, {"one": members}, posterior, caveats
    ).iloc[0]


@pytest.mark.parametrize(
    ("error", "keys", "is_flagged"),
    [
        (0.05, ("y", "vy"), False),
        (0.5, ("y", "vy"), True),
        (0.5, ("lat_deg", "pm_lat_mas_yr"), True),
        (0.5, ("y", "z"), False),
    ],
)
def test_predictions_from_uncertain_velocities_are_flagged_if_velocities_are_features(
    member_list_file, error, keys, is_flagged
):
    members = derive_features(member_list.read_member_list(member_list_file), ("y", "z", "vy", "vz"), View())
    stars = members.table.assign(v_lon_error=error, v_lat_error=error)
    row = predicted_row(dataclasses.replace(members, table=stars), keys)
    assert row["is_flagged"] == is_flagged
    assert ("trained on velocities without errors" in row["flag_reasons"]) == is_flagged
    assert row["velocity_error_kms"] == error


def test_without_motions_there_are_no_classical_masses_and_no_flag(member_list_file):
    table = member_list.read_member_list(member_list_file)
    table.remove_columns([name for name in table.colnames if name.startswith(("pm", "radial"))])
    row = predicted_row(derive_features(table, ("y", "z"), View()), ("y", "z"))
    assert np.isnan([row["mass_virial"], row["velocity_error_kms"], row["sigma_1d_kms"]]).all()
    assert not row["is_flagged"]
    row = predicted_row(derive_features(table, ("y", "z"), View()), ("y", "z"), caveats=("a caveat",))
    assert row["flag_reasons"] == "a caveat"


def test_a_caveat_of_the_catalogue_flags_its_cluster(member_list_file):
    members = derive_features(member_list.read_member_list(member_list_file), ("y", "z"), View())
    assert members.caveats == ()
    row = predicted_row(dataclasses.replace(members, caveats=("of its list",)), ("y", "z"))
    assert row["flag_reasons"] == "of its list"


def test_figures_of_clusters_have_distinct_names():
    found = prediction_files._figure_names(["NGC 752", "NGC_752", "ngc/752", "M67"])
    assert found == ["NGC_752.png", "NGC_752-2.png", "ngc_752-3.png", "M67.png"]
    found = prediction_files._figure_names(["é" * 200, "é" * 199])
    assert found == ["é" * 50 + ".png", "é" * 50 + "-2.png"]
