"""Figures show the numbers that they are made from: counts, errors, coverage."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.container import ErrorbarContainer

from starjax.evaluation import calibration
from starjax.evaluation.joint_calibration import PERCENT, CoverageCurve
from starjax.plotting import evaluation_figures

MASS = "total_mass_within_2x_r_tidal"
NUM = 200


def _floats(values):
    """Return the values of error bars, which matplotlib stores as objects."""
    return np.asarray(values, np.float64)


@pytest.fixture
def snapshots():
    """Return predictions with ages too large by 10 Myr, and masses too large by 10 %."""
    rng = np.random.default_rng(0)
    age, mass = rng.uniform(5, 300, NUM), 10 ** rng.uniform(1, 2.5, NUM)
    common = {"snapshot_id": np.arange(NUM), "num_star": rng.integers(10, 800, NUM), "distance_pc": 200.0}
    tables = [
        pd.DataFrame(common | {"target_key": key, "target_physical": true, "prediction_physical": predicted})
        for key, true, predicted in (("time", age, age + 10), (MASS, mass, 1.1 * mass))
    ]
    return pd.concat(tables, ignore_index=True).assign(pit=np.tile(np.linspace(0, 1, NUM), 2))


def test_densities_of_values_and_errors_contain_all_samples(snapshots):
    metrics = {key: {"scaled": {"r2": 0.9}, "physical": {"mae": 10.0}} for key in ("time", MASS)}
    figure = evaluation_figures.predicted_against_true(snapshots, metrics)
    age, mass, age_errors, mass_errors = figure.axes[:4]
    for axes in (age, mass, age_errors, mass_errors):
        [density] = [c for c in axes.collections if isinstance(c, PolyCollection)]
        assert density.get_array().sum() == NUM
        assert density.get_array().max() <= density.norm.vmax  # the colour scale covers all counts
    for axes, error in ((age_errors, 10), (mass_errors, np.log10(1.1))):
        [density] = [c for c in axes.collections if isinstance(c, PolyCollection)]
        # Hexagons are one path with offsets; on logarithmic axes, each is a path of its own.
        paths = density.get_paths()
        middle = density.get_offsets()[:, 1] if len(paths) == 1 else [p.vertices[:, 1].mean() for p in paths]
        np.testing.assert_allclose(middle, error, atol=axes.get_ylim()[1] / 6)
    assert "R² = 0.900" in age.get_title()
    assert (mass.get_xscale(), age.get_xscale()) == ("log", "linear")


def test_errors_are_shown_against_properties_of_the_clusters(snapshots):
    figure = evaluation_figures.errors_by_property(snapshots)
    by_label = {axes.get_xlabel(): axes for axes in figure.axes if axes.get_xlabel()}
    of_mass = next(axes for label, axes in by_label.items() if label.startswith("true mass"))
    points = next(line for line in of_mass.get_lines() if line.get_label() == "snapshot")
    rows = snapshots[snapshots["target_key"] == MASS]
    np.testing.assert_allclose(points.get_xdata(), rows["target_physical"])
    np.testing.assert_allclose(points.get_ydata(), np.log10(1.1))
    [bars] = [c for c in of_mass.containers if isinstance(c, ErrorbarContainer)]
    np.testing.assert_allclose(_floats(bars.lines[0].get_ydata()), np.log10(1.1))


def test_coverage_is_shown_at_its_nominal_level(snapshots):
    shares = {"coverage_68": 0.61, "coverage_68_error": 0.05, "coverage_95": 0.93, "coverage_95_error": 0.02}
    table = pd.DataFrame([{"target_key": key, "by": "all"} | shares for key in ("time", MASS)])
    for axes in evaluation_figures.calibration_curves(snapshots, table).axes:
        [bars] = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
        [segments] = bars.lines[2]
        np.testing.assert_allclose(_floats(segments.get_segments()[0]), [[0.68, 0.63], [0.68, 0.73]])
        covered = next(line for line in axes.get_lines() if "calibrated interval" in str(line.get_label()))
        np.testing.assert_allclose(covered.get_xdata(), calibration.LEVELS)
        np.testing.assert_allclose(covered.get_ydata(), [0.61, 0.93])
        curve = next(line for line in axes.get_lines() if "before calibration" in str(line.get_label()))
        np.testing.assert_allclose(curve.get_ydata(), curve.get_xdata(), atol=1 / NUM + 1e-9)


def test_joint_coverage_is_shown_with_its_expected_scatter():
    nominal = PERCENT / 100
    curve = CoverageCurve(nominal**2, np.full(99, 0.03), 0.25)
    figure = evaluation_figures.joint_calibration_curves({"ellipse": curve, "tarp": curve})
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert axes.get_title().endswith("p = 0.25")
        *_, line = axes.get_lines()
        np.testing.assert_allclose(line.get_ydata(), nominal**2)
        half = [
            bounds.height / 2 for bounds in (band.get_datalim(axes.transData) for band in axes.collections)
        ]
        np.testing.assert_allclose(half, [0.49 + 0.06, 0.49 + 0.03])
