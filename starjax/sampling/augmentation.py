"""Random turns of a training cluster that leave its physics as it is.

The Galaxy that the simulations move in is symmetric about its axis, z, and about its plane. A cluster
turned about z, or mirrored in z, is therefore what another simulation could have given.

With Cartesian features it also takes away what no real cluster shows: simulations that start at the
same point of their orbit have tidal tails whose direction turns with time, and a model could read their
age off it like a clock.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from starjax import quantities
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.errors import ConfigError


def _check(feature_keys: Sequence[str], scalers: ScalerBundle) -> None:
    known = [quantities.get(key) for key in feature_keys]
    unknown = [one.key for one in known if one.key not in quantities.QUANTITIES]
    logarithmic = [
        one.key
        for one in known
        if (one.vector or one.is_mirrored) and scalers.of(one.key).method.startswith("log")
    ]
    if unknown or logarithmic:
        reason = (
            f"what it makes of {', '.join(unknown)} is not known"
            if unknown
            else f"{', '.join(logarithmic)} changes sign, which a log scaler cannot take"
        )
        raise ConfigError(f"config.data.random_rotations=True: {reason}; set it to False")


def random_rotation(feature_keys: Sequence[str], scalers: ScalerBundle) -> Callable:
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
    known = {key: quantities.get(key) for key in feature_keys}
    vectors = {one.vector for one in known.values() if one.vector}
    pairs = [
        tuple(key for key, one in quantities.QUANTITIES.items() if one.vector == vector)
        for vector in sorted(vectors)
    ]
    mirrored = [key for key, one in known.items() if one.is_mirrored]
    is_whole = all(key in column for pair in pairs for key in pair)
    can_rotate = is_whole and not any(one.frame == "observer" for one in known.values())

    def rotate(key, features):
        angle_key, mirror_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        sign = jnp.where(jax.random.bernoulli(mirror_key), 1.0, -1.0)
        physical = {name: scalers.of(name).inverse(features[i]) for name, i in column.items()}
        rotated = {name: sign * physical[name] for name in mirrored}
        # A product, into which XLA does not fuse the cosine: it would be computed for every star.
        rotation = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
        for pair in pairs if can_rotate else ():
            components = jnp.stack([physical[name] for name in pair])
            rotated |= zip(pair, jnp.matmul(rotation, components, precision="highest"), strict=True)
        columns = [
            scalers.of(name).transform(rotated[name]) if name in rotated else features[i]
            for name, i in column.items()
        ]
        return jnp.stack(columns)

    return rotate
