"""The comparison with the literature: its figures are right, and a cluster that fails does not stop it."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.transforms import Bbox

from benchmarks import real_sky, real_sky_figure
from starjax import quantities
from starjax.catalogs import member_list
from starjax.catalogs.stated.view import View
from starjax.evaluation.out_of_distribution import TrainingReference
from tests.catalogs.member_lists import ASTROMETRY

VIZIER = {"source_id": "Source", **ASTROMETRY, "phot_g_mean_mag": "Gmag"}
LITERATURE = """cluster,log_age_yr,is_age_placeholder,mass_msun,mass_error_msun,\
extinction_v_mag,extinction_v_error_mag
whole,8.017,False,224,22,0.3,0.05
half,8.0,True,,,0.0,0.0
few,8.1,False,100,10,0.1,0.05
elsewhere,8.2,,100,10,0.1,0.05
"""


@pytest.fixture
def pair(member_list_file, tmp_path):
    """A member list of three clusters in VizieR's names, and the literature on two of them and on another."""
    stars = member_list.read_member_list(member_list_file).to_pandas()[list(VIZIER)]
    clusters = {"whole": stars, "half": stars[::2], "few": stars[:8], "unknown": stars[1::2]}
    lists = pd.concat(
        [
            one.assign(cluster=name, ra=one["ra"] + 10 * i, source_id=one["source_id"] + i)
            for i, (name, one) in enumerate(clusters.items())
        ]
    )
    lists.rename(columns=VIZIER).to_csv(tmp_path / "lists.csv.gz", index=False)
    (tmp_path / "literature.csv").write_text(LITERATURE)
    return tmp_path / "lists.csv.gz", tmp_path / "literature.csv"


def test_the_command_compares_all_clusters_that_it_can(pair, mixture, tmp_path, monkeypatch, capsys):
    lists, literature = pair
    out = tmp_path / "out"
    options = [f"--lists={lists}", f"--literature={literature}", f"--run={mixture.path}", f"--out={out}"]
    monkeypatch.setattr("sys.argv", ["real_sky", *options])
    real_sky.run_command()
    printed = capsys.readouterr().out
    assert "few, no prediction: only 8 stars" in printed
    assert "in the literature, but not in the lists: elsewhere" in printed
    rows = pd.read_csv(out / "real_sky.csv").set_index("cluster")
    assert list(rows.index) == ["whole", "half", "unknown"]
    assert rows.loc["whole", "age_literature"] == pytest.approx(104, rel=0.01)
    assert rows.loc["half", "extinction_v_mag_literature"] == 0
    assert rows.loc[["half", "unknown"], "age_literature"].isna().all()
    assert rows["distance_pc"].to_numpy() == pytest.approx(200, abs=2)
    for name in ("age", "mass"):
        assert (rows[f"{name}_p16"] < rows[name]).all()
        assert (rows[name] < rows[f"{name}_p97.5"]).all()
    content = json.loads((out / "real_sky.json").read_text())
    assert set(content["refused"]) == {"few"}
    assert [row["cluster"] for row in content["rows"]] == list(rows.index)
    assert [row["n"] for row in content["summary"] if row["clusters"] == "all"] == [1, 1]
    assert content["flags"]["all"]["n"] == 3
    assert (out / "real_sky.png").stat().st_size > 10_000


def test_placeholders_missing_values_and_zero_errors_are_not_known(pair):
    literature = real_sky.read_literature(pair[1])
    assert literature["age"].isna().tolist() == [False, True, False, False]
    assert literature["mass"].isna().tolist() == [False, True, False, False]
    assert literature.loc["few", "mass_error"] == pytest.approx(np.log10(np.e) / 10)
    views = real_sky.literature_views(literature)
    zero_point = {"parallax_zero_point_mas": real_sky.ZERO_POINT_MAS}
    assert views["whole"] == View(extinction_v_mag=0.3, extinction_v_error_mag=0.05, **zero_point)
    assert views["half"] == View(extinction_v_mag=0.0, **zero_point)


def synthetic(num, sigma, error, bias=0.1, seed=0):
    """Return rows of ages with Gaussian posteriors of width `sigma`, and a literature with errors [dex]."""
    random = np.random.default_rng(seed)
    log_age = random.uniform(1, 3, num)
    predicted = log_age + bias + random.normal(0, sigma, num)
    quantiles = scipy.stats.norm.ppf([0.025, 0.16, 0.5, 0.84, 0.975])
    columns = ("age_p2.5", "age_p16", "age", "age_p84", "age_p97.5")
    rows = pd.DataFrame(10 ** (predicted[:, None] + sigma * quantiles), columns=columns)
    flags = random.choice(["", "novelty 1.2, above 1", "novelty 3, above 1; 700 pc away"], num)
    return rows.assign(
        age_literature=10 ** (log_age + random.normal(0, error, num)),
        cluster=[f"NGC_{i}" for i in range(num)],
        is_flagged=flags != "",
        flag_reasons=flags,
        distance_pc=random.uniform(50, 900, num),
        num_star=random.integers(20, 800, num),
        extinction_v_mag_literature=random.exponential(0.5, num),
    )


def with_masses(rows):
    """Return rows whose masses are their ages."""
    masses = {f"mass{name[3:]}": rows[name] for name in rows if name.startswith("age")}
    return rows.assign(**masses, mass_error_literature=0.04)


