"""The columns that starjax knows: features of a star, targets of a cluster, and properties of a snapshot.

One row of `QUANTITIES` describes a column; all other modules look it up here. A data set may have other
columns: they are read, scaled and learned from, without a unit or a label, and it is not known how they
change under a rotation.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

# The fewest stars that a prediction needs. The survey selection leaves at least as many, and a build by
# default leaves out smaller snapshots, so that models are trained on sets of this size too.
MIN_STARS = 10

# Tangential velocity of 1 mas/yr at 1 pc [km/s]: 1 au/yr in thousandths. A test compares it with astropy,
# whose import would delay training by a second.
KMS_PER_PC_MAS_YR = 0.004740470463533348

# Floor of v_error_kms, since its scaler is logarithmic: well below the errors of any catalogue.
MIN_V_ERROR_KMS = 1e-3

Kind = Literal["feature", "target", "snapshot"]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A column.

    Attributes:
      key: name in files and configs.
      kind: 'feature' for a value per star, 'target' for a value per cluster, which models predict, and
        'snapshot' for a value that is recorded beside the targets.
      unit: unit of the values; 'log10 Lsun' is that of a logarithm. Empty for pure numbers and text.
      description: what unit and label do not say.
      label: label of an axis, in matplotlib's math text, without the unit. Empty: the key.
      short_name: name in tables. Empty: the key.
      frame: 'galactic' for a component along the Galaxy's axes, z towards its north pole; 'observer' for a
        value as seen from a fixed point, with the line of sight parallel to the Galaxy's plane; 'none' for a
        quantity without direction.
      vector: name of the vector in the Galaxy's plane of which this is a component. The first quantity with
        that name is the component along x, the second that along y; both rotate together about the Galaxy's
        axis.
      is_mirrored: True if its sign changes under a reflection in the Galaxy's plane.
      is_centred: True if it is measured from the cluster's centre, or relative to its mean motion.
      is_velocity: True if its measurement takes a proper motion or a radial velocity.
      is_logarithmic: True if axes are logarithmic.
      scaler: default scaling method of a build (see `datasets.scalers`).
      scaler_group: quantities of one group share one scale. Empty: a scale of its own.
      is_default: True if a build includes it by default.
      sets: the feature or target sets of a grid that contain it.
      catalogue: how a feature follows from an observed member catalogue: 'derived' from Gaia's columns,
        'listed' under its own name, 'either' (listed, else derived), or 'never'.
      unlisted: value of a feature where the catalogue lists none; None: the star cannot be used.
    """

    key: str
    kind: Kind
    unit: str = ""
    description: str = ""
    label: str = ""
    short_name: str = ""
    frame: Literal["galactic", "observer", "none"] = "none"
    vector: str = ""
    is_mirrored: bool = False
    is_centred: bool = False
    is_velocity: bool = False
    is_logarithmic: bool = False
    scaler: str = "robust"
    scaler_group: str = ""
    is_default: bool = False
    sets: tuple[str, ...] = ()
    catalogue: Literal["derived", "listed", "either", "never"] = "never"
    unlisted: float | None = None

    def axis_label(self) -> str:
        """Return the label of an axis, with the unit."""
        label = self.label or self.key
        return f"{label} [{self.unit}]" if self.unit else label

    def plain_label(self) -> str:
        """Return the label in words, without math text for the tidal radius; empty if there is none."""
        radius = r"$r_{\rm tidal}$"
        return self.label.replace(f"2 {radius}", "twice the tidal radius").replace(radius, "the tidal radius")


