"""The figure of a cluster shows what the table says, nothing in it overlaps, and no star sets its scales."""

import dataclasses
import itertools
import types

import numpy as np
import pandas as pd
import pytest

from starjax.catalogs import member_list
from starjax.evaluation.calibration import PERCENTILES
from starjax.inference.loading import load_predictor
from starjax.plotting import corner_panels
from starjax.plotting.corner_panels import Scale, Target
from starjax.predictions import cluster_figure, star_panels

AGE, MASS = TARGETS = ("time", "total_mass_within_2x_r_tidal")
MOTIONS = list(star_panels.MOTIONS)
SKY, COLOURS, MOTION = "sky", "colours and magnitudes", "proper motions"
TRAINING = "among training clusters, 68 %"


@pytest.fixture(scope="module")
def run(mixture):
    return load_predictor(mixture.path)


@pytest.fixture(scope="module")
def found(run, member_list_file):
    stars = member_list.read_member_list(member_list_file)
    stars["pmra"][10] += 500
    return run.predict(stars)


def draw(run, found, title=None, **changes):
    """Return the figure of the only cluster, with other `table` or `left_out` of its stars."""
    [(name, members)] = found.members.items()
    posterior = found.posterior
    if title is not None:
        table = posterior.table.assign(cluster=title)
        posterior = dataclasses.replace(posterior, table=table, clusters=(title,))
    return cluster_figure.draw_cluster(
        run, dataclasses.replace(members, **changes), posterior, title or name, True
    )


def panels(figure):
    """Return the axes by the beginnings of their titles; those without one are a pair of targets."""
    names = (SKY, COLOURS, MOTION, TRAINING, "age", "mass")
    titles = [axes.get_title("left") or axes.get_title("right") for axes in figure.axes]
    known = [next((name for name in names if title.startswith(name)), title) for title in titles]
    return dict(zip(known, figure.axes, strict=True))


def legend(figure):
    """Return the entries of all legends."""
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def members_of(found):
    [members] = found.members.values()
    return members


def test_it_shades_the_intervals_of_the_table(run, found):
    shown, row = panels(draw(run, found)), found.table.iloc[0]
    for key, name in zip(TARGETS, ("age", "mass"), strict=True):
        axes = shown[name]
        for shade, ends in zip(axes.collections[:2], PERCENTILES[::-1], strict=True):
            along = shade.get_paths()[0].vertices[:, 0]
            bounds = np.clip([row[f"{key}_{end}"] for end in ends], *axes.get_xlim())
            assert (along.min(), along.max()) == pytest.approx(bounds)
        assert f"{row[key]:,.0f}" in axes.get_title("left") + axes.get_title("right")


def target(key, samples, scale):
    row = {"prediction_physical": np.median(samples)}
    for low, high in PERCENTILES:
        for name in (low, high):
            row[f"{name}_physical"] = np.percentile(samples, float(name[1:]))
    return Target(key, row, samples, scale, (1.0, 1000.0))


@pytest.mark.parametrize("num_below", [0, 20_000])
def test_regions_contain_the_nominal_fractions_of_the_samples(num_below):
    normal = np.random.default_rng(0).standard_normal((100_000, 2))
    age = 100 * np.exp(0.5 * normal[:, 0])
    age[:num_below] = 0.0  # at the left of a logarithmic axis
    mass = 300 * np.exp(0.1 * (normal[:, 0] + normal[:, 1]))
    scale = Scale(True, 10.0, 1000.0)
    targets = [target(AGE, age, scale), target(MASS, mass, scale)]
    figure = cluster_figure.Figure()
    corner_panels.draw_corner(figure, figure.add_gridspec(2, 2), targets)
    axes = next(axes for axes in figure.axes if axes.get_ylabel())
    outlines = axes.collections[1].get_paths()
    for outline, level in zip(outlines, (0.95, 0.68), strict=True):
        # What is below the axis counts as inside.
        inside = outline.contains_points(np.column_stack([age, mass])).sum() + num_below
        assert inside / len(age) == pytest.approx(level, abs=0.01)


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        (AGE, np.linspace(0, 1000, 101), Scale(True, 1.0, 1000.0)),
        (AGE, np.linspace(100, 500, 101), Scale(False, 100.0, 500.0)),
        (MASS, np.linspace(100, 500, 101), Scale(True, 100.0, 500.0)),
    ],
)
def test_axes_are_logarithmic_if_training_spans_decades(key, values, expected):
    assert Scale.of(key, values) == expected


