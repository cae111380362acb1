"""Measure the sampler on the device: samples per second, and the use of the memory bandwidth.

python -m benchmarks.sampler --out=sampler.json
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import cases, report
from starjax.datasets.load import load_dataset
from starjax.runs import run_config
from starjax.runtime import devices
from starjax.sampling import augmentation, sampler

BATCH_SIZE = 4096
# Numbers that each device copies to measure its bandwidth.
COPY_SIZE = 2**26


def copy_bytes_per_s() -> float:
    """Return the bytes per second that all devices together read and write when each copies 256 MiB."""
    mesh = devices.make_mesh()
    x = devices.place_shares(
        {i: np.zeros(COPY_SIZE, np.float32) for i in devices.local_positions(mesh)}, mesh
    )
    num_copy = 10
    copies = jax.jit(lambda x: jax.lax.fori_loop(0, num_copy, lambda i, x: x + 1, x))
    return num_copy * 2 * x.nbytes / report.median_seconds(lambda: copies(x))


def measure(num_star: int, is_rotated: bool, bytes_per_s: float) -> dict:
    """Return a row of the table."""
    config = cases.config("Deep Sets (8, 4)/(8, 4)")
    config.data.num_star_per_sample = num_star
    data = load_dataset(config.data.dataset, config.data.feature_keys, config.data.target_keys)
    mesh = devices.make_mesh()
    stars = devices.replicate(sampler.to_stars(data.shards["train"]), mesh)
    rotate = (
        augmentation.random_rotation(config.data.feature_keys, data.feature_scalers) if is_rotated else None
    )
    sample_config = run_config.sampler(config, data.feature_scalers)
    key = jax.random.key(0)

    def draw(stars):
        (row_B,), _ = devices.local_rows(BATCH_SIZE)
        num_sample = sampler.num_sample(stars, sample_config)
        pair_B = sampler.shuffled_pair(key, 0, row_B, num_sample)
        features, mask, _, _ = sampler.draw_batch(stars, key, 0, pair_B, sample_config, rotate)
        return jnp.where(mask[..., None], features, 0)[None, None]

    drawn = devices.on_mesh(draw, mesh, arguments=("same",), result="rows")
    seconds = report.median_seconds(lambda: drawn(stars))
    # Each star is read and written once; its position in the order is computed in registers.
    num_byte = 2 * 4 * num_star * len(config.data.feature_keys)
    return {
        "stars_a_sample": num_star,
        "rotated": "yes" if is_rotated else "no",
        "samples_per_s": BATCH_SIZE / seconds,
        "stars_per_s": BATCH_SIZE * num_star / seconds,
        "share_of_memory_bandwidth": BATCH_SIZE * num_byte / seconds / bytes_per_s,
    }


def main() -> None:
    options = report.parser(__doc__).parse_args()
    devices.use_cores(BATCH_SIZE)
    bytes_per_s = copy_bytes_per_s()
    rows = [measure(k, is_rotated, bytes_per_s) for k in (128, 512) for is_rotated in (False, True)]
    report.show(f"sampler; a copy moves {bytes_per_s / 1e9:.0f} GB/s", rows, options.out)


if __name__ == "__main__":
    main()
