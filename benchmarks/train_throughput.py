"""Training throughput, sampler and optimizer included, and the time to the first step.

    python -m benchmarks.train_throughput --out=throughput.json

Runs of up to 20 steps on the packaged sample, batch 512, 128 stars a sample; the median run is given.
"""

import argparse
import json
import time

import jax
import numpy as np

from configs import common
from starjax import distributed, train
from starjax.data import dataset, sampler

# Model, and hyperparameters beside the defaults.
CASES = {
    "summary statistics (8, 4)": ("summary_stats", {}),
    "Deep Sets (8, 4)/(8, 4)": ("deep_sets", {}),
    "Set Transformer (6, 2 heads, 1 SAB)": ("set_transformer", {}),
    "Set Transformer (8, 8 heads, 4 SABs)": (
        "set_transformer",
        {"hidden_dim": 8, "num_heads": 8, "num_sabs": 4, "output_hidden_dims": (4, 2), "dropout": 0.2},
    ),
}


def measure(model: str, hparams: dict, num_run: int, max_step: int) -> dict:
    """Compile time and samples/s of each of `num_run` runs of at most `max_step` steps."""
    config = common.get_config(model)
    config.model.update(hparams)
    data = dataset.load(config.data.dataset, config.data.feature_keys, config.data.target_keys)
    mesh = distributed.make_mesh()
    stars = distributed.replicate(sampler.place(data.shards["train"]), mesh)
    trainer = train.create(config, data, mesh)
    num_step = min(trainer.num_step, max_step)
    start = time.perf_counter()
    state, sums = jax.block_until_ready(trainer.train_steps(trainer.initial_state, stars, 0, 0, 1))
    first_step = time.perf_counter() - start
    rates = []
    for run in range(num_run):
        start = time.perf_counter()
        state, sums = jax.block_until_ready(trainer.train_steps(state, stars, run, 0, num_step))
        rates.append(float(sums["num_sample"]) / (time.perf_counter() - start))
    return {"compile_and_first_step_s": first_step, "samples_per_s": rates}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num_run", type=int, default=5)
    parser.add_argument("--max_step", type=int, default=20, help="steps of a run at most")
    parser.add_argument("--out", help="JSON file for all figures")
    arguments = parser.parse_args()
    device = jax.devices()[0]
    found = {
        "jax": jax.__version__,
        "device": device.device_kind,
        "num_device": jax.device_count(),
        "cases": {},
    }
    print(f"jax {jax.__version__} on {jax.device_count()} {device.device_kind} device(s)")
    print(f"{'model':<38}{'samples/s':>12}{'min':>12}{'max':>12}{'compile [s]':>13}")
    for name, (model, hparams) in CASES.items():
        case = measure(model, hparams, arguments.num_run, arguments.max_step)
        rates = np.array(case["samples_per_s"])
        print(
            f"{name:<38}{np.median(rates):>12,.0f}{rates.min():>12,.0f}{rates.max():>12,.0f}"
            f"{case['compile_and_first_step_s']:>13.1f}"
        )
        found["cases"][name] = case
    if arguments.out:
        with open(arguments.out, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
