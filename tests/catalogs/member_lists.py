"""Small member catalogues, in memory and as files."""

import gzip

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, Table

# Neighbouring identities that no float can tell apart.
IDENTITIES = 4611686018427387905 + np.arange(12)
RADIAL = np.array([1.5, np.nan] * 6)
# VizieR's names by Gaia's.
ASTROMETRY = {
    "ra": "RA_ICRS",
    "dec": "DE_ICRS",
    "parallax": "Plx",
    "parallax_error": "e_Plx",
    "pmra": "pmRA",
    "pmra_error": "e_pmRA",
    "pmdec": "pmDE",
    "pmdec_error": "e_pmDE",
    "bp_rp": "BP-RP",
}


def stars(*, missing=True):
    """Return a small catalogue in our units."""
    random = np.random.default_rng(1)
    table = Table({"source_id": IDENTITIES})
    table["ra"] = random.uniform(60, 70, 12) * u.deg
    table["dec"] = random.uniform(10, 20, 12) * u.deg
    table["parallax"] = random.normal(21, 1, 12) * u.mas
    table["pmra"] = random.normal(100, 1, 12) * u.mas / u.yr
    table["phot_g_mean_mag"] = random.normal(12, 1, 12) * u.mag
    if missing:
        table["radial_velocity"] = MaskedColumn(RADIAL, mask=np.isnan(RADIAL), unit=u.km / u.s)
    table["name"] = [f"star {i}" for i in range(12)]
    return table


def write(table, path):
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".parquet":
        table.to_pandas().to_parquet(plain)
    else:
        formats = {
            ".csv": "ascii.csv",
            ".ecsv": "ascii.ecsv",
            ".fits": "fits",
            ".vot": "votable",
            ".xml": "votable",
        }
        table.write(plain, format=formats[plain.suffix])
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


def csv(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path
