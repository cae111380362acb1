"""Augmentation: random rotations and reflections of training clusters under which their physics is invariant.

The Galactic potential of the simulations is symmetric about its axis, z, and about its plane. A cluster that
is rotated about z, or mirrored in z, is therefore another possible simulation.

With Cartesian features the rotation also removes a feature that real clusters lack. Simulations that start at
the same point of their orbit have tidal tails whose direction depends on time alone, and a model could read
the age off it.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from starjax import quantities
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.errors import ConfigError


def random_rotation(feature_keys: Sequence[str], scalers: ScalerBundle) -> Callable:
    """Return a function that transforms the scaled features of a cluster at random, all of its stars alike.

    It mirrors the cluster in the Galactic plane with probability 1/2, and rotates it about the Galactic axis
    by a uniform angle. It does not rotate if one of two components is missing, or if features are those of an
    observer at a fixed position. A `quantile` scaler maps all values beyond those that it was fitted to to
    the same one; for them the result is approximate.

    Args:
      feature_keys: names of the F features.
      scalers: their scalers; the rotation applies to physical values.

    Returns:
      `(key, features (F, K)) -> features (F, K)`.

    Raises:
      ConfigError: a feature is unknown, so that its rotation is, too; or a feature that changes sign has a
        logarithmic scaler.
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
    has_all_components = all(key in column for pair in pairs for key in pair)
    can_rotate = has_all_components and not any(one.frame == "observer" for one in known.values())

    def rotate(key, features):
        angle_key, mirror_key = jax.random.split(key)
        angle = jax.random.uniform(angle_key, maxval=2 * jnp.pi)
        sign = jnp.where(jax.random.bernoulli(mirror_key), 1.0, -1.0)
        physical = {name: scalers.of(name).inverse(features[i]) for name, i in column.items()}
        rotated = {name: sign * physical[name] for name in mirrored}
        # As a matrix product: XLA would fuse the cosine into elementwise operations, and compute it for each
        # star.
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
            f"starjax does not know how to rotate {', '.join(unknown)}"
            if unknown
            else f"{', '.join(logarithmic)} can change sign, which a logarithmic scaler does not allow"
        )
        raise ConfigError(f"config.data.random_rotations=True: {reason}; set it to False")
