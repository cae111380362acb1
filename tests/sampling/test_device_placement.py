"""With every placement an epoch has the same samples, each of them once."""

import dataclasses
import functools
import shutil

import jax
import numpy as np
import optax
import pytest

from starjax.datasets import shard
from starjax.datasets.load import load_dataset
from starjax.datasets.shard_files import shard_path
from starjax.models import factory, heads
from starjax.models.ensemble import EnsembleMembers
from starjax.runtime import devices
from starjax.sampling import device_placement, sampler
from starjax.training import step

CONFIG = sampler.SamplerConfig(
    num_star_per_sample=8, num_sample_per_snapshot=3, drop_probability=0.6, drop_ratio_range=(0.1, 0.9)
)
BATCH_SIZE = 16


def mesh_of(num_device):
    return devices.make_mesh(devices=jax.devices()[:num_device])


@pytest.fixture(scope="module")
def whole():
    """Return a shard of 37 snapshots of 3 to 31 stars."""
    rng = np.random.default_rng(0)
    ptr = np.cumsum([0, *rng.integers(3, 32, 37)])
    feature = rng.normal(size=(ptr[-1], 2)).astype(np.float32)
    return shard.Shard(feature, ("x", "y"), rng.normal(size=(37, 1)).astype(np.float32), ("time",), ptr)


@pytest.fixture
def small_chunks(monkeypatch):
    """Make blocks of two snapshots, a few of them in a chunk."""
    monkeypatch.setattr(device_placement, "BLOCK", 2)
    monkeypatch.setattr(device_placement, "CHUNK_BYTES", 1200)


def sums_of_epoch(whole, name, num_device, epoch):
    """Return the sums of an epoch of a model that does not learn; each sample contributes differently."""
    mesh = mesh_of(num_device)
    source = device_placement.place_training_stars(whole, name, CONFIG, BATCH_SIZE, mesh)
    params, apply = factory.split_module(
        factory.create_module("deep_sets", 2, 1, jax.random.key(1), dropout=0.0)
    )
    optimizer = optax.sgd(0.0)
    spec = step.StepSpec(
        apply,
        heads.PointHead(1),
        lambda _: optimizer,
        CONFIG,
        BATCH_SIZE,
        {"huber_delta": 1.0, "dropout": None},
        is_sharded=source.is_sharded,
    )
    train_steps = functools.partial(step.train_steps, spec)
    stars_lie = "shares" if source.is_sharded else "same"
    steps = devices.on_mesh(
        train_steps, mesh, arguments=("members", "members", stars_lie, "same", "same", "same")
    )
    state = jax.tree.map(lambda x: x[None], {"params": params, "opt_state": optimizer.init(params)})
    state, members = devices.shard_members((state, EnsembleMembers((2,), {}).arrays()), mesh)
    found, done = [], 0
    for stars, num_step in source.chunks(epoch):
        state, sums = steps(state, members, stars, epoch, 0, num_step)
        found.append(jax.device_get(sums))
        done += num_step
    assert done == source.num_step
    return jax.tree.map(lambda *values: float(np.sum(values)), *found)


@pytest.mark.parametrize("epoch", [3, pytest.param(0, marks=pytest.mark.weekly)])
@pytest.mark.parametrize("num_device", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4))])
@pytest.mark.parametrize("name", ["streamed", pytest.param("sharded", marks=pytest.mark.slow)])
def test_an_epoch_has_the_same_samples_with_every_placement(whole, small_chunks, name, num_device, epoch):
    expected = sums_of_epoch(whole, "replicated", 1, epoch)
    assert expected["num_sample"] == 37 * 3
    # One sample twice, or another in its place, would change a sum of 111 by some 1e-3.
    assert sums_of_epoch(whole, name, num_device, epoch) == pytest.approx(expected, rel=1e-5)


def identities(source, epoch):
    """Return the snapshots of each chunk, over all devices."""
    found = []
    for stars, _ in source.chunks(epoch):
        counts = np.asarray(stars.num_snapshot)
        found.append(
            np.concatenate([row[:n] for row, n in zip(np.asarray(stars.identity), counts, strict=True)])
        )
    return found


