"""The figure of a cluster shows what the table says, and a single star does not set its scales."""

import dataclasses

import numpy as np
import pytest

from starjax.catalogs import member_list
from starjax.catalogs.stated.view import View
from starjax.inference.predictor import load_predictor
from starjax.predictions import cluster_figure, star_panels

SKY, COLOURS, MOTIONS = "sky", "colours and magnitudes", "proper motions"
TRAINING = "among training clusters, 68 %"


@pytest.fixture(scope="module")
def run(mixture):
    return load_predictor(mixture.path)


@pytest.fixture
def stars(member_list_file):
    return member_list.read_member_list(member_list_file)


def draw(run, found, **changes):
    """Return the axes of the figure by the beginnings of their titles."""
    [(name, members)] = found.members.items()
    members = dataclasses.replace(members, **changes)
    figure = cluster_figure.draw_cluster(run, members, found.posterior, name, False)
    titled = [(axes.get_title("left") or axes.get_title("right"), axes) for axes in figure.axes]
    return {title.partition(":")[0].partition(" (")[0]: axes for title, axes in titled if title}


def beyond(axes):
    """Return how many stars a panel says to be beyond it."""
    return int((axes.get_title("right") or "0").split()[0])


def test_it_shades_the_intervals_of_the_table(run, stars):
    found = run.predict(stars)
    panels, row = draw(run, found), found.table.iloc[0]
    for key, title in (("time", "age"), ("total_mass_within_2x_r_tidal", "mass")):
        shades = zip(panels[title].collections[:2], (("p2.5", "p97.5"), ("p16", "p84")), strict=True)
        limits = panels[title].get_xlim()
        for shade, ends in shades:
            along = shade.get_paths()[0].vertices[:, 0]
            bounds = np.clip([row[f"{key}_{ends[0]}"], row[f"{key}_{ends[1]}"]], *limits)
            assert (along.min(), along.max()) == pytest.approx(bounds)
        assert f"{row[key]:,.0f} (" in panels[title].get_title("left") + panels[title].get_title("right")


def test_ages_have_the_same_scale_in_all_figures_of_a_run(run, stars):
    scales = []
    for distance in (150, 400):
        panels = draw(run, run.predict(stars, View(distance_pc=distance)))
        scales.append(
            (panels[TRAINING].get_xscale(), panels[TRAINING].get_xlim(), panels["age"].get_xscale())
        )
    assert scales[0] == scales[1]
    assert scales[0][0] == scales[0][2]


def test_a_single_star_does_not_set_the_scales(run, stars):
    found = run.predict(stars)
    before, [members] = draw(run, found), found.members.values()
    far = members.table.copy()
    far.loc[0, ["pm_lon_coslat_mas_yr", "lat_deg"]] = 1000.0, 80.0
    after = draw(run, found, table=far)
    for title in (SKY, MOTIONS):
        for limits in ("get_xlim", "get_ylim"):
            old, new = getattr(before[title], limits)(), getattr(after[title], limits)()
            np.testing.assert_allclose(old, new, atol=0.1 * np.ptp(old))
        assert beyond(after[title]) - beyond(before[title]) in (0, 1)
        assert beyond(after[title]) > 0


def test_stars_that_are_left_out_are_marked(run, stars):
    stars["pmra"][10] += 500
    found = run.predict(stars)
    [members] = found.members.values()
    # Three lack a proper motion, and one has another.
    assert list(members.left_out["row"]) == [11, 28, 103, 324]
    panels = draw(run, found)
    marks = np.concatenate([one.get_ydata() for one in panels[COLOURS].lines if one.get_marker() == "x"])
    np.testing.assert_array_equal(np.sort(marks), np.sort(members.left_out["phot_g_mean_mag"]))
    assert beyond(panels[MOTIONS]) == 1


def test_without_colours_there_is_no_such_diagram(run, stars):
    assert {SKY, COLOURS, MOTIONS, TRAINING} <= set(draw(run, run.predict(stars)))
    stars["bp_rp"] = np.nan
    assert COLOURS not in draw(run, run.predict(stars))


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [
        (np.linspace(0, 1, 101), [], (-0.05, 1.05)),
        # One far star of a hundred, and one left out, do not count; near ones do.
        ([*np.linspace(0, 1, 101), 1e6], [-50.0], (-0.05, 1.05)),
        ([*np.linspace(0, 1, 101), 1.5], [-0.5, np.nan], (-0.6, 1.6)),
        # All at one place.
        (np.full(10, 3.0), [], (2.75, 3.25)),
    ],
)
def test_limits_show_the_members_and_what_is_near(members, others, expected):
    limits = star_panels.robust_limits(np.asarray(members), np.asarray(others), least=0.5)
    assert limits == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("name", [r"$\frac{1}{$", "x" * 300, "Köhler\n星", ""])
def test_any_name_is_a_title(run, stars, name):
    found = run.predict(stars)
    [members] = found.members.values()
    table = found.posterior.table.assign(cluster=name)
    posterior = dataclasses.replace(found.posterior, table=table, clusters=(name,))
    cluster_figure.draw_cluster(run, members, posterior, name, True).canvas.draw()
