"""The largest micro-batch that fits, and a device for every core."""

import os
import subprocess
import sys
import types

import jax
import pytest

from starjax import distributed, memory


def compiled(size, bytes_per_sample):
    analysis = types.SimpleNamespace(temp_size_in_bytes=1000 + size * bytes_per_sample)
    return types.SimpleNamespace(memory_analysis=lambda: analysis, size=size)


@pytest.mark.parametrize(
    ("num_local", "bytes_per_sample", "largest"),
    [(256, 1, 64), (16, 1, 16), (256, 1000, 50), (256, 10**9, 1)],
)
def test_the_largest_micro_batch_is_what_half_of_the_memory_holds(
    num_local, bytes_per_sample, largest, monkeypatch
):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100_000)
    tried = []

    def compiled_with(size):
        tried.append(size)
        return compiled(size, bytes_per_sample)

    size, found = memory.largest_micro_batch(compiled_with, num_local, distributed.make_mesh())
    assert size == found.size == tried[-1]
    assert largest / 2 <= size <= largest
    assert size == 1 or 1000 + size * bytes_per_sample <= 50_000


def test_an_address_space_limit_is_memory_that_is_not_there():
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))"
    code = f"import jax; from starjax import memory; {limited}; print(memory.free_bytes(jax.devices()[0]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**33
    assert memory.free_bytes(jax.devices()[0]) > 0


@pytest.mark.parametrize(
    ("cores", "batch_size", "variables", "num_device"),
    [
        (4, 512, {}, 4),
        (6, 512, {}, 4),
        (3, 512, {}, 2),
        (5, 7, {}, 1),
        (4, 512, {"JAX_NUM_CPU_DEVICES": "3"}, 3),
    ],
)
def test_every_core_is_a_device(cores, batch_size, variables, num_device):
    code = (
        "import joblib, jax; from starjax import distributed;"
        f"joblib.cpu_count = lambda only_physical_cores: {cores};"
        f"distributed.use_cores({batch_size}); print(jax.device_count())"
    )
    unset = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unset | variables
    )
    assert int(done.stdout) == num_device
