"""Random subsets of the stars of a snapshot, drawn on the device from a key.

Every draw is a function of the key and of (epoch, snapshot, sample) alone, so that the same samples
come out on any number of devices and in any order.
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

# Stars that 32-bit row numbers can tell apart.
MAX_STAR = 2**31


class Stars(NamedTuple):
    """A shard on the device: the stars of all snapshots, one after another.

    Attributes:
      feature: float32 (n_star, F), scaled.
      ptr: int32 (n_snapshot + 1,); snapshot i owns rows ptr[i]:ptr[i+1].
      target: float32 (n_snapshot, T), scaled.
      identity: int32 (n_snapshot,), what each snapshot is called in the whole data set, which decides what is
        drawn of it; None: its number here.
      num_snapshot: int32, how many snapshots there are, the rest of the arrays being empty; None: all.
    """

    feature: jax.Array
    ptr: jax.Array
    target: jax.Array
    identity: jax.Array | None = None
    num_snapshot: jax.Array | None = None


def to_stars(shard: Shard) -> Stars:
    """The arrays of a scaled shard as the sampler takes them.

    Raises:
      ShardError: it has more stars than 32-bit row numbers can tell apart.
    """
    if len(shard.feature) >= MAX_STAR:
        raise ShardError(
            f"a shard of {len(shard.feature)} stars is too large to be in one piece: at most {MAX_STAR - 1} fit; "
            "set config.data.placement to streamed"
        )
    return Stars(
        shard.feature.astype(np.float32), shard.ptr.astype(np.int32), shard.target.astype(np.float32)
    )


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
    """What a sample is.

    Attributes:
      num_star_per_sample: K, the slots of a sample.
      num_sample_per_snapshot: samples of every snapshot in an epoch.
      drop_probability: chance that a snapshot of at least K stars loses some of its slots.
      drop_ratio_range: lower and upper bound of the fraction of slots then emptied.
      feature_clip: scaled features beyond this magnitude are cut to it.
      columns: the features that a sample shows, by number; None: all. The others are seen by `turn` only.
      selection: which stars it lacks as an observed list does, of all slots that are left; None: none.
      centred, zeros: features of which the median over the stars of a sample is shifted to a scaled value (see `centring`).
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

    def without_drop(self) -> "SamplerConfig":
        """The same, with every star kept: what validation and test use."""
        return dataclasses.replace(self, drop_probability=0.0, selection=None)


def num_sample(stars: Stars, config: SamplerConfig):
    """Samples in an epoch; traced where the number of snapshots is."""
    num_snapshot = stars.ptr.shape[0] - 1 if stars.num_snapshot is None else stars.num_snapshot
    return num_snapshot * config.num_sample_per_snapshot


# What a run draws for; each has a key of its own.
PURPOSES = ("order", "train", "val", "test", "predict")


def purpose_key(run_key_data: jax.Array, purpose: str) -> jax.Array:
    """The key for one of PURPOSES from the data of the run's key."""
    return jax.random.fold_in(jax.random.wrap_key_data(run_key_data), PURPOSES.index(purpose))


def order_key(run_key_data: jax.Array, stars: Stars) -> jax.Array:
    """The key for the order of an epoch: one for all stars, or one for these of many."""
    key = purpose_key(run_key_data, "order")
    return key if stars.identity is None else jax.random.fold_in(key, stars.identity[0])


def sample_key(key: jax.Array, epoch, snapshot, sample) -> jax.Array:
    """The key of one draw."""
    for identity in (epoch, snapshot, sample):
        key = jax.random.fold_in(key, identity)
    return key


def num_kept(n: jax.Array, key: jax.Array, config: SamplerConfig) -> jax.Array:
    """How many slots of one sample hold a star, of a snapshot of `n` stars; they are the first ones."""
    _, whether_key, ratio_key = jax.random.split(key, 3)
    num_slot = config.num_star_per_sample
    low, high = config.drop_ratio_range
    ratio = jax.random.uniform(ratio_key, minval=low, maxval=high)
    dropped = jnp.clip(jnp.round(ratio * num_slot).astype(n.dtype), 0, num_slot - 1)
    is_dropping = jax.random.uniform(whether_key) < config.drop_probability
    return jnp.where(n < num_slot, n, num_slot - jnp.where(is_dropping, dropped, 0))


