"""The table of an answer: what flags it, classical masses beside it, and the names of its figures."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.membership import View
from starjax.dynamics import cluster_masses
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.evaluation.posterior import Posterior
from starjax.inference import prediction_files, prediction_table


def reference(**ranges):
    keys = tuple(ranges)
    one = np.ones((1, 1))
    return TrainingReference(
        one[0], one, one, 1.0, one[0], one, keys, np.array(list(ranges.values()), np.float64)
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"novelty": 1.3}, "novelty 1.3"),
        ({"num_star": 1304}, "1,304 stars, trained on 10 to 900"),
        ({"num_left_out": 20}, "20 of 225 stars are left out"),
        ({"num_non_member": 50}, "50 of 250 stars move or stand unlike the rest"),
        # Of all stars, those that do not belong included, three are few.
        ({"num_star": 11, "num_non_member": 393}, "393 of 404 stars move or stand unlike the rest"),
        ({"distance_pc": 47.4}, "47 pc away, trained on 50 to 600"),
        ({"mass": 440.0, "mass_p84": 500.0}, "mass reaches the end"),
        ({"mass_p84": 431.0}, "mass reaches the end of what was trained on, 4 to 430"),
        ({"mass_p16": 3.0}, "mass reaches the end"),
        ({"time_p16": -3.0}, None),  # ages begin at zero, for all clusters
        ({"time_p84": 400.0}, "age reaches the end of what was trained on, 0 to 380 Myr"),
    ],
)
def test_flags_tell_why(changes, said):
    known = reference(num_star=(10, 900), distance_pc=(50, 600), time=(0, 380), mass=(4, 430))
    row = {"novelty": 0.6, "num_star": 200, "num_left_out": 3, "num_non_member": 5, "distance_pc": 200.0}
    row |= {
        "time": 100.0,
        "time_p16": 60.0,
        "time_p84": 150.0,
        "mass": 90.0,
        "mass_p16": 80.0,
        "mass_p84": 100.0,
    }
    found = prediction_table.flag_reasons(("time", "mass"), known, row | changes)
    assert len(found) == (said is not None)
    if said:
        assert said in found[0]


def test_classical_masses_are_those_of_the_sky_whatever_the_run_sees():
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    table["radial_velocity"] = np.where(np.isnan(table["radial_velocity"]), 5.0, table["radial_velocity"])
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


def answered(members, feature_keys, doubts=()):
    """The row of one cluster whose answer lies amid what was trained on."""
    known = reference(num_star=(10, 900), distance_pc=(50, 600), time=(0, 380))
    bounds = {"p2.5": 40, "p16": 60, "prediction": 100, "p84": 150, "p97.5": 200}
    row = {f"{name}_physical": value for name, value in bounds.items()} | {
        "cluster": "one",
        "target_key": "time",
    }
    row |= {"spread_members": 1.0, "spread_draws": 0.0, "novelty": 0.5, "num_star": len(members.feature)}
    answer = Posterior(pd.DataFrame([row]), [])
    return prediction_table.prediction_table(
        ("time",), feature_keys, known, {"one": members}, answer, doubts
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
def test_answers_from_uncertain_velocities_are_flagged_where_the_run_sees_them(error, keys, is_flagged):
    members = derive_features(
        member_list.read_member_list(member_list.EXAMPLE_FILE), ("y", "z", "vy", "vz"), View()
    )
    stars = members.table.assign(v_lon_error=error, v_lat_error=error)
    row = answered(dataclasses.replace(members, table=stars), keys)
    assert row["is_flagged"] == is_flagged
    assert ("trained on velocities without errors" in row["flags"]) == is_flagged
    assert row["velocity_error_kms"] == error


def test_without_motions_there_are_no_masses_and_no_flag_of_them():
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    table.remove_columns([name for name in table.colnames if name.startswith(("pm", "radial"))])
    row = answered(derive_features(table, ("y", "z"), View()), ("y", "z"))
    assert np.isnan([row["mass_virial"], row["velocity_error_kms"], row["sigma_1d_kms"]]).all()
    assert not row["is_flagged"]
    row = answered(derive_features(table, ("y", "z"), View()), ("y", "z"), doubts=("a doubt",))
    assert row["flags"] == "a doubt"


def test_figures_of_clusters_do_not_take_each_others_names():
    found = prediction_files._file_names(["NGC 752", "NGC_752", "ngc/752", "M67"])
    assert found == ["NGC_752.png", "NGC_752-2.png", "ngc_752-3.png", "M67.png"]
    found = prediction_files._file_names(["é" * 200, "é" * 199])
    assert found == ["é" * 50 + ".png", "é" * 50 + "-2.png"]
