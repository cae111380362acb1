"""The columns that starjax knows: features of a star, properties of a cluster, and what is known of a snapshot.

One row of the table says all there is to know of a column; everything else looks it up here. A data set may have other
columns: they are read, scaled and learned from, without a unit or a label, and no symmetry of theirs is known.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

# The fewest stars of which a cluster is predicted; no sample of a survey keeps fewer.
MIN_STARS = 10


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A column.

    Attributes:
      key: its name in files and configs.
      of: what has a value of it: each star, the cluster (a target), or a snapshot (known beside the targets).
      unit: the unit of its values; empty for pure numbers and text.
      description: what the unit does not say.
      label: on axes, in matplotlib's math text, without the unit.
      word: in tables, one word if there is one.
      frame: 'galactic': a component along the Galaxy's axes, z towards its north pole; 'observer': as seen from a fixed
        point, from which the line of sight is parallel to the Galaxy's plane; 'none': it has no direction.
      vector: the vector in the Galaxy's plane of which it is a component; the other component is the other quantity of
        that vector. Both rotate together about the Galaxy's axis.
      is_mirrored: whether it changes sign with a reflection in the Galaxy's plane.
      is_centred: whether it is measured from the cluster's centre, or relative to its mean motion.
      is_velocity: whether it takes a proper motion or a radial velocity to measure it.
      is_logarithmic: whether axes show its logarithm.
      scaler: how a build scales it by default (see `datasets.scalers`).
      scaler_group: quantities of one group share one scale; empty: a scale of its own.
      is_default: whether a build includes it by default.
      sets: the sets of features or targets of a grid that contain it.
      catalogue: whether an observed member catalogue gives it: 'derived' from other columns, 'listed' under its own name,
        'either' of the two, or 'never'.
    """

    key: str
    of: Literal["star", "cluster", "snapshot"]
    unit: str = ""
    description: str = ""
    label: str = ""
    word: str = ""
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

    def labelled(self) -> str:
        """Return the label with the unit, as an axis shows it."""
        return f"{self.label or self.key} [{self.unit}]" if self.unit else self.label or self.key


def _position(key: str, **more) -> Quantity:
    cartesian = {"frame": "galactic", "scaler_group": "position", "sets": ("cartesian", "cartesian+L")}
    return Quantity(
        key, "star", "pc", is_centred=True, is_default=True, catalogue="derived", **cartesian, **more
    )


def _velocity(key: str, **more) -> Quantity:
    cartesian = {"frame": "galactic", "scaler_group": "velocity", "sets": ("cartesian", "cartesian+L")}
    return Quantity(
        key,
        "star",
        "km/s",
        is_centred=True,
        is_velocity=True,
        is_default=True,
        catalogue="derived",
        **cartesian,
        **more,
    )


def _offset(key: str, **more) -> Quantity:
    return Quantity(
        key,
        "star",
        "deg",
        "from the centre of the cluster",
        frame="observer",
        is_centred=True,
        scaler_group="offset",
        is_default=True,
        sets=("sky", "sky+L"),
        catalogue="derived",
        **more,
    )


def _proper_motion(key: str, **more) -> Quantity:
    return Quantity(
        key,
        "star",
        "mas/yr",
        frame="observer",
        is_centred=True,
        is_velocity=True,
        scaler_group="proper motion",
        is_default=True,
        sets=("sky", "sky+L"),
        catalogue="derived",
        **more,
    )


def _mass(key: str, label: str, **more) -> Quantity:
    return Quantity(key, "cluster", "Msun", label=label, is_logarithmic=True, scaler="log10_standard", **more)


