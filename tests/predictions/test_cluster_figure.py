"""The figure of a cluster shows what the table says, and a single star does not set its scales."""

import dataclasses

import numpy as np
import pytest
from matplotlib.quiver import Quiver

from starjax.catalogs import member_list
from starjax.inference.predictor import load_predictor
from starjax.predictions import cluster_figure

TARGETS = ("time", "total_mass_within_2x_r_tidal")


@pytest.fixture(scope="module")
def run(mixture):
    return load_predictor(mixture.path)


@pytest.fixture
def stars(member_list_file):
    return member_list.read_member_list(member_list_file)


def draw(run, stars, found=None):
    """Return the prediction and the axes of the figure by their titles, those of targets by their keys."""
    found = found or run.predict(stars)
    [name] = found.members
    figure = cluster_figure.draw_cluster(run, found.members[name], found.posterior, name, 0, False)
    return found, dict(zip([*(a.get_title() for a in figure.axes[:-2]), *TARGETS], figure.axes, strict=True))


def with_bounds(found, key, **bounds):
    """Return a prediction with other bounds of the intervals of a target, in physical units."""
    table = found.posterior.table.copy()
    for name, value in bounds.items():
        table.loc[table["target_key"] == key, f"{name.replace('_', '.')}_physical"] = value
    return dataclasses.replace(found, posterior=dataclasses.replace(found.posterior, table=table))


def test_it_shades_the_intervals_of_the_table(run, stars):
    found, panels = draw(run, stars)
    row = found.table.iloc[0]
    for key in TARGETS:
        low, high = panels[key].get_xlim()
        shades = zip(panels[key].collections[:2], (("p2.5", "p97.5"), ("p16", "p84")), strict=True)
        for shade, ends in shades:
            along = shade.get_paths()[0].vertices[:, 0]
            bounds = row[f"{key}_{ends[0]}"], row[f"{key}_{ends[1]}"]
            # To a point of the curve.
            assert (max(along.min(), 0), along.max()) == pytest.approx(bounds, abs=0.03 * (high - low))
        assert f"{row[key]:,.0f}" in panels[key].get_title()


@pytest.mark.parametrize(
    ("bounds", "scale"),
    [
        ({"p2_5": 50, "p97_5": 149}, "linear"),
        ({"p2_5": 50, "p97_5": 151}, "log"),
        ({"p2_5": 0, "p16": 20}, "log"),
        ({"p2_5": 0, "p16": 0}, "linear"),
    ],
)
def test_ages_that_span_a_factor_of_three_are_on_a_logarithmic_axis(run, stars, bounds, scale):
    found = with_bounds(run.predict(stars), "time", **bounds)
    _, panels = draw(run, stars, found)
    assert panels["time"].get_xscale() == scale
    assert panels["among training clusters, 68 %"].get_xscale() == scale
    assert panels[TARGETS[1]].get_xscale() == "log"
    x, density = panels["time"].lines[0].get_data()
    area = np.trapezoid(density, np.log(x) if scale == "log" else x)
    # On a logarithmic axis without the lowest ages, and those below zero, which the model allows.
    assert 0.7 < area <= 1.01 if scale == "log" else area == pytest.approx(1, abs=0.01)


def test_arrows_of_single_stars_do_not_set_the_scale(run, stars):
    found = run.predict(stars)
    [(name, members)] = found.members.items()
    _, before = draw(run, stars, found)
    fast = members.table.copy()
    fast.loc[0, "pm_lon_coslat_mas_yr"] = 1000.0
    found.members[name] = dataclasses.replace(members, table=fast)
    _, after = draw(run, stars, found)
    arrows = [
        next(one for one in panels["sky"].collections if isinstance(one, Quiver))
        for panels in (before, after)
    ]
    assert arrows[1].scale == pytest.approx(arrows[0].scale, rel=0.02)
    longest = [np.hypot(one.U, one.V).max() / one.scale for one in arrows]
    width = np.abs(np.subtract(*after["sky"].get_xlim()))
    assert longest[1] == pytest.approx(3 * 0.05 * width, rel=0.1)


def test_stars_that_are_left_out_are_marked(run, stars):
    stars["pmra"][10] += 500
    found, panels = draw(run, stars)
    [members] = found.members.values()
    # Three lack a proper motion, and one has another.
    assert list(members.left_out["row"]) == [11, 28, 103, 324]
    sky = panels["sky"].get_legend_handles_labels()[1]
    assert "left out: 4" in sky
    marks = panels["colour-magnitude diagram"].lines[1]
    np.testing.assert_array_equal(marks.get_ydata(), members.left_out["phot_g_mean_mag"])


def test_without_colours_there_is_no_such_diagram(run, stars):
    stars["bp_rp"] = np.nan
    assert set(draw(run, stars)[1]) == {"sky", "among training clusters, 68 %", *TARGETS}
