"""Measure time and temporary memory of masked attention, forward and backward, and of alternatives.

    python -m benchmarks.attention --out=attention.json

`ours` is starjax.models.attention. `whole` computes all weights of the batch at once. `library` is
jax.nn.dot_product_attention as XLA implements it, and on a GPU also as cuDNN does, in bfloat16 with heads
padded to 8.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from starjax.models.attention import attention
from starjax.runtime import devices

# Batch, heads, size of a head, stars; the number of weights is similar.
SHAPES = [
    (256, 2, 3, 128),
    (256, 8, 1, 128),
    (64, 8, 8, 128),
    (16, 2, 3, 512),
    (1, 2, 3, 2048),
    (1, 2, 3, 4096),
]
# Alternatives whose weights would take more memory are not measured.
MOST_BYTES = 2**32


def whole(q, k, v, mask):
    """Return attention with all weights at once."""
    logits = jnp.einsum("bhdq,bhdk->bhqk", q, k) * q.shape[2] ** -0.5
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], logits, -1e30), axis=-1)
    return jnp.einsum("bhqk,bhdk->bhdq", weights, v)


def library(q, k, v, mask, implementation=None, dtype=jnp.float32, least_dim=1):
    """Return the attention of jax.nn, whose axes are (batch, stars, heads, head), with our axes."""
    dim = q.shape[2]
    fill = ((0, 0), (0, 0), (0, 0), (0, max(least_dim - dim, 0)))
    q, k, v = (jnp.pad(x.transpose(0, 3, 1, 2).astype(dtype), fill) for x in (q, k, v))
    # The stars are the first positions. Given as their number, the mask takes no memory in cuDNN.
    lengths = {"query_seq_lengths": jnp.full(len(q), q.shape[1]), "key_value_seq_lengths": mask.sum(axis=1)}
    attended = jax.nn.dot_product_attention(
        q, k, v, scale=dim**-0.5, implementation=implementation, **lengths
    )
    return attended[..., :dim].transpose(0, 2, 3, 1).astype(jnp.float32)


def contenders() -> dict:
    """Return the implementations by name."""
    found = {
        "ours": attention,
        "whole": whole,
        "library (XLA)": functools.partial(library, implementation="xla"),
    }
    if jax.default_backend() == "gpu":
        cudnn = functools.partial(library, implementation="cudnn", dtype=jnp.bfloat16, least_dim=8)
        found["library (cuDNN, bfloat16, heads of 8)"] = cudnn
    return found


def exponentials_per_s() -> float:
    """Return the exponentials per second that a device computes if nothing else limits it."""
    num_each = 32
    x = jnp.linspace(-1, 0, 2**16 if jax.default_backend() == "cpu" else 2**26)
    options = devices.CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
    sums = jax.jit(lambda x: sum(jnp.exp(x * c) for c in range(num_each)), compiler_options=options)
    return num_each * x.size / report.median_seconds(lambda: sums(x), num_run=20)


def flops() -> float:
    """Return the floating-point operations per second of a product of matrices."""
    x = jnp.ones((2048, 2048))
    product = jax.jit(lambda x: jnp.matmul(x, x, precision="highest"))
    return 2 * len(x) ** 3 / report.median_seconds(lambda: product(x))


def measure(name, function, shape, exp_per_s: float, flop_per_s: float) -> dict:
    """Return a row of the table."""
    num_batch, num_head, dim, num_star = shape
    rng = np.random.default_rng(0)
    q, k, v = (
        jnp.asarray(rng.normal(size=(num_batch, num_head, dim, num_star)), jnp.float32) for _ in range(3)
    )
    mask = jnp.asarray(np.arange(num_star) < rng.integers(10, num_star + 1, num_batch)[:, None])

    def loss(q, k, v):
        return (function(q, k, v, mask) ** 2).sum()

    num_weight = num_batch * num_head * num_star**2
    # Each weight takes two exponentials, one forward and one backward, and for each dimension seven products
    # of two operations: two forward and five backward.
    num_exp, num_flop = 2 * num_weight, 2 * 7 * dim * num_weight
    row = {"stars": num_star, "heads": num_head, "size_of_a_head": dim, "batch": num_batch, "attention": name}
    if function is not attention and 4 * num_weight > MOST_BYTES:
        return row | {"note": "too large"}
    options = devices.CPU_COMPILER_OPTIONS if jax.default_backend() == "cpu" else None
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2)), compiler_options=options).lower(q, k, v).compile()
    seconds = report.median_seconds(lambda: compiled(q, k, v))
    return row | {
        "ms": 1e3 * seconds,
        "ns_a_weight": 1e9 * seconds / num_weight,
        "GFLOP_per_s": num_flop / seconds / 1e9,
        "share_of_limit": max(num_exp / exp_per_s, num_flop / flop_per_s) / seconds,
        "temporary_MiB": compiled.memory_analysis().temp_size_in_bytes / 2**20,
    }


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--scale", type=int, help="factor on the batches [CPU: 1, else 64]")
    options = parser.parse_args()
    scale = options.scale or (1 if jax.default_backend() == "cpu" else 64)
    limits = exponentials_per_s(), flops()
    rows = [
        measure(name, function, (scale * shape[0], *shape[1:]), *limits)
        for shape in SHAPES
        for name, function in contenders().items()
    ]
    billion_exp, gigaflops = (limit / 1e9 for limit in limits)
    title = (
        f"attention, forward and backward, on one device; limits: {billion_exp:.1f} billion exponentials/s, "
        f"{gigaflops:.0f} GFLOP/s"
    )
    report.show(title, rows, options.out)


if __name__ == "__main__":
    main()
