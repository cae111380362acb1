"""Settings of the observer; the fields of `config.observer`."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Observer:
    """Settings of the observer, described in `configs/common.py`. A range of () switches its part off."""

    distance_range_pc: tuple[float, ...]
    scale_height_pc: float = 0.0
    velocity_dispersion_kms: tuple[float, ...] = (0.0, 0.0, 0.0)
    resolution_arcsec: float = 0.0
    extinction_range_v_mag: tuple[float, ...] = ()
    extinction_error_range_v_mag: tuple[float, ...] = ()
    differential_extinction: float = 0.0
    gaia_errors: bool = False
    colour_error: tuple[float, ...] = (0.0, 0.0)
    faint_limit_range_mag: tuple[float, ...] = ()
    bright_limit_range_mag: tuple[float, ...] = ()
    missing_fraction_range: tuple[float, ...] = ()
    radius_range_pc: tuple[float, ...] = ()
    motion_cut_range: tuple[float, ...] = ()
    field_fraction_range: tuple[float, ...] = ()
    zero_point_error_mas: float = 0.0
    radial_velocity_probability: float = 1.0
    radial_velocity_error_kms: float = 0.0
    is_estimated: bool = False
