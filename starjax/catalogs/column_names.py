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
    "ra": (
        ("ra_icrs", "radeg", "ra_deg"),
        ("raj2000", "ra_j2000", "_raj2000", "_ra.icrs", "_ra_icrs", "_ra"),
    ),
    "dec": (
        ("de_icrs", "dec_icrs", "dedeg", "decdeg", "de_deg", "dec_deg"),
        ("dej2000", "decj2000", "de_j2000", "dec_j2000", "_dej2000", "_de.icrs", "_de_icrs", "_de"),
    ),
    "parallax": (("plx",),),
    "pmra": (("pmra*", "pmracosdec", "pmracosde", "pmra_cosdec", "pm_ra"),),
    "pmdec": (("pmde", "pm_dec", "pm_de"),),
    "radial_velocity": (("rv", "hrv"), ("rvdr2", "dr2_radial_velocity")),
    "phot_g_mean_mag": (("gmagcorr", "phot_g_mean_mag_corrected"), ("gmag", "g_mag")),
    "phot_bp_mean_mag": (("bpmag", "bp_mag"),),
    "phot_rp_mean_mag": (("rpmag", "rp_mag"),),
    "bp_rp": (("bp-rp", "bprp", "g_bp-g_rp", "gbp-grp", "bpmag-rpmag"),),
    "membership_probability": (
        ("prob", "pmemb", "pmem", "proba", "probs", "probability", "membership_prob", "memb_prob"),
        ("probs_final",),
    ),
}
# Columns that may name clusters, about which a catalogue is asked.
PERHAPS_CLUSTERS = ("name", "oc", "cl", "group", "label", "object", "cluster_id", "clusterid", "id_cluster")
# What TOPCAT and pandas append to names when they join tables.
_ENDING = re.compile(r"_[12xy]$")


def bare(name: str) -> str:
    """Return a name in lower case, without the ending of joined tables."""
    return _ENDING.sub("", name.lower())


def match(names: Sequence[str], known: Iterable[str], stated: Mapping[str, str]) -> dict[str, str]:
    """Return a catalogue's names of its columns by ours.

    Args:
      names: the columns of the catalogue.
      known: our names.
      stated: the catalogue's names by ours, as its user states them.

    Raises:
      CatalogError: two columns could be the same one of ours.
    """
    found = dict(stated)
    # Errors last: they are those of the columns that were found.
    for ours in sorted(known, key=lambda ours: ours.endswith("_error")):
        candidates = [] if ours in found else _candidates(ours, names, found)
        if len(candidates) > 1:
            raise CatalogError(
                f"{' and '.join(candidates)} could both be {ours}: say which by columns "
                f"(--columns={ours}={candidates[0]})"
            )
        if candidates:
            found[ours] = candidates[0]
    return found


def has(names: Sequence[str], wanted: Iterable[str], stated: Mapping[str, str]) -> bool:
    """Return whether a table has all columns that are stated, and one or more for each wanted one of ours."""
    others = [ours for ours in wanted if ours not in stated]
    return set(stated.values()) <= set(names) and all(_candidates(ours, names, stated) for ours in others)


def _candidates(ours: str, names: Sequence[str], found: Mapping[str, str]) -> list[str]:
    """Return the columns of a catalogue that could be ours, among those that are not another one."""
    names = [name for name in names if name not in found.values()]
    ranks = (
        _ranks_of_error(ours, names, found) if ours.endswith("_error") else ((ours,), *_NAMES.get(ours, ()))
    )
    if ours in names and ours in ranks[0]:
        return [ours]
    spellings = [name.lower() for name in names]
    for rank in ranks:
        # A name without an ending is preferred to those that tables were joined with.
        for spelled in (spellings, list(map(bare, names))):
            candidates = [name for name, spelling in zip(names, spelled, strict=True) if spelling in rank]
            if candidates:
                return candidates
    return []


def _ranks_of_error(ours: str, names: Sequence[str], found: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the names that the errors of a column may have: those that are made of its own name."""
    value = ours.removesuffix("_error")
    if value not in found:
        return ((ours,),)
    theirs, plain = found[value].lower(), bare(found[value])
    ending = theirs.removeprefix(plain)
    joined = (f"e_{theirs}", f"{plain}_error{ending}", f"{plain}_err{ending}")
    # A column under a usual name may have errors under another one of the same group.
    first, *others = _NAMES.get(value, ((),))
    group = next((group for group in ((value, *first), *others) if plain in group), (plain,))
    usual = [spelled for name in group for spelled in (f"e_{name}", f"{name}_error", f"{name}_err")]
    # Ours is that of another column if there is one of our name.
    return joined, tuple(usual), () if value in names else (ours,)
