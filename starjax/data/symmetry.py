"""Random turns of a training cluster that leave its physics as it is.

The Galaxy that the simulations move in is symmetric about its axis, z, and about its plane. A cluster
turned about z, or mirrored in z, is therefore what another simulation could have given.

With Cartesian features it also takes away what no real cluster shows: simulations that start at the
same point of their orbit have tidal tails whose direction turns with time, and a model could read their
age off it like a clock.
"""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from starjax.data.bundle import ScalerBundle
from starjax.errors import ConfigError

# Components in the Galaxy's plane, which turn together, and those across it, which change sign.
IN_PLANE = (("x", "y"), ("vx", "vy"))
ACROSS_PLANE = ("z", "vz", "lat_deg", "pm_lat_mas_yr")
# Seen from a fixed place along a line parallel to the plane: mirrored with the cluster, but not turned with it.
FROM_OBSERVER = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr", "dist_pc", "rv_kms")
# The same however the cluster is turned.
INVARIANT = ("mass", "dist_dc_pc", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol")


def _check(feature_keys: Sequence[str], scalers: ScalerBundle) -> None:
    moved = {*itertools.chain(*IN_PLANE), *ACROSS_PLANE}
    unknown = [key for key in feature_keys if key not in {*moved, *FROM_OBSERVER, *INVARIANT}]
    logarithmic = [key for key in feature_keys if key in moved and scalers.of(key).method.startswith("log")]
    if unknown or logarithmic:
        reason = (
            f"what it makes of {', '.join(unknown)} is not known"
            if unknown
            else f"{', '.join(logarithmic)} changes sign, which a log scaler cannot take"
        )
        raise ConfigError(f"config.data.random_turns=True: {reason}; set it to False")


def random_turn(feature_keys: Sequence[str], scalers: ScalerBundle) -> Callable:
    """A function that turns scaled features (F, K) of one cluster at random, all K stars alike.

    It mirrors in the Galaxy's plane with probability 1/2, and turns about the Galaxy's axis by an angle
    uniform on the circle. It only mirrors where one of a pair of components is missing, or where some
    features hold as seen from a fixed place. A `quantile` scaler cannot tell values beyond those that it
    was fitted to; there a turn is as inexact as the scaler.

    Args:
      feature_keys: names of the F features.
      scalers: their scalers, since a turn is one of physical values.

    Returns:
      `(key, features (F, K)) -> features (F, K)`.

    Raises:
      ConfigError: it is not known what a turn makes of a feature, or a scaler takes no negative values.
    """
    _check(feature_keys, scalers)
    column = {key: i for i, key in enumerate(feature_keys)}
    pairs = [pair for pair in IN_PLANE if any(key in column for key in pair)]
    is_whole = all(key in column for pair in pairs for key in pair)
    can_turn = is_whole and not any(key in column for key in FROM_OBSERVER)

    def turn(key, features):
        angle_key, mirror_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        sign = jnp.where(jax.random.bernoulli(mirror_key), 1.0, -1.0)
        physical = {name: scalers.of(name).inverse(features[i]) for name, i in column.items()}
        turned = {name: sign * physical[name] for name in ACROSS_PLANE if name in column}
        # A product, into which XLA does not fuse the cosine: it would be computed for every star.
        rotation = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        for pair in pairs if can_turn else ():
            components = jnp.stack([physical[name] for name in pair])
            turned |= zip(pair, jnp.matmul(rotation, components, precision="highest"), strict=True)
        columns = [
            scalers.of(name).transform(turned[name]) if name in turned else features[i]
            for name, i in column.items()
        ]
        return jnp.stack(columns)

    return turn