_ROWS = (
    _position("x", vector="position"),
    _position("y", vector="position"),
    _position("z", is_mirrored=True),
    _velocity("vx", vector="velocity"),
    _velocity("vy", vector="velocity"),
    _velocity("vz", is_mirrored=True),
    _offset("lon_deg"),
    _offset("lat_deg", is_mirrored=True),
    _proper_motion("pm_lon_coslat_mas_yr"),
    _proper_motion("pm_lat_mas_yr", is_mirrored=True),
    Quantity(
        "log_L_L_sol",
        "star",
        "log10 Lsun",
        "bolometric luminosity",
        is_default=True,
        sets=("sky+L", "cartesian+L"),
        catalogue="either",
    ),
    Quantity("dist_pc", "star", "pc", "from the observer", frame="observer", catalogue="derived"),
    Quantity(
        "rv_kms",
        "star",
        "km/s",
        "radial velocity",
        frame="observer",
        is_centred=True,
        is_velocity=True,
        catalogue="derived",
    ),
    Quantity("mass", "star", "Msun", label="stellar mass"),
    Quantity("log_T_eff_K", "star", "log10 K", "effective temperature"),
    Quantity("log_R_R_sol", "star", "log10 Rsun", "stellar radius"),
    Quantity("dist_dc_pc", "star", "pc", "from the density centre of the cluster"),
    Quantity("time", "cluster", "Myr", label="age", word="age", is_default=True, sets=("time",)),
    _mass("total_mass", "total mass"),
    _mass("total_mass_within_r_tidal", r"mass within $r_{\rm tidal}$"),
    _mass(
        "total_mass_within_2x_r_tidal",
        r"mass within 2 $r_{\rm tidal}$",
        word="mass",
        is_default=True,
        sets=("mass",),
    ),
    Quantity("r_tidal", "cluster", "pc", label=r"$r_{\rm tidal}$"),
    Quantity("r_half_mass", "cluster", "pc", label="half-mass radius"),
    Quantity("run_id", "snapshot", description="the simulation; snapshots of one are correlated"),
    Quantity("time_myr", "snapshot", "Myr", "since the simulation began", label="time", word="time"),
    Quantity("distance_pc", "snapshot", "pc", "from the observer", label="distance", word="distance"),
    Quantity("num_star", "snapshot", label="number of stars", word="stars", is_logarithmic=True),
)
QUANTITIES: dict[str, Quantity] = {one.key: one for one in _ROWS}
# The target whose simulations a split should share out evenly, beside time.
MASS = "total_mass_within_2x_r_tidal"
LUMINOSITY = "log_L_L_sol"
# What is seen of a star across the line of sight: along the Galaxy's axes, and on the sky.
PROJECTED = ("y", "z", "vy", "vz")
SKY = ("lon_deg", "lat_deg", "pm_lon_coslat_mas_yr", "pm_lat_mas_yr")


def get(key: str, of: Literal["star", "cluster", "snapshot"] = "cluster") -> Quantity:
    """Return the quantity of a column; of a column that is not in the table, one without unit and label."""
    return QUANTITIES.get(key, Quantity(key, of, label=key))


def unit(key: str) -> str:
    """Return the unit of a column; 'physical' where it is not known."""
    return get(key).unit or "physical"


def word(key: str) -> str:
    """Return what tables call a column."""
    return get(key).word or key


def default_keys(of: Literal["star", "cluster"]) -> tuple[str, ...]:
    """Return the features ('star') or targets ('cluster') that a build includes by default."""
    return tuple(key for key, one in QUANTITIES.items() if one.of == of and one.is_default)


def scaler_groups(
    keys: Sequence[str], of: Literal["star", "cluster"]
) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Return the groups of keys that share a scale, each with its scaling method.

    Keys that are not in the table have a scale of their own: features 'robust', targets 'standard'.
    """
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(get(key).scaler_group or key, []).append(key)
    unknown = "robust" if of == "star" else "standard"
    return tuple(
        (tuple(group), QUANTITIES[group[0]].scaler if group[0] in QUANTITIES else unknown)
        for group in groups.values()
    )


def sets(of: Literal["star", "cluster"]) -> dict[str, tuple[str, ...]]:
    """Return the sets of features or targets that a grid names, each with its keys."""
    found: dict[str, list[str]] = {}
    for key, one in QUANTITIES.items():
        for name in one.sets if one.of == of else ():
            found.setdefault(name, []).append(key)
    return {name: tuple(keys) for name, keys in found.items()}


def set_name(keys: Sequence[str], known: Mapping[str, tuple[str, ...]]) -> str:
    """Return the name that `known` has for these keys, in any order; else the keys, joined by `+`."""
    names = (name for name, known_keys in known.items() if set(known_keys) == set(keys))
    return next(names, "+".join(keys))
