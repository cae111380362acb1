"""The benchmarks run, and the implementations that they compare agree."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import all as all_benchmarks
from benchmarks import attention, ensemble, large_sets, long_run, observer, posterior, sampler, train_step
from starjax.configs import posterior as posterior_config
from starjax.models.attention import attention as ours

CASE = "Deep Sets (8, 4)/(8, 4)"


@pytest.mark.slow
@pytest.mark.usefixtures("all_optimizations")
@pytest.mark.parametrize("name", [name for name in attention.contenders() if name != "ours"])
def test_implementations_of_attention_agree(name):
    rng = np.random.default_rng(0)
    q, k, v, gradient = (jnp.asarray(rng.normal(size=(3, 2, 4, 10)), jnp.float32) for _ in range(4))
    mask = jnp.arange(10)[None] < jnp.array([10, 4, 1])[:, None]

    def result(function):
        attended, pull = jax.vjp(lambda *x: function(*x, mask), q, k, v)
        return attended, pull(gradient)

    expected, found = result(ours), result(attention.contenders()[name])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        pytest.param(sampler, [], marks=pytest.mark.weekly),
        (train_step, ["--num_worker", "--num_round=1", "--max_step=2", f"--case={CASE}"]),
        pytest.param(observer, ["--num_star=32", "--num_step=1", "--num_round=1"], marks=pytest.mark.weekly),
        pytest.param(ensemble, ["--size=2", "--num_run=1", f"--case={CASE}"], marks=pytest.mark.weekly),
    ],
)
def test_a_benchmark_prints_a_table_and_writes_json(module, arguments, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.json"
    monkeypatch.setattr("sys.argv", ["benchmark", f"--out={out}", *arguments])
    monkeypatch.setattr(sampler, "BATCH_SIZE", 64)
    monkeypatch.setattr(sampler, "COPY_SIZE", 2**12)
    monkeypatch.setattr(train_step, "LEAST_SECONDS", 0.01)
    module.main()
    content = json.loads(out.read_text())
    assert content["machine"]["versions"]["jax"] == jax.__version__
    assert all(row["samples_per_s"] > 0 for row in content["rows"])
    assert content["title"].split(";")[0] in capsys.readouterr().out


@pytest.mark.weekly
def test_large_sets_are_measured_in_time_and_memory():
    row = large_sets.measure(CASE, num_star=16, batch_size=64, max_seconds=0)
    assert row["temporary_MiB"] > 0
    assert row["samples_per_s"] > 0


@pytest.mark.weekly
def test_memory_is_recorded_during_a_long_run():
    notes, params = long_run.one_run(num_step=117, num_note=3)
    assert [row["steps"] for row in notes] == [39, 78, 117]
    assert all(row["device_buffers"] >= len(jax.tree.leaves(params)) for row in notes)
    notes = [{"steps": 500 * i, "host_MiB": 100 + 2 * i} for i in range(10)]
    assert long_run.growth(notes, "host_MiB")["per_1000_steps"] == pytest.approx(4)


@pytest.mark.weekly
@pytest.mark.slow
def test_a_posterior_is_trained_once_and_read_again(small, tmp_path, monkeypatch):
    def get_config():
        config = posterior_config.get_config()
        config.data.dataset, config.train.max_epochs = str(small), 2
        config.ensemble.size, config.ensemble.num_fold = 1, 0
        config.train.micro_batch_size = "64"  # a single one, with a single length: less to compile
        return config

    monkeypatch.setitem(posterior.CONFIGS, "posterior", SimpleNamespace(get_config=get_config))
    first, again = (posterior.one_run("posterior", 0, str(tmp_path)) for _ in range(2))
    assert [row["target"] for row in first] == list(posterior.TARGETS)
    assert first[0]["seconds"] > 0
    assert again == [row | {"seconds": None} for row in first]
    tested = json.loads((tmp_path / "experiments" / "posterior-0" / "test_metrics.json").read_text())
    for row in first:  # medians there, means here: the same of one Gaussian
        assert row["r2"] == pytest.approx(tested["test"][row["target"]]["scaled"]["r2"], abs=1e-4)


def test_a_mass_is_nearly_a_sum_over_stars_and_metallicity_improves_it():
    blind, informed = posterior.least_squares()
    assert 0.99 < blind["r2"] < informed["r2"] < 1
    assert informed["mae"] < blind["mae"] < 5


@pytest.mark.weekly
def test_ages_of_the_test_simulations_are_harder_than_most_and_masses_are_not():
    age, mass = posterior.how_hard_the_test_is()
    assert age["mae"] > 1.3 * age["mae_in_folds"]
    assert age["p_value"] < 0.01 < 0.2 < mass["p_value"]


def test_all_benchmarks_exist():
    folder = all_benchmarks.Path(all_benchmarks.__file__).parent
    assert all((folder / f"{name.removesuffix('_bfloat16')}.py").exists() for name in all_benchmarks.PLAN)