# What rows of the table have in common.
_CARTESIAN: dict[str, Any] = {
    "kind": "feature",
    "frame": "galactic",
    "is_centred": True,
    "is_default": True,
    "sets": ("cartesian", "cartesian+L"),
    "catalogue": "derived",
}
_POSITION = _CARTESIAN | {"unit": "pc", "scaler_group": "position"}
_VELOCITY = _CARTESIAN | {"unit": "km/s", "scaler_group": "velocity", "is_velocity": True}
# What an observer sees depends on where the observer is, so it does not rotate with the Galaxy.
_SKY = _CARTESIAN | {"frame": "observer", "sets": ("sky", "sky+L")}
_OFFSET = _SKY | {"unit": "deg", "scaler_group": "offset", "description": "from the centre of the cluster"}
_PROPER_MOTION = _SKY | {"unit": "mas/yr", "scaler_group": "proper motion", "is_velocity": True}
_MAGNITUDE: dict[str, Any] = {"kind": "feature", "unit": "mag"}
# Errors span orders of magnitude, too.
_ERROR: dict[str, Any] = {"kind": "feature", "scaler": "log10_standard", "catalogue": "derived"}
# Masses span orders of magnitude.
_MASS: dict[str, Any] = {
    "kind": "target",
    "unit": "Msun",
    "is_logarithmic": True,
    "scaler": "log10_standard",
}

# The order is that of the default features and targets of a build.
_ROWS = (
    Quantity("x", **_POSITION, vector="position"),
    Quantity("y", **_POSITION, vector="position"),
    Quantity("z", **_POSITION, is_mirrored=True),
    Quantity("vx", **_VELOCITY, vector="velocity"),
    Quantity("vy", **_VELOCITY, vector="velocity"),
    Quantity("vz", **_VELOCITY, is_mirrored=True),
    Quantity("lon_deg", **_OFFSET),
    Quantity("lat_deg", **_OFFSET, is_mirrored=True),
    Quantity("pm_lon_coslat_mas_yr", **_PROPER_MOTION),
    Quantity("pm_lat_mas_yr", **_PROPER_MOTION, is_mirrored=True),
    Quantity(
        "log_L_L_sol",
        "feature",
        "log10 Lsun",
        "bolometric luminosity",
        is_default=True,
        sets=("sky+L", "cartesian+L"),
        catalogue="either",
    ),
    Quantity("dist_pc", "feature", "pc", "from the observer", frame="observer", catalogue="derived"),
    Quantity(
        "rv_kms",
        "feature",
        "km/s",
        "radial velocity",
        frame="observer",
        is_centred=True,
        is_velocity=True,
        catalogue="derived",
    ),
    Quantity("mass", "feature", "Msun", label="stellar mass"),
    Quantity("log_T_eff_K", "feature", "log10 K", "effective temperature"),
    Quantity("log_R_R_sol", "feature", "log10 Rsun", "stellar radius"),
    Quantity("dist_dc_pc", "feature", "pc", "from the density centre of the cluster"),
    Quantity(
        "abs_mag_g",
        **_MAGNITUDE,
        catalogue="derived",
        label=r"$M_G$",
        description="absolute, Gaia's G, no extinction",
    ),
    Quantity("abs_mag_rp", **_MAGNITUDE, label=r"$M_{RP}$", description="absolute, Gaia's RP, no extinction"),
    Quantity(
        "bp_rp_0", **_MAGNITUDE, catalogue="derived", label=r"$(BP-RP)_0$", description="intrinsic colour"
    ),
    Quantity("semi_major_axis_au", "feature", "AU", "of the binary that the star is in; 0 for single stars"),
    Quantity(
        "companion",
        "feature",
        description="of a binary: 1 for the brighter star, -1 for the fainter one, which is the next row; "
        "0 for single stars",
    ),
    Quantity("v_error_kms", **_ERROR, unit="km/s", description="standard error of vy and vz"),
    Quantity("abs_mag_g_error", **_ERROR, unit="mag", description="standard error of abs_mag_g"),
    Quantity("bp_rp_0_error", **_ERROR, unit="mag", description="standard error of bp_rp_0"),
    Quantity(
        "membership_probability",
        "feature",
        description="as listed; 1 where a catalogue has none",
        label="membership probability",
        scaler="identity",
        catalogue="listed",
        unlisted=1.0,
    ),
    Quantity("time", "target", "Myr", label="age", short_name="age", is_default=True, sets=("time",)),
    Quantity("total_mass", **_MASS, label="total mass"),
    Quantity("total_mass_within_r_tidal", **_MASS, label=r"mass within $r_{\rm tidal}$"),
    Quantity(
        "total_mass_within_2x_r_tidal",
        **_MASS,
        label=r"mass within 2 $r_{\rm tidal}$",
        short_name="mass",
        is_default=True,
        sets=("mass",),
    ),
    Quantity("r_tidal", "target", "pc", label=r"$r_{\rm tidal}$"),
    Quantity("r_half_mass", "target", "pc", label="half-mass radius"),
    Quantity("run_id", "snapshot", description="the simulation; its snapshots are correlated"),
    Quantity("time_myr", "snapshot", "Myr", "since the simulation began", label="time", short_name="time"),
    Quantity("distance_pc", "snapshot", "pc", "from the observer", label="distance", short_name="distance"),
    Quantity("num_star", "snapshot", label="number of stars", short_name="stars", is_logarithmic=True),
)
QUANTITIES: dict[str, Quantity] = {quantity.key: quantity for quantity in _ROWS}

