"""Place the training stars: a copy on every device, divided among the devices, or on the disk of the host.

    replicated   every device holds all snapshots; a batch consists of any samples of the epoch
    sharded      each device holds some of the snapshots, and draws its share of every batch from them
    streamed     the snapshots of each device stay on disk and are sent to it in chunks, shuffled in every
    epoch

In all three an epoch consists of the same samples, each seen once. They differ in which samples form a batch.
"""

import concurrent.futures
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from starjax.datasets.shard import Shard, ShardError
from starjax.runtime import devices
from starjax.sampling import sampler
from starjax.sampling.sampler import MAX_STAR, SamplerConfig, Stars

# Samples of an epoch that 32-bit integers can number, with room for an incomplete last batch.
MAX_SAMPLE = 2**31 - 2**24
PLACEMENTS = ("replicated", "sharded", "streamed")
# Fraction of the free memory of a device that `auto` lets the stars take; the training step needs the rest.
SHARE = 0.25
# Size of a chunk that is sent to a device; four times as much was slower (docs/explanation/performance.md).
CHUNK_BYTES = 2**25
# Consecutive snapshots that stay together when they are shuffled, so that the disk is read in large pieces.
BLOCK = 64


@dataclasses.dataclass(frozen=True)
class Source:
    """The training samples on their devices.

    Attributes:
      placement: one of PLACEMENTS.
      mesh: the devices.
      num_share: number of shares that have their own stars; 1 if all devices have the same.
      num_step: steps of an epoch.
      like: shapes and shardings of the stars that `chunks` yields.
      chunks: `(epoch) -> iterator over (stars, num_step)`, the chunks of an epoch in order.
    """

    placement: str
    mesh: jax.sharding.Mesh
    num_share: int
    num_step: int
    like: Stars
    chunks: Callable[[int], Iterator[tuple[Stars, int]]]

    @property
    def is_sharded(self) -> bool:
        """True if the first axis of the stars' arrays is shares, each with its own stars."""
        return self.placement != "replicated"

    @property
    def layout(self) -> dict:
        """The properties that determine the batches; a run must be resumed with the same."""
        return {"placement": self.placement, "num_share": self.num_share, "num_step": self.num_step}


def num_bytes(shard: Shard) -> int:
    """Return the bytes that the stars of a shard take on a device."""
    # Values of four bytes. `identity` is about as long as `ptr`.
    return 4 * (shard.feature.shape[0] * shard.feature.shape[1] + shard.target.size + 2 * len(shard.ptr))


def choose(shards: dict[str, Shard], num_device: int, free_bytes: int) -> str:
    """Return the first of PLACEMENTS with which the stars take at most SHARE of the free memory.

    Args:
      shards: by split.
      num_device: number of devices.
      free_bytes: free memory of a device.
    """
    sizes = {split: num_bytes(shard) for split, shard in shards.items()}
    total, training = sum(sizes.values()), sizes["train"]
    if total <= SHARE * free_bytes and max(len(s.feature) for s in shards.values()) < MAX_STAR:
        return "replicated"
    # Validation and test are replicated. The devices have different numbers of stars; half of MAX_STAR allows
    # for it.
    fits = total - training + training / num_device <= SHARE * free_bytes
    is_countable = all(
        len(shard.feature) < (MAX_STAR / 2 * num_device if split == "train" else MAX_STAR)
        for split, shard in shards.items()
    )
    return "sharded" if num_device > 1 and fits and is_countable else "streamed"


def place_training_stars(
    shard: Shard, placement: str, config: SamplerConfig, batch_size: int, mesh
) -> Source:
    """Place the training samples of a scaled shard.

    Args:
      shard: the training split.
      placement: one of PLACEMENTS.
      config: of the samples.
      batch_size: samples of a batch, over all devices.
      mesh: the devices.

    Raises:
      ShardError: a device has more stars, or an epoch more samples, than 32-bit integers can number.
    """
    num_sample = shard.num_snapshot * config.num_sample_per_snapshot
    if num_sample >= MAX_SAMPLE:
        raise ShardError(
            f"{shard.num_snapshot} training snapshots with config.data.num_sample_per_snapshot="
            f"{config.num_sample_per_snapshot} are {num_sample} samples per epoch, more than "
            f"{MAX_SAMPLE - 1}: lower it"
        )
    if placement == "replicated":
        return _replicated(shard, config, batch_size, mesh)
    chunk_bytes = math.inf if placement == "sharded" else CHUNK_BYTES
    num_share = devices.num_share(mesh)
    plan = _plan(shard, num_share, chunk_bytes)
    num_local = batch_size // num_share
    # All devices take as many steps as the one with the most snapshots; the others fill up with padding.
    num_step = [
        math.ceil(
            max(plan.num_snapshot(c, d) for d in range(num_share))
            * config.num_sample_per_snapshot
            / num_local
        )
        for c in range(plan.num_chunk)
    ]

    def read(epoch, chunk):
        return {d: plan.read(shard, epoch, chunk, d) for d in devices.local_positions(mesh)}

    if placement == "sharded":
        stars = devices.place_shares(read(0, 0), mesh)
        return Source(
            placement, mesh, num_share, num_step[0], _like(stars), lambda epoch: iter([(stars, num_step[0])])
        )

    def chunks(epoch):
        read_ahead = _ahead(lambda chunk: read(epoch, chunk), plan.num_chunk)
        for on_host, num in zip(read_ahead, num_step, strict=True):
            yield devices.place_shares(on_host, mesh), num

    like = _like(devices.place_shares(read(0, 0), mesh))
    return Source(placement, mesh, num_share, sum(num_step), like, chunks)


