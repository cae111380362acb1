"""A finished run as one pure function of arrays: physical features in, calibrated answers out, all of it traceable.

It says what `Trained.answer` says, in float32: that computes in float64 what follows the model.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from starjax.evaluation import out_of_distribution
from starjax.evaluation.evaluator import SEED
from starjax.evaluation.posterior import PERCENTILES
from starjax.inference.predictor import NUM_DRAWS, Predictor
from starjax.models.ensemble import map_members
from starjax.ops import sorting
from starjax.runs import run_config
from starjax.sampling import centering, sampler

# Halvings of a bracket of quantiles: 2^-32 of its width is below the rounding of float32.
_NUM_HALVING = 32


def posterior_function(run: Predictor) -> Callable:
    """`(features, mask) -> answers` of a run.

    Features are a dict of float32 (B, N), one for each of `run.feature_keys`, in physical units (see
    `data.columns`); `mask` is bool (B, N), True where a star is. Answers are a dict of float32 (B,), named as the columns of a
    prediction: of each target its value, the bounds of its calibrated intervals and spreads, and `novelty`. What an
    empty place holds does not matter; of a cluster without any star, or with one whose features are not finite, the answer means
    nothing, and its novelty is infinite.
    """
    config = dataclasses.replace(
        run_config.sampler(run.config, run.feature_scalers, run.feature_keys),
        num_sample_per_snapshot=NUM_DRAWS,
    ).without_drop()

    def answer(features: dict, mask_BxN) -> dict:
        physical_BxNxF = jnp.stack([features[key] for key in run.feature_keys], axis=-1)
        scaled_BxNxF = run.feature_scalers.transform(physical_BxNxF, run.feature_keys)
        stars_BxNxF = jnp.where(mask_BxN[..., None], scaled_BxNxF, 0).astype(jnp.float32)
        output_BxExSxO = _outputs(run, config, stars_BxNxF, mask_BxN)
        of_targets = _of_targets(run, output_BxExSxO)
        return of_targets | {"novelty": jax.vmap(_novelty(run))(stars_BxNxF, mask_BxN)}

    return answer


def _outputs(run: Predictor, config: sampler.SamplerConfig, stars_BxNxF, mask_BxN):
    """What the members give for the samples of each cluster, (B, E, S, O)."""
    model = run_config.model(run.config)
    key = sampler.purpose_key(jax.random.key_data(jax.random.key(SEED)), "predict")
    num_sample = config.num_sample_per_snapshot

    def of_cluster(stars_NxF, mask_N, num_draw):
        # The sampler takes the stars of a snapshot to lie together.
        together_NxF = stars_NxF[jnp.argsort(~mask_N, stable=True)]
        ptr = jnp.stack([0, mask_N.sum(dtype=jnp.int32)])
        stars = sampler.Stars(together_NxF, ptr, jnp.zeros((1, 1)))
        features_SxKxF, mask_SxK, *_ = sampler.draw_batch(stars, key, 0, jnp.arange(num_draw), config)
        output_ExSxO = map_members(lambda p: model.apply(p, features_SxKxF, mask_SxK), run.params)
        shape = (len(output_ExSxO), num_sample, output_ExSxO.shape[-1])
        return jnp.broadcast_to(output_ExSxO, shape)

    def all_with(num_draw):
        return lambda *clusters: jax.vmap(lambda *one: of_cluster(*one, num_draw))(*clusters)

    # Where all stars of every cluster fit into one sample, each further one would hold them again.
    is_larger = mask_BxN.sum(axis=1).max(initial=0) > config.num_star_per_sample
    return jax.lax.cond(is_larger, all_with(num_sample), all_with(1), stars_BxNxF, mask_BxN)


def _of_targets(run: Predictor, output_BxExSxO) -> dict:
    """As `answers.table`."""
    head = run_config.head(run.config)
    num_member, num_sample = output_BxExSxO.shape[1:3]
    weight, mean, sigma = head.components(head.parameters(output_BxExSxO), np.float32(run.calibrated.sigma))

    def pooled(x_BxExSxC):
        return jax.vmap(jnp.ravel)(x_BxExSxC)

    def physical(scaled_BxT):
        return jnp.maximum(run.target_scalers.inverse(scaled_BxT, run.target_keys), 0)

    def bound(level, stretch_T):
        """The quantile of each target, stretched away from its median, (B, T)."""
        columns = []
        for t, stretch in enumerate(stretch_T):
            mixture = pooled(weight) / (num_member * num_sample), pooled(mean[..., t]), pooled(sigma[..., t])
            median = _quantile(*mixture, 0.5)
            columns.append(median + stretch * (_quantile(*mixture, level) - median))
        return jnp.stack(columns, axis=-1)

    found = {"": physical(bound(0.5, np.ones(len(run.target_keys))))}
    for names, stretch_T in zip(PERCENTILES, run.calibrated.stretch, strict=True):
        for name in names:
            found[f"_{name}"] = physical(bound(float(name.removeprefix("p")) / 100, stretch_T.tolist()))
    points_BxExSxT = run.target_scalers.inverse(head.mean(output_BxExSxO), run.target_keys)
    found["_spread_members"] = _spread(points_BxExSxT.mean(axis=2))
    found["_spread_draws"] = _spread(points_BxExSxT.mean(axis=1))
    return {
        f"{key}{what}": values_BxT[:, t]
        for t, key in enumerate(run.target_keys)
        for what, values_BxT in found.items()
    }


def _spread(values_BxMxT):
    """Standard deviation over the second axis; 0 where there is one, or where all are the same."""
    if values_BxMxT.shape[1] == 1:
        return jnp.zeros_like(values_BxMxT[:, 0])
    return (values_BxMxT - values_BxMxT[:, :1]).std(axis=1, ddof=1)


def _quantile(weight_BxC, mean_BxC, sigma_BxC, level: float):
    """As `scoring.Mixture.quantile`, (B,)."""
    ends_BxC = mean_BxC + sigma_BxC * jax.scipy.special.ndtri(level)

    def halve(_, bracket):
        low_B, high_B = bracket
        middle_B = low_B + (high_B - low_B) / 2
        below_BxC = jax.scipy.special.ndtr((middle_B[:, None] - mean_BxC) / sigma_BxC)
        is_below_B = (weight_BxC * below_BxC).sum(axis=1) < level
        return jnp.where(is_below_B, middle_B, low_B), jnp.where(is_below_B, high_B, middle_B)

    bracket = ends_BxC.min(axis=1), ends_BxC.max(axis=1)
    low_B, high_B = jax.lax.fori_loop(0, _NUM_HALVING, halve, bracket)
    return low_B + (high_B - low_B) / 2


def _novelty(run: Predictor) -> Callable:
    """`(stars_NxF, mask_N) -> novelty` of a cluster, as `novelty.describe` and `Reference.novelty`."""
    reference, clip = run.reference, run.config.data.feature_clip
    centred = np.array(centering.centred_columns(run.feature_keys), int)
    num_neighbour = min(out_of_distribution.NUM_NEIGHBOUR, len(reference.known))

    def of_cluster(stars_NxF, mask_N):
        num_1x1 = mask_N.sum()[None, None]
        ascending_Nx1xF = jnp.sort(jnp.where(mask_N[:, None], stars_NxF, jnp.inf), axis=0)[:, None]
        median_F = sorting.quantile(ascending_Nx1xF, num_1x1, 0.5)[0]
        shift_F = jnp.zeros_like(median_F).at[centred].set(median_F[centred])
        clipped_Nx1xF = jnp.clip(ascending_Nx1xF - shift_F[None, None], -clip, clip)
        quantiles = [sorting.quantile(clipped_Nx1xF, num_1x1, q)[0] for q in out_of_distribution.QUANTILES]
        description_S = jnp.concatenate([jnp.log(num_1x1[0]), *quantiles])
        with jax.default_matmul_precision("float32"):
            whitened_S = (description_S - np.float32(reference.center)) @ np.float32(reference.whitening)
        distance = jnp.linalg.norm(np.float32(reference.known) - whitened_S[None], axis=1)
        nearest = jnp.sort(distance)[:num_neighbour].mean()
        is_known = (num_1x1[0, 0] > 0) & jnp.isfinite(stars_NxF).all()
        return jnp.where(is_known, nearest / reference.threshold, jnp.inf)

    return of_cluster
