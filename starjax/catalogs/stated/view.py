"""Properties of a cluster that the user states."""

import dataclasses

import numpy as np

from starjax.catalogs.column_values import CatalogError
from starjax.gaia import parallax_zero_point
from starjax.gaia.dust_maps import DustMap

# The usual limit. The lists that `configs/gaia.py` trains on have no smaller probabilities.
MIN_PROBABILITY = 0.5
# Those that cannot be negative; a distance cannot be zero either.
_NOT_NEGATIVE = ("distance_error_pc", "extinction_v_mag", "extinction_v_error_mag")


@dataclasses.dataclass(frozen=True)
class View:
    """Properties of a cluster that the user states; None is not known, or estimated from the catalogue.

    Attributes:
      centre: (ra, dec) [deg, ICRS].
      distance_pc: distance of the cluster.
      radial_velocity_kms: radial velocity of the cluster.
      parallax_zero_point_mas: subtracted from all parallaxes; Gaia's is about -0.02 to -0.05. Or
        'lindegren2021': that of each star, see `parallax_zero_point`.
      extinction_v_mag: extinction A_V in front of the cluster.
      extinction_v_error_mag: standard error of the extinction.
      min_probability: stars with a smaller probability of membership are left out.
      clip: True to leave out non-members.
      distance_error_pc: standard error of a stated distance; None counts as 0.
      metallicity: [Fe/H], in dex.
      extinction_map: gives the extinction if none is stated, see `dust_maps.load_map`.

    Raises:
      CatalogError: a value is impossible.
      ZeroPointError: zero points of each star need a package that is not installed.
    """

    centre: tuple[float, float] | None = None
    distance_pc: float | None = None
    radial_velocity_kms: float | None = None
    parallax_zero_point_mas: float | str = 0.0
    extinction_v_mag: float | None = None
    extinction_v_error_mag: float | None = None
    min_probability: float = MIN_PROBABILITY
    clip: bool = True
    distance_error_pc: float | None = None
    metallicity: float | None = None
    extinction_map: DustMap | None = None

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, int | float | tuple) and not np.isfinite(value).all():
                raise CatalogError(f"{name}={value} should be finite")
            if name in _NOT_NEGATIVE and value is not None and value < 0:
                raise CatalogError(f"{name}={value} should not be negative")
        if self.distance_pc is not None and self.distance_pc <= 0:
            raise CatalogError(f"distance_pc={self.distance_pc} should be positive")
        if not 0 <= self.min_probability <= 1:
            raise CatalogError(f"min_probability={self.min_probability} should be between 0 and 1")
        if self.centre is not None and not -90 <= self.centre[1] <= 90:
            raise CatalogError(f"centre={self.centre} should be (ra, dec) in degrees")
        if self.has_zero_point_by_star:
            parallax_zero_point.check_installed()
        elif isinstance(self.parallax_zero_point_mas, str):
            raise CatalogError(
                f"parallax_zero_point_mas={self.parallax_zero_point_mas} should be a number, or "
                f"{parallax_zero_point.RECIPE}"
            )

    @property
    def has_zero_point_by_star(self) -> bool:
        """True if each star has a zero point of its parallax of its own."""
        return self.parallax_zero_point_mas == parallax_zero_point.RECIPE

    @property
    def stated_distance_error_pc(self) -> float:
        """The standard error of the stated distance [pc]; 0 if none is stated."""
        return 0.0 if self.distance_pc is None else self.distance_error_pc or 0.0

    @property
    def stated_parallax(self) -> tuple[float | None, float]:
        """The parallax of the stated distance and its standard error [mas]; None and 0 if none is stated."""
        if self.distance_pc is None:
            return None, 0.0
        return 1000 / self.distance_pc, 1000 * self.stated_distance_error_pc / self.distance_pc**2
