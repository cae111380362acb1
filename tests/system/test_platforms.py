"""Programs for devices can be lowered for CPUs, GPUs and TPUs.

The exported program of a run is in test_export.
"""

import functools

import jax
import jax.numpy as jnp
import pytest

from starjax.configs import deep_sets, posterior, posterior_incomplete, set_transformer, summary_stats
from starjax.runs import run_config
from starjax.sampling import sampler
from starjax.training import prepare
from starjax.training.trainer import make_steps

PLATFORMS = ("cpu", "cuda", "tpu")
CONFIGS = {
    "summary_stats": summary_stats,
    "deep_sets": deep_sets,
    "set_transformer": set_transformer,
    "posterior": posterior,
    "posterior_incomplete": posterior_incomplete,
}


@pytest.fixture
def as_on_accelerators(monkeypatch):
    """Choose as on a TPU whatever depends on the kind of device; all other tests choose as on a CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")


@functools.cache
def made_ready(name, small, placement):
    """Return a config on the small data set, and data and stars of a run of it on eight devices."""
    config = CONFIGS[name].get_config().unlock()
    config.data.dataset, config.data.placement = str(small), placement
    if config.ensemble.num_fold:
        config = run_config.fold_config(config, 0).unlock()
    config.train.batch_size = 64
    data = prepare.split_dataset(config, prepare.read_dataset(config))
    return config, data, prepare.place_stars(config, data, placement)


def lowered(function, *arguments):
    made = jax.export.export(function, platforms=PLATFORMS)(*arguments)
    assert made.platforms == PLATFORMS
    return made


@pytest.mark.usefixtures("as_on_accelerators")
@pytest.mark.parametrize(
    ("name", "placement"),
    [
        ("set_transformer", "replicated"),
        pytest.param("summary_stats", "replicated", marks=pytest.mark.slow),
        pytest.param("deep_sets", "replicated", marks=pytest.mark.slow),
        pytest.param("posterior", "replicated", marks=pytest.mark.slow),
        pytest.param("posterior_incomplete", "replicated", marks=pytest.mark.slow),
        pytest.param("posterior", "sharded", marks=pytest.mark.slow),
        pytest.param("deep_sets", "streamed", marks=pytest.mark.slow),
    ],
)
def test_training_steps_of_every_config_can_be_lowered(name, placement, small):
    config, data, source = made_ready(name, small, placement)
    steps = make_steps(config, data, source)
    made = lowered(steps.jitted(4), *steps.arguments)
    assert made.nr_devices == jax.device_count() == 8
    assert "all_reduce" in made.mlir_module()


@pytest.mark.usefixtures("as_on_accelerators")
@pytest.mark.parametrize("name", CONFIGS)
def test_predictions_of_every_config_can_be_lowered(name, small):
    config, data, source = made_ready(name, small, "replicated")
    evaluator = prepare.make_evaluator(config, data, "replicated", 4)
    params = make_steps(config, data, source).arguments.state["params"]
    key = sampler.purpose_key(jax.random.key_data(jax.random.key(0)), "test")
    number = jax.ShapeDtypeStruct((), jnp.int32)
    steps = jax.ShapeDtypeStruct((3,), jnp.int32)
    lowered(evaluator._predict_steps, params, source.like, key, number, steps)


def test_the_sampler_can_be_lowered(small):
    config, data, source = made_ready("posterior_incomplete", small, "replicated")
    sample_config = run_config.sampler(config, data.feature_scalers)
    assert sample_config.selection is not None
    pair = jax.ShapeDtypeStruct((5,), jnp.int32)
    draw = jax.jit(functools.partial(sampler.draw_batch, config=sample_config))
    features, mask, *_ = lowered(draw, source.like, jax.random.key(0), 0, pair).out_avals
    assert features.shape == (5, 1024, 5)
    assert mask.shape == (5, 1024)


def test_an_operation_that_a_platform_lacks_is_an_error():
    """Otherwise the tests above could not fail."""

    def only_on_a_cpu(x):
        return jax.ffi.ffi_call("of_no_tpu", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)

    with pytest.raises(ValueError, match="of_no_tpu"):
        lowered(jax.jit(only_on_a_cpu), jnp.zeros(3))
