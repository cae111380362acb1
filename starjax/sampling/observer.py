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
from starjax.sampling import list_reading, list_selection, measured_stars, viewpoint
from starjax.sampling.observer_settings import Observer

# The features of a list.
FEATURES = (*quantities.PROJECTED, "v_error_kms", *quantities.PHOTOMETRY, "membership_probability")
# Rows beside those of stars above the limit: room for field stars.
_ROOM, _MIN_ROOM = 1.25, 8
# A pair of equal stars is brighter than each of them by 0.75 mag; a star in front of the centre of the
# cluster, by a tenth of the distance, by 0.23 mag.
_BRIGHTER = 1.0
_COMPANION, _MAGNITUDE = quantities.OBSERVER.index("companion"), quantities.OBSERVER.index("abs_mag_g")


def sort_by_brightness(shard: Shard) -> Shard:
    """Return a shard with the brightest system of each snapshot first, and companions in adjacent rows.

    Args:
      shard: with the physical columns `quantities.OBSERVER`, and companions in adjacent rows.
    """
    feature, row = np.asarray(shard.feature), np.arange(len(shard.feature))
    snapshot = np.repeat(np.arange(shard.num_snapshot), np.diff(shard.ptr))
    # Systems of equal brightness are told apart by their first row.
    first = row - (feature[:, _COMPANION] < 0)
    order = np.lexsort((row, first, system_magnitude(feature, row), snapshot))
    return dataclasses.replace(shard, feature=np.ascontiguousarray(feature[order], np.float32))


def system_magnitude(feature, row):
    """Return the absolute magnitude of the brighter star of the system that each of some rows belongs to."""
    return feature[row - (feature[row, _COMPANION] < 0), _MAGNITUDE]


def observe(key: jax.Array, star_KxC: jax.Array, mask_K: jax.Array, observer: Observer):
    """Return the FEATURES of the stars that the reader of a list has.

    Args:
      key: of this sample.
      star_KxC: the brightest stars of a snapshot (see `sort_by_brightness`).
      mask_K: True for stars, False for padded positions.

    Returns:
      features: (K, F), physical; zeros where the mask is False.
      mask: (K,), True for stars in the list.
    """
    view, sources = observe_list(key, star_KxC, mask_K, observer)
    features, mask_K = list_reading.read(sources, view, observer)
    return jnp.stack([jnp.where(mask_K, features[name], 0) for name in FEATURES], axis=1), mask_K


def observe_list(key: jax.Array, star_KxC: jax.Array, mask_K: jax.Array, observer: Observer):
    """Return the circumstances, and the list before its reader has it."""
    view_key, star_key, selection_key = jax.random.split(key, 3)
    view = viewpoint.draw_view(view_key, observer)
    stars = measured_stars.to_stars(star_KxC, mask_K)
    sources = measured_stars.measure(star_key, stars, view, observer)
    sources = list_selection.select(selection_key, sources, view, observer)
    return view, sources


def count_rows(key: jax.Array, feature: jax.Array, start, end, observer: Observer):
    """Return how many rows of a snapshot, from its first, `observe` needs with this key.

    Args:
      key: as for `observe`.
      feature: the stars of all snapshots (n_star, C).
      start, end: the rows of the snapshot.
    """
    view = viewpoint.draw_view(jax.random.split(key, 3)[0], observer)
    limit = view.faint_limit - view.distance_modulus + _BRIGHTER

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        is_bright = system_magnitude(feature, jnp.minimum(middle, end - 1)) < limit
        is_open = low < high
        return jnp.where(is_open & is_bright, middle + 1, low), jnp.where(is_open & ~is_bright, middle, high)

    # Enough for 2**24 stars.
    first_faint, _ = jax.lax.fori_loop(0, 24, halve, (start, end))
    num_bright = first_faint - start
    return jnp.minimum((_ROOM * num_bright).astype(start.dtype) + _MIN_ROOM, end - start)