def test_chunks_combine_different_snapshots_in_every_epoch(whole, small_chunks):
    source = device_placement.place_training_stars(whole, "streamed", CONFIG, BATCH_SIZE, mesh_of(2))
    first, second = identities(source, 0), identities(source, 1)
    assert len(first) > 2
    for epoch in (first, second):
        np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(37))
    assert any(set(a) != set(b) for a, b in zip(first, second, strict=True))
    for a, b in zip(first, identities(source, 0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_chunk_has_the_stars_of_its_snapshots(whole, small_chunks):
    source = device_placement.place_training_stars(whole, "streamed", CONFIG, BATCH_SIZE, mesh_of(1))
    for chunk, _ in source.chunks(5):
        stars = jax.tree.map(lambda x: np.asarray(x[0]), chunk)
        assert jax.tree.map(np.shape, chunk) == jax.tree.map(lambda x: x.shape, source.like)
        for i, snapshot in enumerate(stars.identity[: stars.num_snapshot]):
            np.testing.assert_array_equal(
                stars.feature[stars.ptr[i] : stars.ptr[i + 1]],
                whole.feature[whole.ptr[snapshot] : whole.ptr[snapshot + 1]],
            )
            np.testing.assert_array_equal(stars.target[i], whole.target[snapshot])


@pytest.mark.parametrize("name", device_placement.PLACEMENTS)
def test_a_split_in_order_is_the_shard(whole, small_chunks, name):
    chunks = [jax.device_get(stars) for stars in device_placement.in_order(whole, name, mesh_of(2))]
    num_snapshot = [37 if c.num_snapshot is None else int(c.num_snapshot) for c in chunks]
    assert sum(num_snapshot) == 37
    feature = np.concatenate([c.feature[: c.ptr[n]] for c, n in zip(chunks, num_snapshot, strict=True)])
    np.testing.assert_array_equal(feature, whole.feature)
    target = np.concatenate([c.target[:n] for c, n in zip(chunks, num_snapshot, strict=True)])
    np.testing.assert_array_equal(target, whole.target)


def test_a_mapped_shard_streams_as_one_in_memory(whole, small_chunks, tmp_path):
    shard.save_shard(tmp_path / "s.npz", whole)
    mapped = shard.load_shard(tmp_path / "s.npz", mapped=True)
    assert isinstance(mapped.feature, shard.MappedColumns)
    swapped = [one.select(("y", "x"), ("time",)) for one in (mapped, whole)]
    for one, other in ((mapped, whole), swapped):
        found, expected = (
            list(
                device_placement.place_training_stars(s, "streamed", CONFIG, BATCH_SIZE, mesh_of(2)).chunks(1)
            )
            for s in (one, other)
        )
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_file_that_cannot_be_mapped_is_named_in_the_error(whole, tmp_path):
    path = tmp_path / "s.npz"
    arrays = {name: getattr(whole, name) for name in shard.ARRAYS}
    np.savez_compressed(path, **arrays)
    with pytest.raises(shard.ShardError, match=r"s\.npz.*compressed"):
        shard.load_shard(path, mapped=True)
    np.savez(
        path, **{**arrays, "feature": np.where(np.arange(len(whole.feature))[:, None] == 7, np.nan, 1.0)}
    )
    with pytest.raises(shard.ShardError, match=r"s\.npz"):
        shard.load_shard(path, mapped=True).feature[0:10]


def test_rows_beyond_two_to_the_31():
    """Only shapes matter: 2**31 + 2**16 stars share one number in memory."""
    per_snapshot = 2**15 + 1
    num_star = per_snapshot * 2**16
    assert num_star > 2**31
    feature = np.broadcast_to(np.float32(1), (num_star, 1))
    ptr = np.arange(2**16 + 1) * per_snapshot
    large = shard.Shard(feature, ("x",), np.zeros((2**16, 1), np.float32), ("time",), ptr)
    assert device_placement.choose({"train": large}, 1, free_bytes=2**45) == "streamed"
    assert device_placement.choose({"train": large}, 4, free_bytes=2**45) == "sharded"
    with pytest.raises(shard.ShardError, match="at most"):
        sampler.to_stars(large)
    assert (
        device_placement.choose({"train": large}, 2, free_bytes=2**45) == "streamed"
    )  # half of them is near the limit
    with pytest.raises(shard.ShardError, match="at most"):
        device_placement.place_training_stars(large, "sharded", CONFIG, BATCH_SIZE, mesh_of(1))
    plan = device_placement._plan(large, 1, device_placement.CHUNK_BYTES)
    last = plan.read(large, 0, plan.num_chunk - 1, 0)
    num_snapshot = int(last.num_snapshot)
    assert last.identity[num_snapshot - 1] == 2**16 - 1
    np.testing.assert_array_equal(last.ptr[: num_snapshot + 1], np.arange(num_snapshot + 1) * per_snapshot)


@pytest.mark.parametrize(
    ("num_device", "free_bytes", "chosen"),
    [
        (1, 4e4, "replicated"),
        (1, 1e4, "streamed"),
        (4, 4e4, "replicated"),
        (4, 1e4, "sharded"),
        (4, 1e3, "streamed"),
    ],
)
def test_auto_takes_the_first_that_fits(whole, num_device, free_bytes, chosen):
    assert 5e3 < device_placement.num_bytes(whole) < 1e4
    assert device_placement.choose({"train": whole}, num_device, free_bytes) == chosen


def test_validation_and_test_are_replicated(whole):
    """A share of the training stars fits, but not together with all others."""
    free_bytes = 2.2 * device_placement.num_bytes(whole)
    assert device_placement.choose({"train": whole}, 8, free_bytes) == "sharded"
    assert device_placement.choose({"train": whole, "val": whole, "test": whole}, 8, free_bytes) == "streamed"


@pytest.mark.parametrize("name", device_placement.PLACEMENTS)
def test_too_many_samples_for_32_bits_are_an_error(whole, name):
    many = dataclasses.replace(CONFIG, num_sample_per_snapshot=10**8)
    with pytest.raises(shard.ShardError, match="num_sample_per_snapshot=100000000"):
        device_placement.place_training_stars(whole, name, many, BATCH_SIZE, mesh_of(1))


def test_no_chunk_is_the_same_few_snapshots_in_every_epoch(whole, small_chunks, monkeypatch):
    # Eighteen whole blocks and a short one: with 18 per chunk, the second chunk would always be the last
    # block.
    monkeypatch.setattr(device_placement, "CHUNK_BYTES", 4 * whole.feature.size * 18 * 2 / 37)
    source = device_placement.place_training_stars(whole, "streamed", CONFIG, BATCH_SIZE, mesh_of(1))
    chunks = [identities(source, epoch) for epoch in range(3)]
    assert [[len(chunk) for chunk in epoch] for epoch in chunks] == [[20, 17]] * 3
    assert len({tuple(sorted(epoch[-1])) for epoch in chunks}) == 3


def test_a_data_set_without_scaled_shards_is_scaled_in_memory(small):
    load = functools.partial(load_dataset, str(small), ("x",), ("time",))
    np.testing.assert_array_equal(
        load(mapped=True).shards["val"].feature, load(mapped=False).shards["val"].feature
    )


def test_compressed_shards_are_read_into_memory(small, tmp_path):
    folder = tmp_path / "compressed"
    shutil.copytree(small, folder)
    plain = load_dataset(str(small), ("x", "vx"), ("time",))
    for split, one in plain.shards.items():
        arrays = {name: getattr(one, name) for name in shard.ARRAYS}
        np.savez_compressed(shard_path(folder, "scaled", split), **arrays)
    found = load_dataset(str(folder), ("x", "vx"), ("time",), mapped=True)
    np.testing.assert_array_equal(found.shards["train"].feature, plain.shards["train"].feature)
