"""Draw random subsets of the stars of a snapshot on the device.

Every draw is a function of a key and of (epoch, snapshot, sample) alone. The samples are therefore the same
on any number of devices and in any order.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from starjax.datasets.shard import Shard, ShardError
from starjax.ops import random
from starjax.sampling import centering, survey_selection
from starjax.sampling.observed_samples import ObservedSamples

# Stars that 32-bit integers can number; by default jax has no longer ones.
MAX_STAR = 2**31

# On a device, or in the memory of the host on its way there.
Array = jax.Array | np.ndarray


class Stars(NamedTuple):
    """A shard on the device: the stars of all snapshots, one after another.

    Attributes:
      feature: float32 (n_star, F), scaled.
      ptr: int32 (n_snapshot + 1,); snapshot i has the rows ptr[i]:ptr[i+1].
      target: float32 (n_snapshot, T), scaled.
      identity: int32 (n_snapshot,), the number of each snapshot in the whole data set, which seeds its draws;
        None: its number in these arrays.
      num_snapshot: int32, the number of snapshots, after which the arrays are padded; None: there is no
        padding.
    """

    feature: Array
    ptr: Array
    target: Array
    identity: Array | None = None
    num_snapshot: Array | np.integer | None = None


def to_stars(shard: Shard) -> Stars:
    """Return a scaled shard as the sampler takes it.

    Raises:
      ShardError: it has more stars than 32-bit integers can number.
    """
    if len(shard.feature) >= MAX_STAR:
        raise ShardError(
            f"a shard of {len(shard.feature)} stars is too large for a device, which takes at most "
            f"{MAX_STAR - 1}: set config.data.placement to streamed"
        )
    return Stars(
        shard.feature.astype(np.float32), shard.ptr.astype(np.int32), shard.target.astype(np.float32)
    )


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """Settings of the samples.

    Attributes:
      num_star_per_sample: K, the size of a sample: its stars and padded positions.
      num_sample_per_snapshot: samples of each snapshot in an epoch.
      drop_probability: probability that a sample of a snapshot of at least K stars has fewer than K stars.
      drop_ratio_range: bounds of the uniform fraction of the K stars that is then dropped.
      feature_clip: bound on the magnitude of scaled features.
      columns: numbers of the features that a sample shows; None: all. The rotation uses the others, too.
      centred: numbers of the features whose median over the stars of a sample is shifted to `zeros`.
      zeros: scaled values, one for each of `centred` (see `centering`).
      selection: the survey selection that is applied to the remaining stars; None: none.
      observed: how lists are drawn with the observer, instead of samples of the stars; None: no observer.
    """

    num_star_per_sample: int
    num_sample_per_snapshot: int
    drop_probability: float = 0.0
    drop_ratio_range: tuple[float, float] = (0.0, 0.0)
    feature_clip: float = math.inf
    columns: tuple[int, ...] | None = None
    centred: tuple[int, ...] = ()
    zeros: tuple[float, ...] = ()
    selection: survey_selection.SurveySelection | None = None
    observed: ObservedSamples | None = None

    def without_drop(self) -> "SamplerConfig":
        """Return the settings of validation and test, which keep all stars.

        Survey selection and observer are applied to them beforehand.
        """
        return dataclasses.replace(self, drop_probability=0.0, selection=None, observed=None)


def num_sample(stars: Stars, config: SamplerConfig):
    """Return the number of samples of an epoch, traced if the number of snapshots is."""
    num_snapshot = stars.ptr.shape[0] - 1 if stars.num_snapshot is None else stars.num_snapshot
    return num_snapshot * config.num_sample_per_snapshot


# The purposes of random draws of a run; each has its own key. It is made from the position of the purpose, so
# that new ones belong at the end.
PURPOSES = ("order", "train", "val", "test", "predict")


def purpose_key(run_key_data: jax.Array, purpose: str) -> jax.Array:
    """Return the key for one of PURPOSES from the key data of the run."""
    return jax.random.fold_in(jax.random.wrap_key_data(run_key_data), PURPOSES.index(purpose))


def order_key(run_key_data: jax.Array, stars: Stars) -> jax.Array:
    """Return the key for the order of an epoch; for a chunk or share of the stars, a key of its own."""
    key = purpose_key(run_key_data, "order")
    return key if stars.identity is None else jax.random.fold_in(key, stars.identity[0])


def sample_key(key: jax.Array, epoch, snapshot, sample) -> jax.Array:
    """Return the key of one sample of a snapshot in an epoch, from the key of its purpose."""
    for identity in (epoch, snapshot, sample):
        key = jax.random.fold_in(key, identity)
    return key


def num_kept(n: jax.Array, key: jax.Array, config: SamplerConfig) -> jax.Array:
    """Return the number of stars in a sample of a snapshot of `n` stars, before survey selection."""
    # The first of the three keys is that of `draw`.
    _, whether_key, ratio_key = jax.random.split(key, 3)
    size = config.num_star_per_sample
    low, high = config.drop_ratio_range
    ratio = jax.random.uniform(ratio_key, minval=low, maxval=high)
    dropped = jnp.clip(jnp.round(ratio * size).astype(n.dtype), 0, size - 1)
    is_dropping = jax.random.uniform(whether_key) < config.drop_probability
    return jnp.where(n < size, n, size - jnp.where(is_dropping, dropped, 0))


def draw(stars: Stars, key: jax.Array, snapshot, config: SamplerConfig):
    """Draw one sample of one snapshot.

    A snapshot of n >= K stars gives K distinct ones, drawn uniformly, of which some are then dropped. A
    smaller one gives all n, followed by padded positions.

    Returns:
      features: float32 (K, F), zeros at padded positions.
      mask: bool (K,), True for stars, which are the first positions.
    """
    shuffle_key, *_ = jax.random.split(key, 3)
    start = stars.ptr[snapshot]
    n = stars.ptr[snapshot + 1] - start
    size = config.num_star_per_sample
    position = jnp.arange(size, dtype=n.dtype)
    # The stars are in random order, so that dropping the last ones drops random ones.
    mask = position < num_kept(n, key, config)
    # Smaller snapshots are taken as a whole and not shuffled; the permutation needs K elements all the same.
    shuffled = random.permute(shuffle_key, position, jnp.maximum(n, size)).astype(n.dtype)
    row = start + jnp.where(mask, jnp.where(n < size, position, shuffled), 0)
    return jnp.where(mask[:, None], stars.feature[row], 0), mask


def count_batch(stars: Stars, key: jax.Array, epoch, pair: jax.Array, config: SamplerConfig) -> jax.Array:
    """Return an upper bound (B,) on the number of stars in the samples that `draw_batch` draws.

    It is exact without survey selection and observer. Nothing is drawn but these numbers, so that it costs
    little.
    """

    def count_one(snapshot, sample):
        draw_key, *_ = _sample_keys(stars, key, epoch, snapshot, sample)
        if config.observed is not None:
            start, end = stars.ptr[snapshot], stars.ptr[snapshot + 1]
            needed = config.observed.count(stars.feature, start, end, draw_key)
            return jnp.minimum(needed, config.num_star_per_sample)
        return num_kept(stars.ptr[snapshot + 1] - stars.ptr[snapshot], draw_key, config)

    return jax.vmap(count_one)(*jnp.divmod(pair, config.num_sample_per_snapshot))


def draw_batch(
    stars: Stars,
    key: jax.Array,
    epoch,
    pair: jax.Array,
    config: SamplerConfig,
    rotate: Callable | None = None,
):
    """Draw a batch of samples.

    Args:
      stars: the snapshots.
      key: of a purpose (see `purpose_key`).
      epoch: its number.
      pair: int (B,), snapshot * num_sample_per_snapshot + sample.
      config: settings of the samples.
      rotate: augmentation `(key, features (F, K)) -> features (F, K)` of each sample; None: none.

    Returns:
      features: float32 (B, K, F), zeros at padded positions.
      mask: bool (B, K), True for stars.
      target: float32 (B, T).
      dropout_key: (B,), a key for the dropout of each sample.
    """
    snapshot, sample = jnp.divmod(pair, config.num_sample_per_snapshot)

    def draw_one(snapshot, sample):
        draw_key, rotation_key, rest_key, selection_key = _sample_keys(stars, key, epoch, snapshot, sample)
        if config.observed is not None:
            start, end, size = stars.ptr[snapshot], stars.ptr[snapshot + 1], config.num_star_per_sample
            features_KxF, mask_K = config.observed.draw(stars.feature, start, end, draw_key, size)
            return jnp.clip(features_KxF, -config.feature_clip, config.feature_clip), mask_K, rest_key
        features_KxF, mask_K = draw(stars, draw_key, snapshot, config)
        # Before the centring: an observer takes the median of the stars that the survey lists.
        if config.selection is not None:
            mask_K = survey_selection.select_stars(selection_key, features_KxF, mask_K, config.selection)
            features_KxF = jnp.where(mask_K[:, None], features_KxF, 0)
        if rotate is not None:
            features_KxF = jnp.where(mask_K, rotate(rotation_key, features_KxF.T), 0).T
        if config.centred:
            features_KxF = _centred(features_KxF, mask_K, config)
        # After the rotation, which may need components that the sample does not show.
        if config.columns is not None and len(config.columns) < features_KxF.shape[1]:
            features_KxF = features_KxF[:, np.array(config.columns)]
        # Last, since rotation and centring need the true values.
        return jnp.clip(features_KxF, -config.feature_clip, config.feature_clip), mask_K, rest_key

    features_BxKxF, mask_BxK, rest_key_B = jax.vmap(draw_one)(snapshot, sample)
    return features_BxKxF, mask_BxK, stars.target[snapshot], rest_key_B


def _centred(features_KxF, mask_K, config: SamplerConfig):
    """Return a sample (K, F) measured from its median star; padded positions stay zero."""
    columns = np.array(config.centred)
    chosen_KxC = features_KxF[:, columns]
    shift_C = np.array(config.zeros, np.float32) - centering.sample_median(chosen_KxC, mask_K)
    return features_KxF.at[:, columns].add(jnp.where(mask_K[:, None], shift_C[None], 0))


def _sample_keys(stars: Stars, key, epoch, snapshot, sample):
    """Return four keys of a sample: for its stars, its rotation, its dropout and its survey selection."""
    identity = snapshot if stars.identity is None else stars.identity[snapshot]
    return jax.random.split(sample_key(key, epoch, identity, sample), 4)


def shuffled_pair(key: jax.Array, epoch, position: jax.Array, num_sample) -> jax.Array:
    """Return the pairs at some positions of an epoch, which is a permutation of all pairs.

    A pair is a snapshot and the number of one of its samples, as one number (see `draw_batch`).

    Args:
      key: for the order (see `order_key`).
      epoch: its number.
      position: int (B,), in [0, num_sample).
      num_sample: samples of an epoch.

    Returns:
      int32 (B,), in [0, num_sample); 0 if there are no samples.
    """
    epoch_key = jax.random.fold_in(key, epoch)
    return random.permute(epoch_key, position, jnp.maximum(num_sample, 1)).astype(jnp.int32)