def test_the_training_set_is_shown_alike_for_all_clusters(run, found):
    table = found.posterior.table.copy()
    columns = [name for name in table if name.endswith("_physical")]
    # Beyond training at both ends.
    table[columns] = table[columns].mul(np.where(table["target_key"] == AGE, 0.0, 100.0), axis=0)
    other = dataclasses.replace(found, posterior=dataclasses.replace(found.posterior, table=table))
    before, after = (panels(draw(run, one))[TRAINING] for one in (found, other))
    for name in ("get_xlim", "get_ylim", "get_xscale", "get_yscale"):
        assert getattr(before, name)() == getattr(after, name)()


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [
        (np.linspace(-1, 1, 101), [], (-1.1, 1.1)),
        (np.append(np.linspace(-1, 1, 9), 300.0), [-400.0, np.nan], (-1.1, 1.1)),
        # Not far: stars that are left out may widen a panel.
        (np.linspace(-1, 1, 101), [2.0], (-1.15, 2.15)),
        (np.zeros(10), [5.0], (-0.25, 0.25)),
    ],
)
def test_limits_are_those_of_most_members(members, others, expected):
    assert star_panels.robust_limits(members, np.array(others), 0.5) == pytest.approx(expected)


def test_single_stars_do_not_set_the_scales(run, found):
    members = members_of(found)
    calm = panels(draw(run, found, left_out=members.left_out[:0]))
    table, left_out = members.table.copy(), members.left_out.copy()
    table.loc[0, MOTIONS] = 300.0
    left_out[["lon_deg", "bp_rp"]] = 80.0
    figure = draw(run, found, table=table, left_out=left_out)
    shown = panels(figure)
    for name in (SKY, COLOURS, MOTION):
        size = [np.ptp(one[name].get_xlim()) for one in (shown, calm)]
        assert size[0] <= 2 * size[1]
    assert shown[SKY].get_title("right") == "4 ▸"
    assert "beyond the panel" in legend(figure)


def test_stars_that_are_left_out_are_marked(run, found):
    left_out = members_of(found).left_out
    # Three lack a proper motion, and one has another.
    assert list(left_out["row"]) == [11, 28, 103, 324]
    figure = draw(run, found)
    assert "4 left out" in legend(figure)
    marks = next(line for line in panels(figure)[COLOURS].lines if line.get_marker() == "x")
    np.testing.assert_array_equal(marks.get_ydata(), left_out["phot_g_mean_mag"])


@pytest.mark.parametrize(
    ("absent", "missing"),
    [({"bp_rp": np.nan}, {COLOURS}), (dict.fromkeys(MOTIONS, np.nan), {MOTION})],
)
def test_panels_without_values_are_left_out(run, found, absent, missing):
    shown = panels(draw(run, found, table=members_of(found).table.assign(**absent)))
    assert set(shown) == {SKY, COLOURS, MOTION, TRAINING, "age", "mass", ""} - missing


def with_targets(run, found, keys):
    """Return a run and a prediction of some targets, or of one more, a radius."""
    rows, samples = found.posterior.table, found.posterior.samples(found.table["cluster"][0])
    radius = rows[rows["target_key"] == AGE].assign(target_key="r_tidal")
    values = dict(zip(TARGETS, run.reference.target.T, strict=True)) | {"r_tidal": run.reference.num_star / 9}
    target_NxT = np.stack([values[key] for key in keys], axis=-1)
    fewer = types.SimpleNamespace(
        target_keys=keys,
        feature_keys=run.feature_keys,
        reference=dataclasses.replace(run.reference, target=target_NxT),
    )
    posterior = types.SimpleNamespace(
        table=pd.concat([rows, radius]),
        samples=lambda *_: samples.assign(r_tidal=samples[AGE]),
    )
    return fewer, types.SimpleNamespace(members=found.members, posterior=posterior)


def texts(figure):
    """Return what is written, with its boxes."""
    figure.draw_without_rendering()
    found = [*figure.texts, *itertools.chain(*(one.get_texts() for one in figure.legends))]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, axes._right_title, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            found += [
                tick.label1
                for tick, place in zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=True)
                if tick.label1.get_visible()
                and min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
            ]
    return [(text.get_text(), text.get_window_extent()) for text in found if text.get_text()]


@pytest.mark.parametrize("keys", [(AGE,), (AGE, MASS), (AGE, MASS, "r_tidal")])
@pytest.mark.parametrize("has_colours", [True, False])
def test_nothing_overlaps(run, found, keys, has_colours):
    table = members_of(found).table
    table = table if has_colours else table.assign(bp_rp=np.nan)
    table = table.assign(lon_deg=table["lon_deg"] / 100, lat_deg=table["lat_deg"] / 100)
    figure = draw(*with_targets(run, found, keys), table=table)
    for (one, first), (other, second) in itertools.combinations(texts(figure), 2):
        assert not first.overlaps(second), (one, other)
    for text, box in texts(figure):
        assert min(box.x0, figure.bbox.x1 - box.x1) >= 0, text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("$x_{1}$ \\frac", "$x_{1}$ \\frac"),
        ("M 67\nof\tmine", "M 67 of mine"),
        ("星团 é", "□□ é"),
        ("W" * 300, "W" * 69 + "…"),
    ],
)
def test_names_of_all_kinds_fit(run, found, name, expected):
    figure = draw(run, found, title=name)
    title = figure.texts[0]
    assert title.get_text() == expected
    assert title.get_window_extent().x1 <= figure.bbox.x1
