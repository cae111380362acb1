"""Centre samples on their median star, as observed member catalogues are.

The coordinates of the simulations have an origin that the cluster drifts away from: in the packaged sample by
0.1 pc at birth and by 5 pc after 200 Myr. A model that sees this offset can read the age off it, which it
cannot for an observed cluster.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.errors import ConfigError
from starjax.ops import sorting

# Scaler methods under which a shift of physical values is a shift of scaled values.
LINEAR = ("identity", "standard", "minmax", "robust")


def centred_columns(feature_keys: Sequence[str]) -> tuple[int, ...]:
    """Return the column numbers of the features that are measured from the centre of the cluster."""
    return tuple(i for i, key in enumerate(feature_keys) if quantities.get(key).is_centred)


def centred_zeros(feature_keys: Sequence[str], scalers: ScalerBundle) -> tuple[float, ...]:
    """Return the scaled value of zero for each feature that is measured from the centre of the cluster.

    Raises:
      ConfigError: a scaler is not linear, so that a shift of physical values is not a shift of scaled values.
    """
    keys = [feature_keys[i] for i in centred_columns(feature_keys)]
    nonlinear = [key for key in keys if scalers.of(key).method not in LINEAR]
    if nonlinear:
        raise ConfigError(
            f"config.data.centred=True: {', '.join(nonlinear)} should have one of the scalers "
            f"{', '.join(LINEAR)}; set it to False, or build the data set with another scaler"
        )
    return tuple(float(scalers.of(key).transform(np.zeros(()))) for key in keys)


def sample_median(values_KxF, mask_K):
    """Return the median (F,) of each feature over the stars of a sample; zeros if it has none."""
    num = mask_K.sum()
    ascending_KxF = sorting.sort(jnp.where(mask_K[:, None], values_KxF, jnp.inf))
    middle = ascending_KxF[(num - 1) // 2] / 2 + ascending_KxF[num // 2] / 2
    return jnp.where(num > 0, middle, 0)
