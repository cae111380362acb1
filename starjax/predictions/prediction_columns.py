"""The columns of the table of a prediction: what each is, its unit, and its UCD.

UCDs are words for kinds of quantities, which programs for tables know (UCD1+,
https://www.ivoa.net/documents/UCD1+/). Those of the bounds of intervals are as in the tables of Gaia DR3.
"""

import dataclasses
from collections.abc import Sequence

from starjax import quantities


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table of a prediction.

    Attributes:
      description: what it is, in a line: astropy breaks longer ones in VOTables.
      ucd: kind of quantity.
      unit: unit of the values. Empty for pure numbers and text.
    """

    description: str
    ucd: str
    unit: str = ""


# UCD of a target by its unit.
_TARGET_UCD = {"Myr": "time.age", "Msun": "phys.mass", "pc": "phys.size.radius"}
_OTHER_TARGET_UCD = "stat.value"
# What follows the name of a target. The empty ending is that of the prediction itself.
_TARGET_ENDINGS = {
    "": ("median of the posterior", "{};stat.median"),
    "_p16": ("lower bound of 68 % interval", "{};stat.min"),
    "_p84": ("upper bound of 68 % interval", "{};stat.max"),
    "_p2.5": ("lower bound of 95 % interval", "{};stat.min"),
    "_p97.5": ("upper bound of 95 % interval", "{};stat.max"),
    "_spread_members": ("scatter of ensemble members", "stat.stdev;{}"),
    "_spread_draws": ("scatter of draws of stars", "stat.stdev;{}"),
}


def _with_error(name: str, column: Column) -> dict[str, Column]:
    """Return a column and that of its standard error."""
    error = Column(f"standard error of {name}", f"stat.error;{column.ucd}", column.unit)
    return {name: column, f"{name}_error": error}


# All columns but those of the targets; the second is in the file of samples only.
COLUMNS = {
    "cluster": Column("name of the cluster", "meta.id;meta.main"),
    "sample": Column("number of the sample of the posterior", "meta.number"),
    "num_star": Column("number of stars used", "meta.number"),
    "novelty": Column("out-of-distribution score; above 1 is flagged", "stat.value"),
    "num_left_out": Column("number of stars left out because values are missing", "meta.number"),
    "num_non_member": Column("number of stars left out as non-members", "meta.number"),
    "is_flagged": Column("whether the prediction should be doubted", "meta.code.qual"),
    "flag_reasons": Column("why the prediction should be doubted", "meta.note"),
    "distance_pc": Column("distance of the cluster, as used", "pos.distance", "pc"),
    "distance_error_pc": Column("standard error of distance_pc", "stat.error;pos.distance", "pc"),
    "radial_velocity_kms": Column("radial velocity of the cluster, as used", "spect.dopplerVeloc", "km/s"),
    "extinction_v_mag": Column("extinction A_V, as used", "phys.absorption;em.opt.V", "mag"),
    "extinction_v_error_mag": Column(
        "standard error of extinction_v_mag, as used", "stat.error;phys.absorption;em.opt.V", "mag"
    ),
    "extinction_source": Column("given, assumed, or the name of the map of dust", "meta.note"),
    "metallicity": Column("[Fe/H], as stated", "phys.abund.Fe"),
    "velocity_error_kms": Column(
        "median error of velocities of stars across the line of sight",
        "stat.error;phys.veloc.transverse;stat.median",
        "km/s",
    ),
    "classical_note": Column("what to know about the classical masses", "meta.note"),
    **_with_error(
        "mass_virial", Column("virial mass, for a Plummer sphere", "phys.mass;phys.virial", "Msun")
    ),
    **_with_error(
        "mass_projected_virial",
        Column("virial mass from the separations of pairs of stars", "phys.mass;phys.virial", "Msun"),
    ),
    **_with_error(
        "mass_wolf", Column("twice the mass within the half-light radius (Wolf+ 2010)", "phys.mass", "Msun")
    ),
    **_with_error(
        "mass_leonard_merritt",
        Column("mass from radial and tangential motions (Leonard & Merritt 1989)", "phys.mass", "Msun"),
    ),
    **_with_error(
        "sigma_1d_kms", Column("velocity dispersion of one component", "phys.veloc.dispersion", "km/s")
    ),
    **_with_error("r_half_projected_pc", Column("projected half-number radius", "phys.size.radius", "pc")),
    "notes": Column("how centre, distance and velocity were found, what was left out", "meta.note"),
    "catalog": Column("file of the member catalogue", "meta.ref.uri;meta.file"),
    "catalog_sha256": Column("SHA-256 digest of the member catalogue", "meta.checksum"),
    "run": Column("folder of the run, or of the packaged model", "meta.ref.uri;meta.file"),
    "run_sha256": Column("SHA-256 digest of the file SHA256SUMS of the run", "meta.checksum"),
    "checkpoint": Column("file or folder of the parameters", "meta.ref.uri;meta.file"),
    "epochs": Column("best epoch of each ensemble member", "meta.note"),
    "versions": Column("versions of starjax and of the packages that it uses", "meta.version;meta.software"),
}


def target_columns(key: str) -> dict[str, Column]:
    """Return the columns of a target."""
    target = quantities.get(key)
    what = target.plain_label() or key
    ucd = _TARGET_UCD.get(target.unit, _OTHER_TARGET_UCD)
    return {
        key + ending: Column(f"{what}: {meaning}", pattern.format(ucd), target.unit)
        for ending, (meaning, pattern) in _TARGET_ENDINGS.items()
    }


def all_columns(target_keys: Sequence[str]) -> dict[str, Column]:
    """Return the columns of the predictions of a run with these targets, by name."""
    of_targets = {name: one for key in target_keys for name, one in target_columns(key).items()}
    return COLUMNS | of_targets
