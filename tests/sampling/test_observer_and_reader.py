"""The reader of observed lists finds in the observer's lists the features that a model is trained on."""

import jax
import numpy as np
import pytest

from starjax.catalogs.features import derive_features
from starjax.sampling import observer
from tests.sampling.observed_lists import compiled, known_view, rows, to_catalogue

NUM_LIST = 30
# Galactic coordinates where Galactic longitude and latitude run nearly along right ascension and declination,
# as the errors of proper motions do in the observer's lists.
DIRECTION = (122.93, 5.0)


@pytest.fixture(scope="module")
def compared():
    """Return `(expected, found, number of stars of which one has left out more)` of some lists."""
    found = []
    for number in range(NUM_LIST):
        view, sources, features, mask = compiled()(jax.random.key(number), *rows(number % 3))
        if np.asarray(sources.mask).sum() < 15:
            continue
        table, listed = to_catalogue(sources, *DIRECTION)
        members = derive_features(table, observer.FEATURES, known_view(view))
        read = listed[members.table["row"].to_numpy() - 1]
        both = np.intersect1d(read, np.flatnonzero(mask))
        expected = np.stack([np.asarray(features[name], np.float64)[both] for name in observer.FEATURES], 1)
        difference = len(np.setxor1d(read, np.flatnonzero(mask)))
        found.append((expected, members.feature[np.searchsorted(read, both)], difference / len(read)))
    assert len(found) > NUM_LIST / 2
    return found


def worst(compared, name, scale=None):
    """Return the largest difference of a feature in each list, in units of another feature's median."""
    column = observer.FEATURES.index(name)
    unit = 1.0 if scale is None else observer.FEATURES.index(scale)
    return np.array(
        [
            np.abs(mine[:, column] - theirs[:, column]).max()
            / (1.0 if scale is None else np.median(theirs[:, unit]))
            for mine, theirs, _ in compared
        ]
    )


def test_members_are_the_same_stars(compared):
    different = np.array([share for *_, share in compared])
    num_star = np.array([len(expected) for expected, *_ in compared])
    assert np.quantile(different, 0.9) == 0
    # A star at the very limit is left out by one of them only.
    assert (different * num_star).sum() < 0.002 * num_star.sum()


@pytest.mark.parametrize("name", ["y", "z"])
def test_positions_agree(compared, name):
    """Within 0.003 pc; the centre of a small list may be another by a star."""
    assert np.median(worst(compared, name)) < 0.003
    assert np.quantile(worst(compared, name), 0.9) < 0.02
    assert worst(compared, name).max() < 0.5


@pytest.mark.parametrize("name", ["vy", "vz"])
def test_velocities_agree_far_within_their_errors(compared, name):
    relative = worst(compared, name, "v_error_kms")
    assert np.median(relative) < 0.02
    assert np.quantile(relative, 0.9) < 0.3
    # Far from the centre, if the radial velocity is barely known from perspective (dispersions are 0.3 km/s).
    assert np.quantile(worst(compared, name), 0.9) < 0.02


@pytest.mark.parametrize("name", ["abs_mag_g", "bp_rp_0", "abs_mag_g_error", "bp_rp_0_error"])
def test_magnitudes_and_colours_agree_within_millimagnitudes(compared, name):
    assert np.median(worst(compared, name)) < 1e-5
    assert worst(compared, name).max() < 0.005


def test_errors_and_probabilities_agree(compared):
    relative = worst(compared, "v_error_kms", "v_error_kms")
    assert np.median(relative) < 1e-4
    assert np.quantile(relative, 0.9) < 0.01
    assert worst(compared, "membership_probability").max() < 1e-6
