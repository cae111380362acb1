"""A finished run as one pure function of arrays that jax can trace: from features to calibrated posteriors.

It runs the code of `Predictor.posterior` on jax arrays: in float32, where that uses float64 after the model.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from starjax.evaluation import out_of_distribution
from starjax.evaluation.evaluator import SEED
from starjax.evaluation.posterior import PREDICTION_COLUMNS, MemberOutputs, summarize
from starjax.inference.predictor import NUM_DRAWS, Predictor
from starjax.models.ensemble import map_members
from starjax.runs import run_config
from starjax.sampling import sampler


def posterior_function(run: Predictor) -> Callable:
    """Return the function `(features, mask) -> predictions` of a run.

    Features are a dict of float32 (B, N) in physical units, one for each of `run.feature_keys`; `mask` is
    bool (B, N), True for stars. Values at padded positions do not matter. Predictions are a dict of float32
    (B,), named like the columns of a prediction table: the median of each target, the bounds of its
    calibrated intervals and its spreads, and the out-of-distribution score `novelty`. A cluster without
    stars, or with a star whose features are not finite, has an infinite score, and its other values are
    meaningless.
    """
    config = dataclasses.replace(
        run_config.sampler(run.config, run.feature_scalers, run.feature_keys),
        num_sample_per_snapshot=NUM_DRAWS,
    ).without_drop()
    head = run_config.head(run.config)

    def posterior(features: dict, mask_BxN) -> dict:
        physical_BxNxF = jnp.stack([features[key] for key in run.feature_keys], axis=-1)
        scaled_BxNxF = run.feature_scalers.transform(physical_BxNxF, run.feature_keys)
        # Not multiplied by the mask: padded positions may be NaN.
        stars_BxNxF = jnp.where(mask_BxN[..., None], scaled_BxNxF, 0).astype(jnp.float32)
        # Samples of a cluster that fits into one sample would all hold the same stars: one draw is enough.
        is_drawn = mask_BxN.sum(axis=1).max(initial=0) > config.num_star_per_sample
        output_ExBxSxO = jax.lax.cond(
            is_drawn,
            functools.partial(_outputs, run, config, NUM_DRAWS),
            functools.partial(_outputs, run, config, 1),
            stars_BxNxF,
            mask_BxN,
        )
        outputs = MemberOutputs(output_ExBxSxO, head)
        predictive = outputs.pool(run.calibrated.sigma)
        values: dict[str, Any] = {
            **summarize(outputs, predictive, run.calibrated, run.target_keys, run.target_scalers)
        }
        # In float32 the mean of equal values may differ from them.
        values["spread_draws"] = jnp.where(is_drawn, values["spread_draws"], 0)
        predictions = {
            f"{key}{ending}": values[column][:, t]
            for t, key in enumerate(run.target_keys)
            for ending, column in PREDICTION_COLUMNS.items()
        }
        return predictions | {"novelty": _novelty(run, stars_BxNxF, mask_BxN)}

    return posterior


def _outputs(run: Predictor, config: sampler.SamplerConfig, num_draw: int, stars_BxNxF, mask_BxN):
    """Return the outputs (E, B, NUM_DRAWS, O) of the members; a single draw is repeated."""
    model = run_config.model(run.config)
    key = sampler.purpose_key(jax.random.key_data(jax.random.key(SEED)), "predict")

    def of_cluster(stars_NxF, mask_N):
        # The sampler expects the stars of a snapshot in adjacent rows. Their order is kept, so that it draws
        # the same ones as `Predictor` does.
        adjacent_NxF = stars_NxF[jnp.argsort(~mask_N, stable=True)]
        ptr = jnp.stack([0, mask_N.sum(dtype=jnp.int32)])
        stars = sampler.Stars(adjacent_NxF, ptr, jnp.zeros((1, 1)))
        features_SxKxF, mask_SxK, *_ = sampler.draw_batch(stars, key, 0, jnp.arange(num_draw), config)
        output_ExSxO = map_members(lambda p: model.apply(p, features_SxKxF, mask_SxK), run.params)
        shape = (len(output_ExSxO), NUM_DRAWS, output_ExSxO.shape[-1])
        return jnp.broadcast_to(output_ExSxO, shape)

    return jax.vmap(of_cluster, out_axes=1)(stars_BxNxF, mask_BxN)


def _novelty(run: Predictor, stars_BxNxF, mask_BxN):
    """Return the out-of-distribution score (B,) of clusters."""
    describe = functools.partial(
        out_of_distribution.describe,
        feature_keys=run.feature_keys,
        feature_clip=run.config.data.feature_clip,
    )
    summary_BxS = jax.vmap(lambda stars_NxF, mask_N: describe(stars_NxF, mask_N=mask_N))(
        stars_BxNxF, mask_BxN
    )
    # By default GPUs and TPUs multiply matrices with fewer digits.
    with jax.default_matmul_precision("float32"):
        novelty_B = run.reference.novelty(summary_BxS)
    is_known_B = mask_BxN.any(axis=1) & jnp.isfinite(stars_BxNxF).all(axis=(1, 2))
    return jnp.where(is_known_B, novelty_B, jnp.inf)
