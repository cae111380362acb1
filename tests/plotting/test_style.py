"""Figures are the same whatever the settings of the user."""

import inspect

import matplotlib
import pandas as pd
import pytest
from matplotlib.figure import Figure

from starjax.plotting import corner_figure, evaluation_figures, run_figures, style
from starjax.predictions import cluster_figure


def test_figures_do_not_depend_on_the_settings_of_the_user(tmp_path):
    metrics = pd.DataFrame({"member": 0, "epoch": [1, 2], "train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5]})
    of_user = {"text.usetex": True, "axes.facecolor": "red", "savefig.bbox": "tight", "axes.grid": True}
    for name, settings in (("default", {}), ("user", of_user)):
        with matplotlib.rc_context(settings):
            style.save_figure(run_figures.training_curves(metrics, [2], "loss"), tmp_path / f"{name}.png")
            assert settings.items() <= matplotlib.rcParams.items()
    assert (tmp_path / "user.png").read_bytes() == (tmp_path / "default.png").read_bytes()


@pytest.mark.parametrize("module", [cluster_figure, corner_figure, evaluation_figures, run_figures])
def test_all_functions_that_make_a_figure_use_the_default_settings(module):
    functions = [one for _, one in inspect.getmembers(module, inspect.isfunction)]
    drawing = [one for one in functions if inspect.signature(one).return_annotation is Figure]
    assert drawing
    assert all(hasattr(one, "__wrapped__") for one in drawing)
