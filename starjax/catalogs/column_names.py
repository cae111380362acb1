"""Names of columns in the catalogues of today, recognized by those of the Gaia archive that starjax uses.

Sources: the Gaia archive (DR2, EDR3, DR3), VizieR's versions of it (I/345, I/350, I/355) and CDS X-Match;
distances by Bailer-Jones et al. 2021 (I/352); members of clusters by Cantat-Gaudin et al. 2018, 2020
(J/A+A/618/A93, J/A+A/640/A1) and Hunt & Reffert 2023, 2024 (J/A+A/673/A114, J/A+A/686/A42); the Unified
Cluster Catalogue; ASteCA and pyUPMASK; LAMOST DR7, APOGEE DR17 and GALAH DR3 joined with Gaia.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from astropy import units as u
from astropy.table import Column, Table

from starjax.catalogs import column_values
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated import cluster_names

# Groups of names by ours, in lower case, with _ for blanks. Earlier groups are preferred to later ones. Names
# of one group could mean different things if a catalogue has more than one of them.
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "source_id": (
        "source sourceid gaiadr3 gaia_dr3 dr3_source_id dr3name gaiadr3_id",
        "gaiaedr3 gaia_edr3 edr3_source_id edr3name",
        "gaiadr2 gaia_dr2 dr2_source_id dr2name",
        "gaia gaia_id gaiaid id_gaia gaia_name gaia_source gaia_designation",
        "designation",
    ),
    "cluster": ("cluster_name clustername cl_name oc_name",),
    "ra": (
        "ra_icrs radeg right_ascension rightascension",
        "raj2000 ra_j2000 ra2000 _raj2000 _ra.icrs _ra_icrs _ra alpha_j2000",
        "ra_epoch2000 ra_ep2000 ra_j2016 raj2016 ra_obs objra",
    ),
    "dec": (
        "de_icrs dec_icrs dedeg decdeg de_deg declination",
        "dej2000 decj2000 de_j2000 dec_j2000 de2000 dec2000 _dej2000 _de.icrs _de_icrs _de delta_j2000",
        "dec_epoch2000 de_epoch2000 dec_ep2000 dec_j2016 decj2016 dec_obs objdec",
    ),
    "parallax": ("plx parall varpi",),
    "pmra": (
        "pmra* pmracosdec pmracosde pmra_cosdec pmra_cosde pm_ra pm_ra* pm_ra_cosdec pm_alpha "
        "mura mu_ra mu_alpha mu_alpha* mu_alpha_star mu_alpha_cosdelta",
    ),
    "pmdec": ("pmde pm_dec pm_de pm_delta mudec mu_dec mude mu_de mu_delta",),
    "radial_velocity": (
        "rv hrv vrad v_rad radvel rad_vel radialvelocity rvel helrv rv_helio",
        "rvdr3 rv_dr3 dr3_radial_velocity",
        "rvdr2 rv_dr2 dr2_radial_velocity",
        "vhelio_avg vhelio rv_galah rv_apogee rv_lamost",
    ),
    "distance": ("rgeo r_med_geo", "rpgeo r_med_photogeo"),
    "phot_g_mean_mag": (
        "gmagcorr phot_g_mean_mag_corrected",
        "gmag g_mag gaia_g gmag_gaia g_mean_mag gaia_gmag phot_g mag_g",
        "g",
    ),
    "phot_bp_mean_mag": ("bpmag bp_mag gbpmag gbp_mag g_bp gbp bp_mean_mag mag_bp", "bp"),
    "phot_rp_mean_mag": ("rpmag rp_mag grpmag grp_mag g_rp grp rp_mean_mag mag_rp", "rp"),
    "bp_rp": ("bp-rp bprp bpmrp bp_minus_rp phot_bp_rp g_bp-g_rp g_bp_g_rp gbp-grp gbp_grp bpmag-rpmag",),
    "membership_probability": (
        "prob proba probs probability probabilities pmemb pmem p_memb p_mem pmember "
        "membership_prob membershipprobability probability_membership memb_prob memb_probs membprob "
        "mem_prob memprob prob_memb probmemb",
        "probs_final prob_final",
    ),
}
USUAL = {ours: tuple(tuple(group.split()) for group in groups) for ours, groups in _GROUPS.items()}
# How the errors of a column are called.
_ERRORS = "e_{0} {0}_error {0}_err err_{0} error_{0} sigma_{0} e{0} {0}err {0}error {0}_unc {0}_uncertainty"
# What TOPCAT, pandas and people add to names when they join tables.
_JOINED = re.compile(r"(gaia_?e?dr3_|gaia_|e?dr3_)?(.+?)(_[12xy]|_left|_right|_gaia|_(?:gaia_?)?e?dr3)?")
# Units in names: 'parallax [mas]', 'RA(deg)', 'pmRA_mas/yr'.
_IN_BRACKETS = re.compile(r"(.*?\S)[\s_]*(?:\((.*)\)|\[(.*)\])")
_AT_END = re.compile(
    r"(.+)[\s_](deg(?:rees?)?|rad|hours?|mas|mas[/_. ]?(?:per_)?yr(?:-1)?|km[/_. ]?s(?:-1)?|k?pc|mag)",
    re.IGNORECASE,
)
_RATE = re.compile(r"(mas|km)[/_. ]?(?:per_)?(yr|s)(?:-1)?", re.IGNORECASE)
_SEXAGESIMAL = re.compile(r"_*[(\[](h+|d+|deg)[\W_]*m+(in)?[\W_]*s+(ec)?[)\]]$")
# These are whole names: that of v_rad has no unit.
_WHOLE = frozenset(
    spelling
    for ours, groups in USUAL.items()
    for name in (ours, *(name for group in groups for name in group))
    for spelling in (name, *_ERRORS.format(name).split())
)
# In brackets, what belongs to the name.
_FRAMES = ("icrs", "j2000", "j2000.0", "j2016", "j2016.0")


def split_unit(name: str) -> tuple[str, u.UnitBase | None]:
    """Return a name without the unit that it contains, and the unit, if there is one.

    What catalogues call a column, such as v_rad, contains none.
    """
    if inner := _IN_BRACKETS.fullmatch(name):
        plain, text = inner[1], (inner[2] or inner[3] or "").strip()
        if text.lower() in _FRAMES:
            return f"{plain}_{text.lower().removesuffix('.0')}", None
    elif (inner := _AT_END.fullmatch(name)) and _joined_parts(_lower(name))[1] not in _WHOLE:
        plain, text = inner[1], _RATE.sub(r"\1/\2", inner[2])
    else:
        return name, None
    unit = column_values.find_unit(text)
    return (name, None) if unit is None else (plain, unit)


def _spellings(name: str) -> tuple[str, str, str, str]:
    """Return a name in lower case: whole, without its unit; and both without what joins of tables add."""
    whole, plain = map(_lower, (name, split_unit(name)[0]))
    return whole, plain, _joined_parts(whole)[1], _joined_parts(_SEXAGESIMAL.sub("", plain))[1]


def _lower(name: str) -> str:
    return re.sub(r"\s+", "_", name.strip().lower())


def _joined_parts(plain: str) -> tuple[str, str, str]:
    """Return what joins of tables put before a name, the name, and what they put behind it."""
    parts = _JOINED.fullmatch(plain)
    return ("", plain, "") if parts is None else (parts[1] or "", parts[2], parts[3] or "")


def bare(name: str) -> str:
    """Return a name in lower case, without its unit and what joins of tables add."""
    return _spellings(name)[-1]


def find_columns(
    table: Table, name: str, stated: Mapping[str, str], known: Sequence[str]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return a table's names of its columns by ours, and those of the same values by these.

    Args:
      name: what errors call the table.
      stated: the table's names by ours, as its user states them.
      known: our names.

    Raises:
      CatalogError: a column is missing, or two could be the same one of ours.
    """
    unknown = [ours for ours in stated if ours not in known]
    if unknown:
        raise CatalogError(
            f"columns: {', '.join(unknown)} is not a column of a member catalogue; those are "
            f"{', '.join(known)}. The name of starjax comes first, then that of the file: ra=RAJ2000"
        )
    same: dict[str, list[str]] = {}

    def choose(candidates: list[str]) -> list[str]:
        first, *others = sorted(candidates, key=lambda one: column_values.count_missing(table[one]))
        if not all(column_values.are_same(table[first], table[other]) for other in others):
            return candidates
        same[first] = others
        return [first]

    # The separation from the centre of a cone search is often called a distance.
    usable = [theirs for theirs in table.colnames if not _is_separation(table, theirs)]
    # Empty columns only where there is no other.
    filled = [theirs for theirs in usable if not column_values.is_empty(table[theirs])]
    try:
        found = match(filled, known, stated, choose)
        found = match(usable, known, found, choose)
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from error
    # A name is that of a cluster, if many stars share it, or of a star.
    names = [theirs for theirs in table.colnames if bare(theirs) == "name"]
    if (
        "cluster" not in found
        and names
        and 0 < len(table) == len(cluster_names.shared_texts(table[names[0]]))
    ):
        found["cluster"] = names[0]
    required = [*stated.values(), *(found.get(ours, ours) for ours in ("ra", "dec"))]
    absent = [theirs for theirs in required if theirs not in table.colnames]
    if absent:
        raise CatalogError(
            f"{name} has no column {', '.join(dict.fromkeys(absent))}; it has "
            f"{', '.join(table.colnames):.2000}: say which is which by columns (--columns=ra=RAJ2000)"
        )
    return found, same


