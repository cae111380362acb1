"""Measure the training throughput, with sampler and optimizer, beside that of PyTorch.

    python -m benchmarks.train_step --out=train_step.json

The table has medians of runs of many steps on the packaged sample, with 128 stars per sample. Ours, PyTorch
(`benchmarks.torch_baseline`) and BayesFlow (`benchmarks.bayesflow_baseline`), if they are installed, take
turns, so that changes of the speed of the machine affect all of them.
"""

import collections
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

import jax

from benchmarks import cases, report
from benchmarks import training as training_lib
from starjax.runtime import devices

# Shortest time of one of our runs: many steps of a fast device.
LEAST_SECONDS = 0.5
# Samples of a step on a CPU, and on other devices.
CPU_BATCH_SIZE, ACCELERATOR_BATCH_SIZE = 512, 16384


def rates_of(baseline: str, case: str, *options: str) -> list[float]:
    """Return the samples per second of some runs of a baseline, in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{baseline}", f"--case={case}", "--num_run=3", *options]
    # jax would otherwise allocate all memory of the GPU that this process has left.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])["samples_per_s"]


def has(package: str) -> bool:
    """Return whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def our_rates(training: training_lib.Training, num_step: int, num_run: int) -> list[float]:
    """Return the samples per second of some runs, after a warm-up run."""
    rates = []
    for run in range(num_run + 1):
        start, num_sample = time.perf_counter(), 0.0
        while (seconds := time.perf_counter() - start) < LEAST_SECONDS:
            num_sample += float(training.steps(num_step, epoch=run)["num_sample"].sum())
        rates.append(num_sample / seconds)
    return rates[1:]


def measure(case: str, options) -> dict:
    """Return a row of the table."""
    is_cpu = jax.default_backend() == "cpu"
    batch_size = options.batch_size or (CPU_BATCH_SIZE if is_cpu else ACCELERATOR_BATCH_SIZE)
    config = cases.config(case, batch_size)
    config.model.dtype = options.dtype
    training = training_lib.set_up(config)
    step = training.trainer
    ours, theirs = [], collections.defaultdict(list)
    batch = [f"--batch_size={batch_size}"]
    steps = [f"--max_step={options.torch_step}"]
    for _ in range(options.num_round):
        ours += our_rates(training, options.max_step, 5)
        for num_worker in options.num_worker if has("torch") else []:
            name = f"PyTorch_{num_worker}_workers"
            found = rates_of("torch_baseline", case, f"--num_worker={num_worker}", *steps, *batch)
            theirs[name] += found
        if options.num_worker and has("bayesflow") and config.model.name == "set_transformer":
            theirs["BayesFlow"] += rates_of("bayesflow_baseline", case, *steps, *batch)
    row = {
        "model": case,
        "batch": batch_size,
        "samples_per_s": statistics.median(ours),
        "least": min(ours),
        "most": max(ours),
        "micro_batch": step.micro_batch_size,
        "set_up_s": training.compile_seconds,
        "temporary_MiB": step.train_steps.memory_analysis().temp_size_in_bytes / 2**20,
    }
    row |= {name: statistics.median(rates) for name, rates in theirs.items()}
    torch = [row[name] for name in theirs if name.startswith("PyTorch")]
    if torch:
        row["ratio_to_the_faster_PyTorch"] = row["samples_per_s"] / max(torch)
    return row


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--case", nargs="+", default=list(cases.CASES), choices=cases.CASES)
    parser.add_argument("--num_round", type=int, default=3, help="rounds of ours and PyTorch")
    parser.add_argument("--max_step", type=int, default=38, help="steps of one of our runs, at most an epoch")
    parser.add_argument("--torch_step", type=int, default=12, help="steps of a run of PyTorch or BayesFlow")
    parser.add_argument(
        "--num_worker",
        type=int,
        nargs="*",
        default=[0, 2],
        help="numbers of PyTorch workers; none: only ours",
    )
    parser.add_argument("--batch_size", type=int, help="samples of a step [CPU: 512, else 16,384]")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    devices.use_cores(options.batch_size or CPU_BATCH_SIZE)
    rows = [measure(case, options) for case in options.case]
    report.show(f"training steps, {options.dtype}", rows, options.out)


if __name__ == "__main__":
    main()
