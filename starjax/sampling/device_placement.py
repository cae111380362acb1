"""Where the stars are while a model trains: on every device, shared out among them, or on the host.

    replicated   every device holds all snapshots; a batch is any samples of the epoch
    sharded      each device holds snapshots of its own, and draws its share of every batch from them
    streamed     the shard stays on the host's disk; each device is sent some of its snapshots ahead
                 of use, others in every epoch together

Every sample of an epoch is seen once in all three, and is the same sample in all three: what differs is which
samples meet in a batch.
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

# Samples of an epoch that 32-bit numbers can tell apart, with room for a last batch that is not full.
MAX_SAMPLE = 2**31 - 2**24
PLACEMENTS = ("replicated", "sharded", "streamed")
# What `auto` lets the stars take of the memory that a device has left.
SHARE = 0.25
# Stars that are sent to a device at a time, and snapshots that stay together when they are shuffled, so that
# a disk is read in pieces of some size.
CHUNK_BYTES, BLOCK = 2**25, 64


@dataclasses.dataclass(frozen=True)
class Source:
    """The samples of one split, placed.

    Attributes:
      placement: one of PLACEMENTS.
      mesh: the devices.
      num_share: devices that have stars of their own; 1 where all have the same.
      num_step: steps of an epoch.
      like: shapes and shardings of what `chunks` yields.
      chunks: `(epoch) -> iterator over (stars, num_step)`, the parts of an epoch one after another.
    """

    placement: str
    mesh: jax.sharding.Mesh
    num_share: int
    num_step: int
    like: Stars
    chunks: Callable[[int], Iterator[tuple[Stars, int]]]

    @property
    def is_sharded(self) -> bool:
        """Whether each device has stars of its own, along a first axis."""
        return self.placement != "replicated"

    @property
    def layout(self) -> dict:
        """What decides which samples meet in a batch: a run that goes on has to have the same."""
        return {"placement": self.placement, "num_share": self.num_share, "num_step": self.num_step}


def num_bytes(shard: Shard) -> int:
    """What the stars of a shard take on a device."""
    return 4 * (shard.feature.shape[0] * shard.feature.shape[1] + shard.target.size + 2 * len(shard.ptr))


def choose(shards: dict[str, Shard], num_device: int, free_bytes: int) -> str:
    """The first of PLACEMENTS that fits: stars may take a quarter of what a device has left."""
    sizes = {split: num_bytes(shard) for split, shard in shards.items()}
    total, training = sum(sizes.values()), sizes["train"]
    if total <= SHARE * free_bytes and max(len(s.feature) for s in shards.values()) < MAX_STAR:
        return "replicated"
    # Validation and test stay whole on every device. Devices differ in their stars, which half of MAX_STAR allows for.
    fits = total - training + training / num_device <= SHARE * free_bytes
    is_countable = all(
        len(shard.feature) < (MAX_STAR / 2 * num_device if split == "train" else MAX_STAR)
        for split, shard in shards.items()
    )
    return "sharded" if num_device > 1 and fits and is_countable else "streamed"


def place_training_stars(
    shard: Shard, placement: str, config: SamplerConfig, batch_size: int, mesh
) -> Source:
    """Places the training samples of a scaled shard.

    Raises:
      ShardError: there are more stars on a device, or samples in an epoch, than 32-bit numbers can tell apart.
    """
    num_sample = shard.num_snapshot * config.num_sample_per_snapshot
    if num_sample >= MAX_SAMPLE:
        raise ShardError(
            f"{shard.num_snapshot} training snapshots, data.num_sample_per_snapshot={config.num_sample_per_snapshot} "
            f"times each, are {num_sample} samples an epoch; at most {MAX_SAMPLE - 1} can be told apart"
        )
    if placement == "replicated":
        return _replicated(shard, config, batch_size, mesh)
    chunk_bytes = math.inf if placement == "sharded" else CHUNK_BYTES
    num_share = devices.num_share(mesh)
    plan = _plan(shard, num_share, chunk_bytes)
    num_local = batch_size // num_share
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
    """The stars of a split as they stand in the shard, all at once or some at a time, on every device."""
    if placement == "replicated":
        yield devices.replicate(sampler.to_stars(shard), mesh)
        return
    plan = _plan(shard, 1, CHUNK_BYTES, is_shuffled=False)
    for stars in _ahead(lambda chunk: plan.read(shard, 0, chunk, 0), plan.num_chunk):
        yield devices.replicate(stars, mesh)


def _ahead(read: Callable[[int], object], num: int) -> Iterator:
    """What `read` gives for 0 … num - 1, each read by a thread while the one before is in use."""
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, 0)
        for number in range(num):
            found = ahead.result()
            if number + 1 < num:
                ahead = reader.submit(read, number + 1)
            yield found


def _like(stars: Stars) -> Stars:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), stars)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Which snapshots go to which device in which chunk: whole blocks of neighbours, as many in each chunk.

    Attributes:
      blocks: of each device, (first, last + 1) snapshot of each block, int64 (n_block, 2).
      num_block: blocks of a chunk.
      num_chunk: chunks of an epoch.
      capacity: most stars that a chunk can have, whatever the order of blocks.
      is_shuffled: whether the order of blocks differs from epoch to epoch.
    """

    blocks: tuple[np.ndarray, ...]
    num_block: int
    num_chunk: int
    capacity: int
    is_shuffled: bool

    def chunk(self, epoch: int, chunk: int, device: int) -> np.ndarray:
        """The blocks of a chunk; the short one, if any, stays last, so that chunks have as many snapshots in every epoch."""
        blocks = self.blocks[device]
        order = np.arange(len(blocks))
        if self.is_shuffled:
            # Of the epoch alone, not of the seed: members of an ensemble see the same chunks, and so do lone runs.
            order[:-1] = np.random.default_rng((epoch, device)).permutation(len(blocks) - 1)
        return blocks[order[chunk * self.num_block : (chunk + 1) * self.num_block]]

    def num_snapshot(self, chunk: int, device: int) -> int:
        return int(np.diff(self.chunk(0, chunk, device)).sum())

    def read(self, shard: Shard, epoch: int, chunk: int, device: int) -> Stars:
        """The stars of a chunk, filled up to the size that all chunks have."""
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
    bytes_of_block = 4 * shard.feature.shape[0] * shard.feature.shape[1] * BLOCK / shard.num_snapshot
    num_block = min(most, max(1, int(min(chunk_bytes / bytes_of_block, most))))
    # Shared out evenly, lest the last chunk be the same few snapshots in every epoch.
    num_chunk = math.ceil(most / num_block)
    num_block = math.ceil(most / num_chunk)
    stars = [np.sort(shard.ptr[b[:, 1]] - shard.ptr[b[:, 0]]) for b in blocks]
    capacity = max(int(s[-num_block:].sum()) for s in stars)
    if capacity >= MAX_STAR:
        raise ShardError(
            f"{capacity} stars of {shard.num_snapshot} snapshots would lie on one device, which takes at most {MAX_STAR - 1}: "
            "set config.data.placement to streamed"
        )
    return _Plan(tuple(blocks), num_block, num_chunk, capacity, is_shuffled)