LUMINOSITY = "log_L_L_sol"
# A manifest balances its splits in this target, and in time.
MASS = "total_mass_within_2x_r_tidal"
# Position and velocity across the line of sight: along the Galaxy's axes, and on the sky.
PROJECTED = ("y", "z", "vy", "vz")
# Magnitude and colour of a star with their errors, as far as a catalogue has them.
PHOTOMETRY = ("abs_mag_g", "abs_mag_g_error", "bp_rp_0", "bp_rp_0_error")
# The columns that the observer needs (see `sampling.observer`), in its order.
OBSERVER = (
    *("x", "y", "z", "vx", "vy", "vz", "mass", "abs_mag_g", "bp_rp_0", "abs_mag_rp"),
    *("semi_major_axis_au", "companion"),
)
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr")


def get(key: str) -> Quantity:
    """Return the quantity of a column; one without a unit if the table does not have it."""
    # Of an unknown column the kind is not known either; readers of the result ask for everything but that.
    return QUANTITIES.get(key, Quantity(key, "target", label=key))


def unit(key: str) -> str:
    """Return the unit of a column; 'physical' if it is not known."""
    return get(key).unit or "physical"


def short_name(key: str) -> str:
    """Return the name of a column in tables."""
    return get(key).short_name or key


def default_keys(kind: Kind) -> tuple[str, ...]:
    """Return the features or targets that a build includes by default."""
    return tuple(key for key, one in QUANTITIES.items() if one.kind == kind and one.is_default)


def listed_keys() -> tuple[str, ...]:
    """Return the features that a member catalogue may list under their own name."""
    return tuple(key for key, one in QUANTITIES.items() if one.catalogue in ("listed", "either"))


def unlisted_values() -> dict[str, float]:
    """Return the values of features where a member catalogue lists none, for those that have one."""
    return {key: one.unlisted for key, one in QUANTITIES.items() if one.unlisted is not None}


def scaler_groups(keys: Sequence[str], kind: Kind) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return the groups of keys that share a scale, each with its scaling method.

    Keys that the table does not have get a scale of their own: features by 'robust', targets by 'standard'.
    """
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(get(key).scaler_group or key, []).append(key)
    # Unlike targets, features have outliers, such as stars far from their cluster.
    unknown = Quantity("", kind, scaler="robust" if kind == "feature" else "standard")
    return tuple((tuple(group), QUANTITIES.get(group[0], unknown).scaler) for group in groups.values())


def sets(kind: Kind) -> dict[str, tuple[str, ...]]:
    """Return the feature or target sets of a grid: the keys by the name of the set."""
    found: dict[str, list[str]] = {}
    for key, one in QUANTITIES.items():
        for name in one.sets if one.kind == kind else ():
            found.setdefault(name, []).append(key)
    return {name: tuple(keys) for name, keys in found.items()}


def set_name(keys: Sequence[str], known: Mapping[str, tuple[str, ...]]) -> str:
    """Return the name of the set in `known` with these keys, in any order; else the keys, joined by `+`."""
    names = (name for name, known_keys in known.items() if set(known_keys) == set(keys))
    return next(names, "+".join(keys))
