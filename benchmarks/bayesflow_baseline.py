"""Measure the training throughput of the Set Transformer of BayesFlow, on the JAX backend of Keras.

    python -m benchmarks.bayesflow_baseline --case='Set Transformer (6, 2 heads, 1 SAB)'

benchmarks.train_step starts it in a process of its own if BayesFlow is installed (`pip install bayesflow`; no
extra contains it). Width, heads and blocks are those of the case. Two things are in its favour: the samples
are drawn in advance, from a normal distribution, and there is no mask, so that every position is a star.
"""

import argparse
import json
import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import bayesflow
import keras
import numpy as np

from benchmarks import cases


class Rates(keras.callbacks.Callback):
    """Record the samples per second of each epoch."""

    def __init__(self, num_sample: int):
        super().__init__()
        self.num_sample, self.rates = num_sample, []

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.rates.append(self.num_sample / (time.perf_counter() - self.start))


def measure(case: str, num_run: int, max_step: int, batch_size: int | None) -> dict:
    """Return the samples per second of `num_run` epochs of `max_step` steps, after a warm-up epoch."""
    config = cases.config(case, batch_size)
    model, optim = config.model, config.optim
    network = bayesflow.networks.SetTransformer(
        summary_dim=1,
        embed_dims=(model.hidden_dim,) * model.num_sabs,
        num_heads=(model.num_heads,) * model.num_sabs,
        num_seeds=model.num_seeds,
        dropout=model.dropout,
        expansion_factor=1.0,
    )
    trained = keras.Sequential([keras.Input((config.data.num_star_per_sample, 6)), network])
    trained.compile(
        keras.optimizers.AdamW(
            optim.learning_rate, weight_decay=optim.weight_decay, global_clipnorm=optim.clip_norm
        ),
        keras.losses.Huber(optim.huber_delta),
    )
    num_sample = max_step * config.train.batch_size
    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_sample, config.data.num_star_per_sample, 6), np.float32)
    y = rng.standard_normal((num_sample, 1), np.float32)
    rates = Rates(num_sample)
    trained.fit(x, y, batch_size=config.train.batch_size, epochs=num_run + 1, verbose=0, callbacks=[rates])
    return {
        "bayesflow": bayesflow.__version__,
        "num_params": trained.count_params(),
        "samples_per_s": rates.rates[1:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", required=True, choices=list(cases.CASES)[2:])
    parser.add_argument("--num_run", type=int, default=3)
    parser.add_argument("--max_step", type=int, default=20, help="steps of a run")
    parser.add_argument("--batch_size", type=int, help="other than the config's")
    options = parser.parse_args()
    print(json.dumps(measure(options.case, options.num_run, options.max_step, options.batch_size)))


if __name__ == "__main__":
    main()
