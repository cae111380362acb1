"""Masked attention forward and backward: time and temporary memory, ours and the alternatives.

    python -m benchmarks.attention --out=attention.json

`whole` computes all weights of the batch at once; `library` is jax.nn.dot_product_attention, XLA's on a CPU or for
tiny heads, on a GPU also cuDNN's in bfloat16 with heads padded to 8.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from starjax import distributed
from starjax.models.attention import attention

# Batch, heads, size of a head, stars: about as many weights in each.
SHAPES = [
    (256, 2, 3, 128),
    (256, 8, 1, 128),
    (64, 8, 8, 128),
    (16, 2, 3, 512),
    (1, 2, 3, 2048),
    (1, 2, 3, 4096),
]
# Alternatives whose weights would take more than this are not tried.
MOST_BYTES = 2**32


def whole(q, k, v, mask):
    logits = jnp.einsum("bhdq,bhdk->bhqk", q, k) * q.shape[2] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, -1e30), axis=-1)
    return jnp.einsum("bhqk,bhdk->bhdq", weights, v)


def library(q, k, v, mask, implementation=None, dtype=jnp.float32, least_dim=1):
    """Ours has the stars last; the library's (batch, stars, heads, head)."""
    dim = q.shape[2]
    fill = ((0, 0), (0, 0), (0, 0), (0, max(least_dim - dim, 0)))
    q, k, v = (jnp.pad(x.transpose(0, 3, 1, 2).astype(dtype), fill) for x in (q, k, v))
    bias = jnp.where(mask[:, None, None], 0, -1e30).astype(dtype)
    bias = jnp.broadcast_to(bias, (*bias.shape[:2], q.shape[1], bias.shape[3]))
    attended = jax.nn.dot_product_attention(q, k, v, bias, scale=dim**-0.5, implementation=implementation)
    return attended[..., :dim].transpose(0, 2, 3, 1).astype(jnp.float32)


def contenders() -> dict:
    found = {
        "ours": attention,
        "whole": whole,
        "library (XLA)": functools.partial(library, implementation="xla"),
    }
    if jax.default_backend() == "gpu":
        cudnn = functools.partial(library, implementation="cudnn", dtype=jnp.bfloat16, least_dim=8)
        found["library (cuDNN, bfloat16, heads of 8)"] = cudnn
    return found


def measure(name, function, shape) -> dict:
    num_batch, num_head, dim, num_star = shape
    rng = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(rng.normal(size=(num_batch, num_head, dim, num_star)), jnp.float32) for _ in range(3)
    )
    mask = jnp.asarray(np.arange(num_star) < rng.integers(10, num_star + 1, num_batch)[:, None])

    def loss(q, k, v):
        return (function(q, k, v, mask) ** 2).sum()

    num_weight = num_batch * num_head * num_star**2
    row = {"stars": num_star, "heads": num_head, "size_of_a_head": dim, "batch": num_batch, "attention": name}
    if function is not attention and 4 * num_weight > MOST_BYTES:
        return row | {"note": "not tried"}
    options = distributed.CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), compiler_options=options).lower(q, k, v).compile()
    seconds = report.median_seconds(lambda: compiled(q, k, v))
    return row | {
        "ms": 1e3 * seconds,
        "ns_a_weight": 1e9 * seconds / num_weight,
        # Seven products of two operations for each weight and dimension: two forward, five backward.
        "GFLOP_per_s": 2 * 7 * dim * num_weight / seconds / 1e9,
        "temporary_MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--scale", type=int, help="batches so many times larger [CPU: 1, else 64]")
    options = parser.parse_args()
    scale = options.scale or (1 if jax.default_backend() == "cpu" else 64)
    rows = [
        measure(name, function, (scale * shape[0], *shape[1:]))
        for shape in SHAPES
        for name, function in contenders().items()
    ]
    report.show("attention, forward and backward, on one device", rows, options.out)


if __name__ == "__main__":
    main()
