"""The largest micro-batch that fits into memory, and a device for each core."""

import os
import subprocess
import sys
import types

import jax
import pytest

from starjax.runtime import devices, memory


def compiled(size, bytes_per_sample):
    analysis = types.SimpleNamespace(temp_size_in_bytes=1000 + size * bytes_per_sample)
    return types.SimpleNamespace(memory_analysis=lambda: analysis, size=size)


@pytest.mark.parametrize(
    ("num_local", "bytes_per_sample", "largest"),
    [(256, 1, 64), (16, 1, 16), (256, 1000, 50), (256, 10**9, 1)],
)
def test_the_largest_micro_batch_takes_half_of_the_memory(num_local, bytes_per_sample, largest, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100_000)
    tried = []

    def compiled_with(size):
        tried.append(size)
        return compiled(size, bytes_per_sample)

    size, found = memory.largest_micro_batch(compiled_with, num_local, devices.make_mesh())
    assert size == found.size == tried[-1]
    assert largest / 2 <= size <= largest
    assert size == 1 or 1000 + size * bytes_per_sample <= 50_000


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "in_use"), [("RLIMIT_AS", "vms"), ("RLIMIT_DATA", "data")])
def test_limits_of_the_process_reduce_the_free_memory(limit, in_use):
    # Enough for the threads that are still to come, which end the process if they get none.
    code = (
        "import jax, psutil, resource; from starjax.runtime import memory; device = jax.devices()[0]; "
        f"most = psutil.Process().memory_info().{in_use} + 2**31; before = memory.free_bytes(device); "
        f"resource.setrlimit(resource.{limit}, (most, most)); print(before, memory.free_bytes(device))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    # A process may give back some pages in between.
    assert 0 < after <= 1.01 * 2**31 < before


def test_limits_of_a_batch_job_and_of_the_groups_around_it_are_respected(tmp_path, monkeypatch):
    own = tmp_path / "cgroup"
    own.write_text("0::/slurm/job/step\n")
    monkeypatch.setattr(memory, "_OWN_CGROUP", own)
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path)
    for name, limit in {"slurm": "max", "slurm/job": "1000000", "slurm/job/step": "3000000"}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("900000\n")
        (folder / "memory.stat").write_text("anon 100000\nfile 800000\ninactive_file 600000\n")
    # Files in the cache make room when it is needed.
    assert memory._left_in_cgroups() == [2_700_000, 700_000]
    assert memory.free_bytes(jax.devices()[0]) == 700_000 // jax.local_device_count()
    own.write_text("4:memory:/of/version/1\n")
    assert memory._left_in_cgroups() == []


@pytest.mark.parametrize(
    ("cores", "batch_size", "variables", "num_device"),
    [
        (4, 512, {}, 4),
        pytest.param(6, 512, {}, 4, marks=pytest.mark.slow),
        pytest.param(3, 512, {}, 2, marks=pytest.mark.slow),
        (5, 7, {}, 1),
        pytest.param(4, 512, {"JAX_NUM_CPU_DEVICES": "3"}, 3, marks=pytest.mark.slow),
    ],
)
def test_every_core_is_a_device(cores, batch_size, variables, num_device):
    code = (
        "import joblib, jax; from starjax.runtime import devices;"
        f"joblib.cpu_count = lambda only_physical_cores: {cores};"
        f"devices.use_cores({batch_size}); print(jax.device_count())"
    )
    is_reported = not variables and num_device < cores
    unset = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unset | variables
    )
    assert int(done.stdout.splitlines()[-1]) == num_device
    assert (f"using {num_device} of {cores} cores" in done.stdout) == is_reported
