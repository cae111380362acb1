"""The corner plot: its regions contain the fractions that they name, its shades are the intervals."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.scalers.scaler import Scaler
from starjax.evaluation.calibration import Calibration
from starjax.evaluation.joint_posterior import JointMixture
from starjax.evaluation.posterior import Posterior
from starjax.plotting.corner_figure import draw_corner

KEYS, MEAN, SIGMA = ("time", "r_half_mass", "total_mass"), np.array([100.0, 20.0, 500.0]), (10.0, 2.0, 200.0)
BOUNDS = {"prediction": 0.5, "p2.5": 0.025, "p16": 0.16, "p84": 0.84, "p97.5": 0.975}


def gaussian(keys):
    """Return the posterior of one cluster: a Gaussian of correlated targets, and calibrated as it is."""
    num = len(keys)
    factor = np.linalg.cholesky(np.outer(SIGMA, SIGMA)[:num, :num] * (0.5 + 0.5 * np.eye(num)))
    rows = [
        {"cluster": "$one", "target_key": key}
        | {
            f"{name}_{kind}": mean + sigma * norm.ppf(at)
            for name, at in BOUNDS.items()
            for kind in ("scaled", "physical")
        }
        for key, mean, sigma in zip(keys, MEAN, SIGMA, strict=False)
    ]
    return Posterior(
        pd.DataFrame(rows),
        ("$one",),
        [],
        JointMixture(np.ones((1, 1)), MEAN[None, None, :num], factor[None, None]),
        Calibration(np.ones(num), *np.ones((3, 2, num)), 19),
        ScalerBundle(((keys, Scaler("identity", {"center": 0.0, "scale": 1.0})),)),
        keys,
    )


def test_regions_and_shades_are_those_of_the_posterior():
    posterior = gaussian(KEYS)
    places = [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)]
    panels = dict(zip(places, draw_corner(posterior, "$one").axes, strict=True))
    samples = posterior.samples("$one", 20_000)
    for i, j in ((1, 0), (2, 0), (2, 1)):
        paths = panels[i, j].collections[1].get_paths()
        inside = [path.contains_points(samples[[KEYS[j], KEYS[i]]]).mean() for path in paths]
        # The widest first.
        assert inside == pytest.approx([0.95, 0.68], abs=0.015)
    for i, key in enumerate(KEYS):
        row = posterior.table.set_index("target_key").loc[key]
        for shade, ends in zip(panels[i, i].collections, (("p2.5", "p97.5"), ("p16", "p84")), strict=True):
            along = shade.get_paths()[0].vertices[:, 0]
            assert (along.min(), along.max()) == pytest.approx([row[f"{end}_physical"] for end in ends])
    assert panels[2, 0].get_xlabel() == "age [Myr]"
    assert panels[2, 0].get_ylabel() == "total mass [Msun]"
    assert panels[2, 2].get_title("right") == "500 (301 to 699) Msun"


def test_one_target_has_a_figure_and_an_unknown_cluster_an_error():
    posterior = gaussian(KEYS[:1])
    figure = draw_corner(posterior, "$one")
    assert len(figure.axes) == 1
    assert figure._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(KeyError, match="no cluster 'two'"):
        draw_corner(posterior, "two")
