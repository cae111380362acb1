"""The observer: what Gaia and the reader of a member list see of a simulated cluster.

A simulation has every star, with its exact place, motion and luminosity. A member list has the sources that
Gaia resolves, above some brightness, with errors; some members are missing, and some field stars are listed.
Its reader does not know centre, distance and motion of the cluster, but estimates them. A model that is to
read lists has to learn from lists.

Everything is drawn from one key for each sample:

    viewpoint        distance, direction, extinction, limits and bulk motion
    measured_stars   unresolved binaries, projection, magnitudes and errors
    list_selection   members that the list lacks, and field stars
    list_reading     centre, distance and motion as a reader estimates them, and the features

The stars of a snapshot are sorted by brightness, so that all that are brighter than some limit are its first
rows (see `sort_by_brightness`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.datasets.shard import Shard
from starjax.ops import fusion, random
from starjax.sampling import list_reading, list_selection, measured_stars, viewpoint
from starjax.sampling.observer_settings import Observer

# The features of a list.
FEATURES = (*quantities.PROJECTED, "v_error_kms", *quantities.PHOTOMETRY, "membership_probability")
# The view needs one.
_NUM_SALT = 1 + measured_stars.NUM_SALT + list_selection.NUM_SALT
# Errors of photometry of bright stars are a few hundredths of this [mag].
_BRIGHTER = 0.1
# Extinction in G per A_V, at least: of the reddest stars behind an A_V of 10 mag (see `gaia.extinction`).
_LEAST_EXTINCTION = 0.6
# Stars may be this far in front of the centre [pc], and at most by this fraction of the distance.
_DEPTH_PC, _DEPTH_SHARE = 20.0, 0.5
# The columns of stars that are ready to be observed: the last one is that of the whole system.
COLUMNS = (*quantities.OBSERVER, "system_abs_mag_g")
_COMPANION, _MAGNITUDE = COLUMNS.index("companion"), COLUMNS.index("abs_mag_g")
_SYSTEM_MAGNITUDE = COLUMNS.index("system_abs_mag_g")


def sort_by_brightness(shard: Shard) -> Shard:
    """Return a shard with COLUMNS, the brightest system of each snapshot first.

    Args:
      shard: with the physical columns `quantities.OBSERVER`, and companions in adjacent rows.
    """
    feature, row = np.asarray(shard.feature), np.arange(len(shard.feature))
    snapshot = np.repeat(np.arange(shard.num_snapshot), np.diff(shard.ptr))
    magnitude = system_magnitude(feature)
    # Systems of equal brightness are told apart by their first row.
    order = np.lexsort((row, row - (feature[:, _COMPANION] < 0), magnitude, snapshot))
    whole = np.column_stack([feature, magnitude])[order]
    return dataclasses.replace(shard, feature=np.ascontiguousarray(whole, np.float32), feature_keys=COLUMNS)


def system_magnitude(feature: np.ndarray) -> np.ndarray:
    """Return the absolute magnitude of the system that each star belongs to (n,)."""
    magnitude, companion = feature[:, _MAGNITUDE], feature[:, _COMPANION]
    brighter, fainter = np.flatnonzero(companion > 0), np.flatnonzero(companion < 0)
    gain = 2.5 * np.log10(1 + 10 ** (-0.4 * (magnitude[fainter] - magnitude[brighter])))
    system = magnitude.copy()
    system[brighter] -= gain
    system[fainter] = system[brighter]
    return system


def observe(key: jax.Array, star_KxC: jax.Array, mask_K: jax.Array, observer: Observer):
    """Return the FEATURES of the stars that the reader of a list has, and the circumstances.

    Args:
      key: of this sample.
      star_KxC: the brightest stars of a snapshot (see `sort_by_brightness`).
      mask_K: True for stars, False for padded positions.

    Returns:
      features: (K, F), physical; zeros where the mask is False.
      mask: (K,), True for stars in the list.
      view: the circumstances.
    """
    view, sources = observe_list(key, star_KxC, mask_K, observer)
    features, mask_K = fusion.materialize(list_reading.read(sources, view, observer))
    features_KxF = jnp.stack([jnp.where(mask_K, features[name], 0) for name in FEATURES], axis=1)
    return features_KxF, mask_K, view


def observe_list(key: jax.Array, star_KxC: jax.Array, mask_K: jax.Array, observer: Observer):
    """Return the circumstances, and the list before its reader has it.

    For one key, the list is the same for any number of rows K from `count_rows` on, apart from masked rows at
    its end. If there are fewer rows, its faintest stars are missing.
    """
    salts = random.salts(key, _NUM_SALT)
    star_salts, selection_salts = jnp.split(salts[1:], [measured_stars.NUM_SALT])
    view = fusion.materialize(viewpoint.draw_view(salts[0], observer))
    is_bright_K = mask_K & (star_KxC[:, _SYSTEM_MAGNITUDE] < faintest_magnitude(view, observer))
    stars = fusion.materialize(measured_stars.to_stars(star_KxC, is_bright_K))
    sources = fusion.materialize(measured_stars.measure(star_salts, stars, view, observer))
    chosen = list_selection.select(selection_salts, sources, is_bright_K.sum(), view, observer)
    return view, fusion.materialize(chosen)


def faintest_magnitude(view: viewpoint.Viewpoint, observer: Observer):
    """Return the absolute G beyond which no system of a snapshot can be in a list [mag]."""
    in_front = jnp.minimum(_DEPTH_PC / view.distance, _DEPTH_SHARE)
    least_share = max(0.0, 1 - random.MAX_NORMAL * observer.differential_extinction)
    least_extinction = _LEAST_EXTINCTION * least_share * view.extinction
    modulus = view.distance_modulus + 5 * jnp.log10(1 - in_front)
    return view.faint_limit - modulus - least_extinction + _BRIGHTER


def count_rows(key: jax.Array, feature: jax.Array, start, end, observer: Observer):
    """Return how many rows `observe` needs with this key: those of bright stars, and room for field stars.

    Args:
      key: as for `observe`.
      feature: the stars of all snapshots (n_star, C), see `sort_by_brightness`.
      start, end: the rows of the snapshot.
    """
    view = viewpoint.draw_view(random.salts(key, _NUM_SALT)[0], observer)
    limit = faintest_magnitude(view, observer)

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        is_bright = feature[jnp.minimum(middle, end - 1), _SYSTEM_MAGNITUDE] < limit
        is_open = low < high
        return jnp.where(is_open & is_bright, middle + 1, low), jnp.where(is_open & ~is_bright, middle, high)

    # Enough for 2**24 stars.
    first_faint, _ = jax.lax.fori_loop(0, 24, halve, (start, end))
    num_bright = first_faint - start
    return num_bright + list_selection.max_num_field(num_bright, view, observer)