def _replicated(shard, config, batch_size, mesh) -> Source:
    stars = devices.replicate(sampler.to_stars(shard), mesh)
    num_step = math.ceil(sampler.num_sample(stars, config) / batch_size)
    return Source("replicated", mesh, 1, num_step, _like(stars), lambda epoch: iter([(stars, num_step)]))


def in_order(shard: Shard, placement: str, mesh) -> Iterator[Stars]:
    """Yield the stars of a split in order, replicated: all at once, or in chunks if not 'replicated'."""
    if placement == "replicated":
        yield devices.replicate(sampler.to_stars(shard), mesh)
        return
    plan = _plan(shard, 1, CHUNK_BYTES, is_shuffled=False)
    for stars in _ahead(lambda chunk: plan.read(shard, 0, chunk, 0), plan.num_chunk):
        yield devices.replicate(stars, mesh)


def _ahead(read: Callable[[int], object], num: int) -> Iterator:
    """Yield `read(0)` … `read(num - 1)`, each of them read by a thread while the previous one is in use."""
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, 0)
        for number in range(num):
            current = ahead.result()
            if number + 1 < num:
                ahead = reader.submit(read, number + 1)
            yield current


def _like(stars: Stars) -> Stars:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), stars)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The assignment of blocks of consecutive snapshots to devices and chunks.

    Attributes:
      blocks: for each device, the first snapshot of each block and the first one after it, int64 (n_block,
        2).
      num_block: blocks per chunk.
      num_chunk: chunks per epoch.
      capacity: upper bound on the stars of a chunk, for any order of the blocks.
      is_shuffled: whether the order of blocks changes from epoch to epoch.
    """

    blocks: tuple[np.ndarray, ...]
    num_block: int
    num_chunk: int
    capacity: int
    is_shuffled: bool

    def chunk(self, epoch: int, chunk: int, device: int) -> np.ndarray:
        """Return the blocks of a chunk.

        The last block, which may be shorter, stays last, so that a chunk has as many snapshots in every
        epoch.
        """
        blocks = self.blocks[device]
        order = np.arange(len(blocks))
        if self.is_shuffled:
            # Independent of the seed, so that all ensemble members, and each of them trained alone, see the
            # same chunks.
            order[:-1] = np.random.default_rng((epoch, device)).permutation(len(blocks) - 1)
        return blocks[order[chunk * self.num_block : (chunk + 1) * self.num_block]]

    def num_snapshot(self, chunk: int, device: int) -> int:
        return int(np.diff(self.chunk(0, chunk, device)).sum())

    def read(self, shard: Shard, epoch: int, chunk: int, device: int) -> Stars:
        """Read the stars of a chunk into arrays of the size that all chunks have, padded with zeros."""
        num_snapshot = self.num_block * BLOCK
        feature = np.zeros((self.capacity, shard.feature.shape[1]), np.float32)
        target = np.zeros((num_snapshot, shard.target.shape[1]), np.float32)
        identity = np.zeros(num_snapshot, np.int32)
        ptr = np.zeros(num_snapshot + 1, np.int32)
        star = snapshot = 0
        for first, last in self.chunk(epoch, chunk, device):
            rows = slice(shard.ptr[first], shard.ptr[last])
            here = slice(snapshot, snapshot + last - first)
            feature[star : star + rows.stop - rows.start] = shard.feature[rows]
            target[here], identity[here] = shard.target[first:last], np.arange(first, last)
            ptr[here.start + 1 : here.stop + 1] = star + shard.ptr[first + 1 : last + 1] - rows.start
            star, snapshot = star + rows.stop - rows.start, here.stop
        ptr[snapshot + 1 :] = star
        return Stars(feature, ptr, target, identity, np.int32(snapshot))


def _plan(shard: Shard, num_device: int, chunk_bytes: float, *, is_shuffled: bool = True) -> _Plan:
    bounds = np.linspace(0, shard.num_snapshot, num_device + 1).astype(int)
    blocks = []
    for first, last in itertools.pairwise(bounds.tolist()):
        edges = np.append(np.arange(first, last, BLOCK), last)
        blocks.append(np.stack([edges[:-1], edges[1:]], axis=1))
    most = max(map(len, blocks))
    bytes_per_block = 4 * shard.feature.shape[0] * shard.feature.shape[1] * BLOCK / shard.num_snapshot
    num_block = min(most, max(1, int(min(chunk_bytes / bytes_per_block, most))))
    # Chunks of equal size, so that the last one is not the same few snapshots in every epoch.
    num_chunk = math.ceil(most / num_block)
    num_block = math.ceil(most / num_chunk)
    stars = [np.sort(shard.ptr[b[:, 1]] - shard.ptr[b[:, 0]]) for b in blocks]
    capacity = max(int(s[-num_block:].sum()) for s in stars)
    if capacity >= MAX_STAR:
        raise ShardError(
            f"{capacity} stars of {shard.num_snapshot} snapshots would be on one device, which takes at most "
            f"{MAX_STAR - 1}: set config.data.placement to streamed"
        )
    return _Plan(tuple(blocks), num_block, num_chunk, capacity, is_shuffled)