def draw(stars: Stars, key: jax.Array, snapshot, config: SamplerConfig):
    """Draws one sample of one snapshot.

    Of a snapshot of n >= K stars, K distinct ones, uniformly, of which some are then dropped; of a
    smaller one all n, the other slots empty.

    Returns:
      features float32 (K, F), zeros in empty slots; mask bool (K,), True where a star is: the first slots.
    """
    order_key, *_ = jax.random.split(key, 3)
    start = stars.ptr[snapshot]
    n = stars.ptr[snapshot + 1] - start
    num_slot = config.num_star_per_sample
    slot = jnp.arange(num_slot, dtype=n.dtype)
    # The drawn order is random, so that emptying the last slots empties random ones.
    mask = slot < num_kept(n, key, config)
    # Smaller snapshots come whole, unshuffled: they need no permutation of their own size.
    shuffled = random.permute(order_key, slot, jnp.maximum(n, num_slot)).astype(n.dtype)
    row = start + jnp.where(mask, jnp.where(n < num_slot, slot, shuffled), 0)
    return jnp.where(mask[:, None], stars.feature[row], 0), mask


def count_batch(stars: Stars, key: jax.Array, epoch, pair: jax.Array, config: SamplerConfig) -> jax.Array:
    """How many slots of the samples (B,) that `draw_batch` draws may hold a star: the first ones."""

    def count_one(snapshot, sample):
        draw_key, *_ = _sample_keys(stars, key, epoch, snapshot, sample)
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
    """Draws the samples that the numbers `pair` (B,) name: snapshot = pair // samples a snapshot.

    Args:
      turn: `(key, features (F, K)) -> features (F, K)`, applied to each sample if given.

    Returns:
      features float32 (B, K, F), zeros in empty slots; mask bool (B, K), True where a star is; target float32 (B, T), and a further key for
      each sample (B,), for its dropout.
    """
    snapshot, sample = jnp.divmod(pair, config.num_sample_per_snapshot)

    def draw_one(snapshot, sample):
        draw_key, rotation_key, rest_key, selection_key = _sample_keys(stars, key, epoch, snapshot, sample)
        features_KxF, mask_K = draw(stars, draw_key, snapshot, config)
        if config.selection is not None:
            mask_K = survey_selection.select_stars(selection_key, features_KxF, mask_K, config.selection)
            features_KxF = jnp.where(mask_K[:, None], features_KxF, 0)
        if rotate is not None:
            features_KxF = jnp.where(mask_K, rotate(rotation_key, features_KxF.T), 0).T
        if config.centred:
            features_KxF = _centred(features_KxF, mask_K, config)
        if config.columns is not None and len(config.columns) < features_KxF.shape[1]:
            features_KxF = features_KxF[:, np.array(config.columns)]
        # After the turn, which needs to know where a star is.
        return jnp.clip(features_KxF, -config.feature_clip, config.feature_clip), mask_K, rest_key

    features_BxKxF, mask_BxK, rest_key_B = jax.vmap(draw_one)(snapshot, sample)
    return features_BxKxF, mask_BxK, stars.target[snapshot], rest_key_B


def _centred(features_KxF, mask_K, config: SamplerConfig):
    """The same sample, seen from its centre; empty slots stay zero."""
    columns = np.array(config.centred)
    chosen_KxC = features_KxF[:, columns]
    shift_C = np.array(config.zeros, np.float32) - centering.sample_median(chosen_KxC, mask_K)
    return features_KxF.at[:, columns].add(jnp.where(mask_K[:, None], shift_C[None], 0))


def _sample_keys(stars: Stars, key, epoch, snapshot, sample):
    """The keys of one sample: for its stars, for its turn, for what else is random of it, and for what it lacks."""
    identity = snapshot if stars.identity is None else stars.identity[snapshot]
    return jax.random.split(sample_key(key, epoch, identity, sample), 4)


def shuffled_pair(key: jax.Array, epoch, position: jax.Array, num_sample) -> jax.Array:
    """The (snapshot, sample) pairs at `position` (B,) of an epoch: a permutation of all of them.

    Returns:
      int32 (B,), in [0, num_sample); 0 where there are none.
    """
    order_key = jax.random.fold_in(key, epoch)
    return random.permute(order_key, position, jnp.maximum(num_sample, 1)).astype(jnp.int32)
