"""Where a cluster's centre is, which is all that an observer knows of its place.

The simulations' coordinates have an origin of their own, that the cluster moves away from as it orbits and recoils: 0.1 pc
in the packaged sample at birth, 5 pc beyond 200 Myr. A model that sees it can read an age off it that no observed
cluster shows. Observed member lists are centred on their median, and samples of simulations can be so too.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from starjax import quantities
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.errors import ConfigError
from starjax.ops import sorting

# Methods whose scaled values differ by as much wherever physical ones do.
LINEAR = ("identity", "standard", "minmax", "robust")


def centred_columns(feature_keys: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the features that are measured from the centre."""
    return tuple(i for i, key in enumerate(feature_keys) if quantities.get(key).is_centred)


def centred_zeros(feature_keys: Sequence[str], scalers: ScalerBundle) -> tuple[float, ...]:
    """What zero is in scaled units, of each feature that is measured from the centre.

    Raises:
      ConfigError: a scaler is not linear, so that no shift of scaled values is one of physical values.
    """
    keys = [feature_keys[i] for i in centred_columns(feature_keys)]
    bent = [key for key in keys if scalers.of(key).method not in LINEAR]
    if bent:
        raise ConfigError(
            f"config.data.centred=True: {', '.join(bent)} should be scaled by one of {', '.join(LINEAR)}; set it to "
            "False, or build the data set with another scaler"
        )
    return tuple(float(scalers.of(key).transform(np.zeros(()))) for key in keys)


def sample_median(values_KxF, mask_K):
    """The median (F,) of each feature over the stars of one sample; zeros of a sample without stars."""
    num = mask_K.sum()
    ascending_KxF = sorting.sort(jnp.where(mask_K[:, None], values_KxF, jnp.inf))
    middle = ascending_KxF[(num - 1) // 2] / 2 + ascending_KxF[num // 2] / 2
    return jnp.where(num > 0, middle, 0)