def with_unit(table: Table, name: str, ours: str, where: str) -> tuple[Column, u.UnitBase | None]:
    """Return a column, positions in degrees, and its unit, as the table or the name of the column states it.

    Raises:
      CatalogError: see `column_values.in_degrees`.
    """
    column = table[name]
    if ours in ("ra", "dec"):
        stated = name if column.unit is None else str(column.unit)
        column = column_values.in_degrees(column, ours, stated, where)
    return column, split_unit(name)[1] if column.unit is None else column.unit


def _is_separation(table: Table, name: str) -> bool:
    """Return whether a column is an angle that is called a distance."""
    if bare(name) != "distance" or not isinstance(table[name], Column | u.Quantity):
        return False
    _, unit = with_unit(table, name, "distance", name)
    return unit is not None and column_values.is_angle(unit)


def match(
    names: Sequence[str],
    known: Iterable[str],
    stated: Mapping[str, str],
    choose: Callable[[list[str]], list[str]] = list,
    usual: Mapping[str, tuple[tuple[str, ...], ...]] = USUAL,
    advice: str = "say which by columns (--columns={ours}={theirs})",
) -> dict[str, str]:
    """Return a catalogue's names of its columns by ours.

    Args:
      names: the columns of the catalogue.
      known: our names.
      stated: the catalogue's names by ours, as its user states them.
      choose: returns those of several columns that differ from each other.
      usual: groups of other names by ours, as in `USUAL`.
      advice: what to do if two columns could be the same one of ours.

    Raises:
      CatalogError: two columns could be the same one of ours.
    """
    found = dict(stated)
    # Errors last: they are those of the columns that were found.
    for ours in sorted(known, key=lambda ours: ours.endswith("_error")):
        candidates = [] if ours in found else _candidates(ours, names, found, usual)
        if len(candidates) > 1:
            candidates = choose(candidates)
        if len(candidates) > 1:
            raise CatalogError(
                f"{' and '.join(candidates)} could both be {ours}: "
                + advice.format(ours=ours, theirs=candidates[0])
            )
        if candidates:
            found[ours] = candidates[0]
    return found