def test_scores_are_those_of_scipy():
    rows = synthetic(50, 0.2, 0.1)
    found = real_sky.scores(rows, "age", 0.1)
    log_ratio = np.log10(rows["age"] / rows["age_literature"])
    assert found["n"] == 50
    assert found["bias"] == pytest.approx(np.median(log_ratio), abs=1e-4)
    deviation = scipy.stats.median_abs_deviation(log_ratio, scale=1 / 1.48)
    assert found["scatter"] == pytest.approx(deviation, abs=1e-4)
    expected = scipy.stats.pearsonr(np.log10(rows["age"]), np.log10(rows["age_literature"])).statistic
    assert found["correlation"] == pytest.approx(expected, abs=1e-4)
    assert real_sky.scores(rows[:2], "age", 0.1) == {"n": 2} | dict.fromkeys([*found][1:])


@pytest.mark.parametrize(("sigma", "error"), [(0.2, 0.0), (0.2, 0.12), (0.05, 0.3)])
def test_honest_intervals_cover_as_often_as_they_claim(sigma, error):
    found = real_sky.scores(synthetic(4000, sigma, error, bias=0), "age", error)
    assert found["covered_68"] == pytest.approx(0.68, abs=0.03)
    assert found["covered_95"] == pytest.approx(0.95, abs=0.015)


def test_intervals_that_reach_zero_cover_all_small_values():
    rows = pd.DataFrame({"age": [50.0], "age_p16": [-10.0], "age_p84": [60.0], "age_literature": [1.0]})
    assert real_sky.is_covered(rows, "age", 0, 0.0) == [True]
    assert real_sky.is_covered(rows.assign(age_literature=61.0), "age", 0, 0.0) == [False]
    assert real_sky.is_covered(rows.assign(age_literature=61.0), "age", 0, 0.12) == [True]


def test_every_cluster_of_known_age_is_in_one_bin_of_age():
    rows = with_masses(synthetic(300, 0.2, 0.1))
    rows.loc[:20, "age_literature"] = np.nan
    summary = pd.DataFrame(real_sky.summarize(rows, 0.12)).set_index(["of", "clusters"])["n"]
    bins = [name for name in summary["age"].index if "Myr" in name and "," not in name]
    assert len(bins) == 5
    assert summary["age"][bins].sum() == summary["age"]["all"] == 279
    assert summary["mass"]["all"] == 300


def test_reasons_of_flags_are_counted_without_their_numbers():
    rows = with_masses(synthetic(100, 0.2, 0.1))
    found = real_sky.count_flags(rows)
    assert found["flagged"] == rows["is_flagged"].mean()
    is_far = rows["flag_reasons"].str.contains("away")
    assert found["reasons"] == {
        "novelty #, above #": rows["is_flagged"].sum(),
        "# pc away": is_far.sum(),
    }
    assert real_sky.count_flags(rows[:0]) == {"n": 0, "flagged": None, "reasons": {}}


def test_the_training_range_is_that_of_age_and_mass():
    rows = pd.DataFrame(
        {"age_literature": [50.0, 50, 500, np.nan, 50], "mass_literature": [100.0, 9, 100, 100, np.nan]}
    )
    nothing = np.zeros(1)
    keys, ranges = ("time", quantities.MASS), np.array([[10.0, 100], [50, 200]])
    reference = TrainingReference(nothing, nothing, nothing, 1.0, nothing, nothing, keys, ranges)
    found = real_sky.is_in_training_range(rows, reference)
    assert found.tolist() == [True, False, False, False, False]


def test_names_of_outliers_cover_no_point_and_no_other_name():
    rows = with_masses(synthetic(90, 0.25, 0.1))
    figure = real_sky_figure.predicted_against_literature(rows, 0.12)
    for axes, panel in zip(figure.axes[:2], real_sky_figure.PANELS, strict=True):
        names = [text.get_window_extent() for text in axes.texts]
        assert len(names) == real_sky_figure.NUM_NAMED
        log_ratio = np.log10(rows[panel.name] / rows[f"{panel.name}_literature"]).abs()
        assert axes.texts[0].get_text() == rows["cluster"][log_ratio.idxmax()].replace("_", " ")
        points = axes.transData.transform(rows[[f"{panel.name}_literature", panel.name]])
        assert not any(name.contains(*point) for name in names for point in points)
        assert not any(name.count_overlaps(names[:i]) for i, name in enumerate(names))


def test_a_free_place_is_preferred_and_the_panel_never_left():
    panel, point, size = Bbox([[0, 0], [300, 300]]), np.array([5.0, 150.0]), np.array([40.0, 10.0])
    right = Bbox([[10, 140], [300, 160]])
    found = real_sky_figure._free_box(point, size, [right], panel)
    assert found.size == pytest.approx(size)
    assert not found.overlaps(right)
    assert panel.x0 <= found.x0


@pytest.mark.parametrize("num", [1, 0])
def test_a_figure_of_one_cluster_or_none_can_be_drawn(num):
    rows = with_masses(synthetic(1, 0.2, 0.1))[:num].assign(extinction_v_mag_literature=np.nan)
    figure = real_sky_figure.predicted_against_literature(rows, 0.12)
    assert len(figure.axes) == 2 + 2 * num
