"""Member catalogues in Parquet: content that expands, damaged headers, and threads that outlive an error."""

import io
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest


def written(table, **options):
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def with_header(key, text):
    table = pa.table({"ra": [60.0, 61.0], "dec": [10.0, 11.0]})
    return written(table.replace_schema_metadata({key: text}))


PARQUETS = {
    "rows": (lambda: written(pa.table({"ra": np.zeros(10**7), "dec": np.zeros(10**7)})), "bytes of memory"),
    "one text in all rows": (
        lambda: written(pa.table({"ra": np.zeros(50_000), "name": pa.array(["x" * 2000] * 50_000)})),
        "bytes of memory",
    ),
    "python": (lambda: with_header("table_meta_yaml", "datatype: !!python/name:os.system"), "os.system"),
    "damage": (lambda: with_header("table_meta_yaml", "{"), "damaged header"),
    "depth": (lambda: with_header("pandas", "[" * 50_000), "cannot be read"),
    "schema": (lambda: with_header("ARROW:schema", "AAAA"), "is damaged"),
    "text that is none": (
        lambda: written(pa.table({"ra": [60.0], "name": pa.array([b"\xff"]).view(pa.string())})),
        "is damaged",
    ),
    "lists for numbers": (
        lambda: written(pa.table({"ra": [[60.0]], "dec": [10.0]})),
        r"column ra holds '\[60",
    ),
}


@pytest.mark.parametrize("name", PARQUETS)
def test_invalid_parquet_is_refused(refused, name):
    make, said = PARQUETS[name]
    refused("list.parquet", make(), said)


READ_AND_END = """
import os, sys
from starjax.catalogs import column_values, member_list
for _ in range(20):
    child = os.fork()
    if not child:
        try:
            member_list.read_member_list(sys.argv[1])
        except column_values.CatalogError:
            sys.exit(3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.weekly
def test_a_damaged_parquet_leaves_no_thread_that_aborts_the_process(tmp_path):
    """Threads of pyarrow release memory of Python after the error: SIGABRT or SIGSEGV, one time in five."""
    (tmp_path / "list.parquet").write_bytes(PARQUETS["depth"][0]())
    ended = subprocess.run(
        [sys.executable, "-c", READ_AND_END, tmp_path / "list.parquet"], capture_output=True, text=True
    )
    assert ended.stdout.split() == ["3"] * 20, ended.stderr