def has(names: Sequence[str], wanted: Iterable[str], stated: Mapping[str, str]) -> bool:
    """Return whether a table has all columns that are stated, and one or more for each wanted one of ours."""
    others = [ours for ours in wanted if ours not in stated]
    return set(stated.values()) <= set(names) and all(
        _candidates(ours, names, stated, USUAL) for ours in others
    )


def _candidates(
    ours: str,
    names: Sequence[str],
    found: Mapping[str, str],
    usual: Mapping[str, tuple[tuple[str, ...], ...]],
) -> list[str]:
    """Return the columns of a catalogue that could be ours, among those that are not another one."""
    if ours == "phot_g_mean_mag":
        names = [name for name in names if not _is_sloan(name, names)]
    names = [name for name in names if name not in found.values()]
    ranks = (
        _ranks_of_error(ours, names, found) if ours.endswith("_error") else ((ours,), *usual.get(ours, ()))
    )
    if ours in names and ours in ranks[0]:
        return [ours]
    spellings = list(zip(*map(_spellings, names), strict=True))
    for rank in ranks:
        # Names without additions are preferred to those that have some.
        for spelled in spellings:
            candidates = [name for name, spelling in zip(names, spelled, strict=True) if spelling in rank]
            if candidates:
                return candidates
    return []


def _is_sloan(name: str, names: Sequence[str]) -> bool:
    """Return whether a column is the g of SDSS or Pan-STARRS: in lower case, beside their r and i."""
    band = re.search(r"(?<![a-z])g(?![a-z])|^g(?=mag)", name)
    if band is None:
        return False
    return {name[: band.start()] + other + name[band.end() :] for other in "ri"} <= set(names)


def _error_names(name: str) -> tuple[str, ...]:
    return tuple(_ERRORS.format(name).split())


def _ranks_of_error(ours: str, names: Sequence[str], found: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the names that the errors of a column may have: those that are made of its own name."""
    value = ours.removesuffix("_error")
    if value not in found:
        return ((ours,),)
    theirs = _spellings(found[value])[1]
    before, plain, behind = _joined_parts(theirs)
    joined = (*_error_names(theirs), *(f"{before}{name}{behind}" for name in _error_names(plain)))
    # A column under a usual name may have errors under another one of the same group.
    first, *others = USUAL.get(value, ((),))
    group = next((group for group in ((value, *first), *others) if plain in group), (plain,))
    usual = tuple(spelled for name in group for spelled in _error_names(name))
    # Ours is that of another column if there is one of our name.
    return joined, usual, () if value in names else (ours,)
