"""The table of errors and coverage on simulated lists."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import starjax
from benchmarks import simulated_lists
from starjax import quantities
from starjax.runs import run_config

NUM = 2000


def synthetic():
    """Return rows of ages with 68 % intervals half as wide as they should be, and right 95 % intervals."""
    rng = np.random.default_rng(0)
    log_age, error = rng.uniform(0.5, 3, NUM), rng.normal(0.02, 0.1, NUM)
    predicted, age = 10 ** (log_age + error), 10**log_age
    half_width = {"p16": -0.05, "p84": 0.05, "p2.5": -0.196, "p97.5": 0.196}
    bounds = {f"{name}_physical": predicted * 10**width for name, width in half_width.items()}
    return pd.DataFrame(
        {
            "target_key": "time",
            "target": age,
            "time_myr": age,
            "prediction_physical": predicted,
            "run_id": [f"r{i}" for i in rng.integers(50, size=NUM)],
            "num_star": rng.integers(10, 900, NUM),
            "distance_pc": rng.uniform(40, 1500, NUM),
            "faint_limit_mag": rng.uniform(16.5, 20.5, NUM),
            **bounds,
        }
    )


def test_figures_of_lists():
    rows = synthetic()
    summary = simulated_lists.summarize(rows)
    by_name = {row["lists"]: row for row in summary}
    assert by_name["all"]["n"] + by_name["time_myr below 20"]["n"] == NUM
    for column in simulated_lists.EDGES:
        assert (
            sum(n["n"] for name, n in by_name.items() if name.startswith(f"{column} ") and " to " in name)
            == (by_name["all"]["n"])
        )
    found = by_name["all"]
    assert found["bias"] == pytest.approx(0.02, abs=0.01)
    assert found["rms"] == pytest.approx(np.hypot(0.1, 0.02), rel=0.05)
    assert found["scatter"] == pytest.approx(0.1, rel=0.1)
    assert found["within_68"] == pytest.approx(0.38, abs=0.03)
    assert found["within_95"] == pytest.approx(0.95, abs=0.02)
    # Independent lists scatter as a proportion does.
    assert found["error_68"] == pytest.approx(np.sqrt(0.38 * 0.62 / found["n"]), rel=0.3)


@pytest.mark.weekly
def test_lists_of_the_test_simulations(tmp_path, monkeypatch):
    predictor = starjax.load("gaia")
    settings = dataclasses.replace(
        run_config.observer(predictor.config),
        distance_range_pc=(100.0, 101.0),
        faint_limit_range_mag=(18.0, 18.1),
    )
    rows = simulated_lists.predict_lists(predictor, settings, num_draw=1, seed=0)
    assert set(rows["target_key"]) == {"time", quantities.MASS}
    assert rows["distance_pc"].between(100, 101).all()
    assert rows["faint_limit_mag"].between(18, 18.1).all()
    ages = rows[rows["target_key"] == "time"]
    np.testing.assert_allclose(ages["target"], ages["time_myr"], rtol=1e-4, atol=1e-3)
    # Worse than this only if lists and true values are of different snapshots.
    assert np.corrcoef(np.log10(ages["target"] + 1), np.log10(ages["prediction_physical"] + 1))[0, 1] > 0.8
