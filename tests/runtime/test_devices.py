"""One device and many compute the same gradients, steps and predictions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from starjax.datasets.scalers import bundle, scaler
from starjax.evaluation.evaluator import Evaluator
from starjax.models import factory, heads
from starjax.models.ensemble import EnsembleMembers
from starjax.runtime import devices
from starjax.sampling import sampler
from starjax.training import step

CONFIG = sampler.SamplerConfig(
    num_star_per_sample=16, num_sample_per_snapshot=3, drop_probability=0.6, drop_ratio_range=(0.1, 0.9)
)
BATCH_SIZE = 16


def every_model(*always):
    """Test the named models always, and the others weekly: they share the step, and compile for a minute."""
    rest = [pytest.param(name, marks=pytest.mark.weekly) for name in factory.MODELS if name not in always]
    return pytest.mark.parametrize("name", [*always, *rest])


def mesh_of(num_device):
    return devices.make_mesh(devices=jax.devices()[:num_device])


def lone(optimizer, params):
    """Return state and members of a run of one model."""
    state = jax.tree.map(lambda x: x[None], {"params": params, "opt_state": optimizer.init(params)})
    return state, {**EnsembleMembers((2,), {}).arrays(), "key": jax.random.key_data(jax.random.key(2))[None]}


def compiled(apply, optimizer, mesh, **options):
    hparams = {"huber_delta": 1.0, "dropout": None}
    spec = step.StepSpec(
        apply, heads.PointHead(2), lambda _: optimizer, CONFIG, BATCH_SIZE, hparams, **options
    )
    train_steps = functools.partial(step.train_steps, spec)
    return devices.on_mesh(train_steps, mesh, arguments=("members", "members", *["same"] * 4))


@pytest.fixture(scope="module")
def stars():
    """Return eleven snapshots of 5 to 35 stars: 33 samples, which no batch size divides."""
    counts = np.arange(5, 38, 3)
    rng = np.random.default_rng(0)
    ptr = np.cumsum([0, *counts]).astype(np.int32)
    feature = rng.normal(size=(ptr[-1], 3)).astype(np.float32)
    return sampler.Stars(feature, ptr, rng.normal(size=(len(counts), 2)).astype(np.float32))


def run_steps(name, num_device, stars, optimizer, num_step=3, dropout=0.1, **options):
    """Return the parameters before and after some steps, and the sums over these steps."""
    mesh = mesh_of(num_device)
    params, apply = factory.split_module(
        factory.create_module(name, 3, 2, jax.random.key(1), dropout=dropout)
    )
    steps = compiled(apply, optimizer, mesh, **options)
    state, members = devices.shard_members(lone(optimizer, params), mesh)
    state, sums = steps(state, members, devices.replicate(stars, mesh), 0, 0, num_step)
    return jax.device_get(
        (params, jax.tree.map(lambda x: x[0], state["params"]), jax.tree.map(lambda x: x[0], sums))
    )


def assert_trees_close(found, expected, rtol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), found, expected)


@pytest.mark.slow
@pytest.mark.usefixtures("all_optimizations")
@every_model("deep_sets")
def test_the_gradient_equals_that_of_one_device(name, stars):
    # One step of plain descent at rate 1: what changed is the gradient itself, at its true size.
    before, alone, sums = run_steps(name, 1, stars, optax.sgd(1.0), num_step=1)
    _, together, sums_together = run_steps(name, 8, stars, optax.sgd(1.0), num_step=1)
    assert any(
        np.abs(b - a).max() > 1e-3 for a, b in zip(*map(jax.tree.leaves, (before, alone)), strict=True)
    )
    assert_trees_close(together, alone, 2e-6)
    assert_trees_close(sums_together, sums, 1e-5)


def test_the_gradient_is_that_of_the_mean_loss_of_the_batch(stars):
    before, after, _ = run_steps("deep_sets", 4, stars, optax.sgd(1.0), num_step=1, dropout=0.0)
    _, apply = factory.split_module(factory.create_module("deep_sets", 3, 2, jax.random.key(1), dropout=0.0))
    run_key = jax.random.key_data(jax.random.key(2))
    on_device = jax.tree.map(jnp.asarray, stars)
    pair = sampler.shuffled_pair(sampler.purpose_key(run_key, "order"), 0, jnp.arange(BATCH_SIZE), 33)
    features, mask, target, _ = sampler.draw_batch(
        on_device, sampler.purpose_key(run_key, "train"), 0, pair, CONFIG
    )
    gradient = jax.grad(lambda p: heads.huber(apply(p, features, mask), target, 1.0).mean())(before)
    assert_trees_close(jax.tree.map(lambda a, b: a - b, before, after), gradient, 2e-6)


@pytest.mark.weekly
@every_model("set_transformer")
def test_training_with_dropout_equals_that_on_one_device(name, stars):
    optimizer = optax.adamw(1e-3)
    _, alone, _ = run_steps(name, 1, stars, optimizer)
    _, together, _ = run_steps(name, 8, stars, optimizer)
    assert_trees_close(together, alone, 1e-4)


@pytest.mark.slow
@every_model("deep_sets")
@pytest.mark.parametrize(
    ("num_device", "micro_batch_size"),
    [
        pytest.param(1, 1, marks=pytest.mark.weekly),
        pytest.param(1, 5, marks=pytest.mark.weekly),
        (2, 3),
        pytest.param(4, 4, marks=pytest.mark.weekly),
    ],
)
def test_micro_batches_give_the_result_of_the_whole_batch(name, num_device, micro_batch_size, stars):
    _, at_once, sums = run_steps(name, 1, stars, optax.sgd(0.1))
    _, in_parts, sums_in_parts = run_steps(
        name, num_device, stars, optax.sgd(0.1), micro_batch_size=micro_batch_size
    )
    assert_trees_close(in_parts, at_once, 2e-6)
    assert_trees_close(sums_in_parts, sums, 1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("all_optimizations")
@every_model("deep_sets")
def test_less_padding_gives_the_same_result(name, stars):
    _, with_all, sums = run_steps(name, 1, stars, optax.sgd(0.1))
    # Micro-batches of three samples, so that the last one of a device is not full.
    options = {"micro_batch_size": 3, "padded_lengths": (5, 9, 16)}
    _, with_fewer, sums_with_fewer = run_steps(name, 2, stars, optax.sgd(0.1), **options)
    assert_trees_close(with_fewer, with_all, 2e-6)
    assert_trees_close(sums_with_fewer, sums, 1e-5)


def test_the_last_padded_length_is_that_of_a_whole_sample():
    assert step.padded_lengths(128, is_superlinear=True) == (64, 96, 128)
    assert step.padded_lengths(128, is_superlinear=False) == (128,)
    assert [step.padded_lengths(n, is_superlinear=True) for n in (1, 2, 3)] == [(1,), (1, 2), (2, 3)]


def test_an_epoch_counts_every_sample_once(stars):
    *_, sums = run_steps("deep_sets", 4, stars, optax.sgd(0.0))
    assert sums["num_sample"] == 33


@pytest.mark.slow
def test_steps_in_several_calls_equal_those_in_one_call(stars):
    mesh = mesh_of(1)
    params, apply = factory.split_module(factory.create_module("deep_sets", 3, 2, jax.random.key(1)))
    optimizer = optax.adamw(1e-2)
    steps = compiled(apply, optimizer, mesh)
    state, members = lone(optimizer, params)
    at_once, _ = steps(state, members, stars, 0, 0, 3)
    in_parts = state
    for first in range(3):
        in_parts, _ = steps(in_parts, members, stars, 0, first, 1)
    jax.tree.map(np.testing.assert_array_equal, in_parts, at_once)


@pytest.mark.slow
@every_model("deep_sets")
def test_predictions_are_the_same_on_any_number_of_devices(name, stars):
    params, apply = factory.split_module(factory.create_module(name, 3, 2, jax.random.key(1)))
    scalers = bundle.ScalerBundle(((("a", "b"), scaler.Scaler("identity", {"center": 0.0, "scale": 1.0})),))
    found = []
    for num_device, batch_size, micro_batch_size in (
        (1, 16, 16),
        (4, 16, 4),
        (8, 8, 1),
        (1, 64, 10),
        (2, 16, 3),
    ):
        mesh = mesh_of(num_device)
        chunk = devices.replicate(stars, mesh)
        evaluator = Evaluator(
            apply,
            heads.PointHead(2),
            CONFIG,
            batch_size,
            micro_batch_size,
            mesh,
            ("a", "b"),
            scalers,
            {"test": stars},
            {"test": [chunk]}.get,
        )
        own = devices.shard_members(jax.tree.map(lambda x: x[None], params), mesh)
        found.append(evaluator.predict(own, "test"))
    for prediction, target in found:
        assert prediction.shape == (1, 33, 2)
        np.testing.assert_array_equal(target, np.repeat(stars.target, 3, axis=0))
        np.testing.assert_allclose(prediction, found[0][0], rtol=1e-5, atol=1e-6)
    # Distinct snapshots give distinct rows: nothing is repeated or shifted.
    assert len(np.unique(found[0][0][0, :, 0].round(6))) > 11


def test_memory_of_predictions_does_not_grow_with_the_batch(stars):
    params, apply = factory.split_module(factory.create_module("set_transformer", 3, 1, jax.random.key(1)))
    params = jax.tree.map(lambda x: x[None], params)
    found = []
    for batch_size in (32, 512):
        evaluator = Evaluator(
            apply, heads.PointHead(1), CONFIG, batch_size, 8, mesh_of(1), ("a",), None, {}, {}.get
        )
        lowered = evaluator._predict_steps.lower(params, stars, jax.random.key(0), 0, np.arange(3))
        found.append(lowered.compile().memory_analysis().temp_size_in_bytes)
    # 8 samples of 16 stars have 64 KiB of weights a head; 480 predictions more are 2 KiB a step.
    assert found[1] < found[0] + 2**14
