"""Names of columns in the catalogues of today, recognized by those of the Gaia archive that starjax uses.

Sources: the Gaia archive (DR2, EDR3, DR3) and VizieR's versions of it (I/345, I/350, I/355); members of
clusters by Cantat-Gaudin et al. 2020 (J/A+A/640/A1) and Hunt & Reffert 2023, 2024 (J/A+A/673/A114,
J/A+A/686/A42); the Unified Cluster Catalogue; ASteCA and pyUPMASK.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from starjax.catalogs.column_values import CatalogError

# By our name, in lower case. Earlier groups are preferred to later ones. Names of one group could mean
# different things if a catalogue has more than one of them.
_NAMES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "source_id": (("source", "gaiadr3", "gaiaedr3", "gaiadr2", "dr3_source_id", "edr3_source_id"),),
    "cluster": (("cluster_name", "clustername"),),
    "ra": (("ra_icrs", "radeg"), ("raj2000", "_raj2000", "_ra")),
    "dec": (("de_icrs", "dedeg"), ("dej2000", "_dej2000", "_de")),
    "parallax": (("plx",),),
    "pmra": (("pmra*", "pmracosdec", "pm_ra"),),
    "pmdec": (("pmde", "pm_dec", "pm_de"),),
    "radial_velocity": (("rv", "hrv"), ("rvdr2", "dr2_radial_velocity")),
    "phot_g_mean_mag": (("gmagcorr", "phot_g_mean_mag_corrected"), ("gmag", "g_mag")),
    "phot_bp_mean_mag": (("bpmag", "bp_mag"),),
    "phot_rp_mean_mag": (("rpmag", "rp_mag"),),
    "bp_rp": (("bp-rp", "bprp"),),
    "membership_probability": (
        ("prob", "pmemb", "proba", "probs", "probability", "membership_prob"),
        ("probs_final",),
    ),
}
# What TOPCAT and pandas append to names when they join tables.
_ENDING = re.compile(r"_[12xy]$")


def match(names: Sequence[str], known: Iterable[str], stated: Mapping[str, str]) -> dict[str, str]:
    """Return a catalogue's names of its columns by ours.

    Args:
      names: the columns of the catalogue.
      known: our names.
      stated: the catalogue's names by ours, as its user states them.

    Raises:
      CatalogError: two columns could be the same one of ours.
    """
    free = [name for name in names if name not in stated.values()]
    found = {ours: _find(ours, free) for ours in known if ours not in stated}
    return {ours: theirs for ours, theirs in found.items() if theirs} | dict(stated)


def _find(ours: str, names: Sequence[str]) -> str:
    """Return the column of a catalogue that is ours; '' if there is none."""
    if ours in names:
        return ours
    bare = [_ENDING.sub("", name.lower()) for name in names]
    for rank in ((ours,), *_ranks(ours)):
        # A name without an ending is preferred to those that tables were joined with.
        for spelled in ([name.lower() for name in names], bare):
            candidates = [name for name, spelling in zip(names, spelled, strict=True) if spelling in rank]
            if len(candidates) > 1:
                raise CatalogError(
                    f"{' and '.join(candidates)} could both be {ours}: say which by columns "
                    f"(--columns={ours}={candidates[0]})"
                )
            if candidates:
                return candidates[0]
    return ""


def _ranks(ours: str) -> tuple[tuple[str, ...], ...]:
    if not ours.endswith("_error"):
        return _NAMES.get(ours, ())
    of_value = ours.removesuffix("_error")
    ranks = ((of_value,), *_NAMES.get(of_value, ()))
    return tuple(
        tuple(spelled for name in rank for spelled in (f"e_{name}", f"{name}_error", f"{name}_err"))
        for rank in ranks
    )
