"""Whatever form a list has, its features are the same."""

import bz2
import functools
import gzip
import lzma

import numpy as np
import pyarrow as pa
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View
from tests.catalogs.conftest import make_cluster
from tests.catalogs.member_lists import IDENTITIES

FORMATS = {
    ".csv": {"format": "ascii.csv"},
    ".tsv": {"format": "ascii.tab"},
    ".txt": {"format": "ascii.commented_header"},
    ".ecsv": {"format": "ascii.ecsv", "delimiter": ","},
    ".fits": {"format": "fits"},
    ".vot": {"format": "votable", "tabledata_format": "binary"},
    ".xml": {"format": "votable"},
    ".parquet": {"format": "parquet"},
    ".mrt": {"format": "ascii.mrt"},
    ".tbl": {"format": "ascii.ipac"},
}
COMPRESS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
KEYS = ("y", "z", "vy", "vz", "v_error_kms", "abs_mag_g", "bp_rp_0")


@functools.cache
def listed():
    """Return a cluster with missing values and repeated rows, and its features in the order of identities."""
    table = make_cluster(num_star=60, distance=150.0, parallax_error=0.1, motion_error=0.1, seed=3).table
    random = np.random.default_rng(3)
    table["phot_g_mean_mag"], table["bp_rp"] = random.normal(12, 1, 60), random.normal(1, 0.1, 60)
    for name, row in (("pmra", 3), ("radial_velocity", 4), ("bp_rp", 5), ("parallax", 6)):
        table[name] = MaskedColumn(table[name], mask=np.arange(60) == row)
    table["source_id"] = IDENTITIES[0] + np.arange(60)
    table.remove_column("row")
    table.meta.clear()
    for row in (10, 11):
        table.add_row(table[row])
    table["pmra"][-1] = np.ma.masked
    for name, unit in member_list.column_units().items():
        if name in table.colnames:
            table[name].unit = unit
    return table, features_by_identity(member_list.check_member_list(table, "here"))


def features_by_identity(found):
    members = derive_features(found, KEYS, View())
    order = np.argsort(members.table["source_id"])
    return members.feature[order]


def to_arrow(table):
    return pa.Table.from_pandas(table.to_pandas())


@given(
    kind=st.sampled_from([*FORMATS, "table", "quantities", "frame", "arrow"]),
    seed=st.integers(0, 2**32 - 1),
    more=st.lists(st.sampled_from(["flag", "note", "ra_error", "g_flux"]), unique=True),
    compression=st.sampled_from([*COMPRESS]),
)
@settings(max_examples=12, deadline=None)
def test_order_format_and_further_columns_change_nothing(tmp_path_factory, kind, seed, more, compression):
    table, expected = listed()
    table = table.copy()
    random = np.random.default_rng(seed)
    for name in more:
        table[name] = random.choice(["a", "b c"], len(table)) if name == "note" else random.random(len(table))
    table = table[random.permutation(len(table))][list(random.permutation(table.colnames))]
    if kind in FORMATS:
        path = tmp_path_factory.mktemp("lists") / f"list{kind}"
        (QTable(table) if kind in (".ecsv", ".fits") else table).write(path, **FORMATS[kind])
        content = COMPRESS[compression](path.read_bytes())
        path = path.with_name(path.name + compression)
        path.write_bytes(content)
        found = member_list.read_member_list(path)
    else:
        convert = {"table": Table, "quantities": QTable, "frame": Table.to_pandas, "arrow": to_arrow}[kind]
        found = member_list.check_member_list(convert(table), "here")
    assert set(found.meta["unused"]) == set(more)
    np.testing.assert_allclose(features_by_identity(found), expected, rtol=1e-8, atol=1e-10)
