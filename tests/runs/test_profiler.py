"""A traced epoch reports how long the devices were idle; compiled programs are kept."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from starjax.runs import profiler
from starjax.training.run import train_and_test


@pytest.mark.slow
def test_a_traced_epoch_is_reported_and_kept(config, capsys):
    config.profile = 2
    run_dir = train_and_test(config)
    assert "epoch 2 traced: the devices were idle for" in capsys.readouterr().out
    idle = json.loads((run_dir.profile / "idle.json").read_text())
    assert 0 < idle["idle_share"] < 1
    assert idle["seconds"] > 0
    assert len(list(run_dir.profile.rglob("*.xplane.pb"))) == 1
    # Tracing does not make it another run.
    config.profile = 0
    train_and_test(config)
    assert "finished: nothing to do" in capsys.readouterr().out


def plane(name, **lines):
    """A plane of a trace, of lines of (name, begin, duration)."""
    made = [
        SimpleNamespace(
            name=line.replace("_", " "),
            events=[SimpleNamespace(name=n, start_ns=a, duration_ns=d) for n, a, d in events],
        )
        for line, events in lines.items()
    ]
    return SimpleNamespace(name=name, lines=made)


def test_accelerators_are_busy_while_a_program_or_a_kernel_runs():
    host = plane("/host:CPU", main=[(profiler._SPAN, 1000, 100)])
    kernels = [("a", 1010, 20), ("b", 1020, 20), ("c", 900, 100)]
    by_kernel = plane("/device:GPU:0", Stream=kernels)
    by_program = plane(
        "/device:TPU:1", Steps=[("0", 1000, 100)], XLA_Modules=[("p", 1000, 50)], XLA_Ops=kernels
    )
    other = plane("/device:TPU:0 SparseCore 0", line=[("z", 1000, 100)])
    for devices, idle in (([by_kernel], 0.7), ([by_program], 0.5), ([by_kernel, by_program, other], 0.6)):
        found = profiler.idle(SimpleNamespace(planes=[host, *devices]))
        assert found == {"seconds": 1e-7, "idle_share": pytest.approx(idle)}


def test_devices_of_a_cpu_are_busy_while_a_program_runs_on_them(monkeypatch):
    """Two of four are; time outside of the span does not count."""
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    runs = {
        f"pool{i}": [(profiler._CPU_RUN, begin, 40), ("other", 1000, 99)]
        for i, begin in enumerate((1010, 1080))
    }
    host = plane("/host:CPU", main=[(profiler._SPAN, 1000, 100)], **runs)
    found = profiler.idle(SimpleNamespace(planes=[host]))
    assert found == {"seconds": 1e-7, "idle_share": pytest.approx(1 - (40 + 20) / 4 / 100)}


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [([], 0), ([(1, 3), (2, 4)], 3), ([(-5, 1), (9, 20)], 2), ([(0, 10), (3, 4)], 10), ([(6, 7), (2, 3)], 2)],
)
def test_overlaps_are_counted_once(intervals, expected):
    assert profiler._covered(intervals, 0, 10) == expected


# The command; at its end it prints how often a compiled program was looked for and found.
COUNTING = """
import atexit
import collections
import json
import runpy

import jax

counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.rpartition("/")[-1]]))
atexit.register(lambda: print(json.dumps(counts)))
runpy.run_module("starjax.main", run_name="__main__")
"""


@pytest.mark.weekly
def test_a_second_run_uses_the_programs_that_the_first_compiled(small, tmp_path):
    command = [sys.executable, "-c", COUNTING, "--config=deep_sets", "--config.resume=False"]
    command += [f"--config.output_base={tmp_path}", f"--config.data.dataset={small}"]
    command += ["--config.train.max_epochs=2", "--config.train.batch_size=32"]
    found = []
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
    for _ in range(2):
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=elsewhere)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0]["cache_misses"] > 0
    assert "cache_misses" not in found[1]
    assert found[1]["cache_hits"] > 10
