"""Small valid files of every kind, functions that read them, and what must be true of accepted files."""

import base64
import bz2
import contextlib
import gzip
import io
import json
import lzma
import struct
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
from astropy.table import MaskedColumn, Table

from starjax import errors
from starjax.catalogs import member_list
from starjax.datasets import shard, split_manifest
from starjax.datasets.scalers import bundle
from starjax.evaluation import calibration, out_of_distribution
from starjax.io import unpickle
from starjax.nbody6 import caches
from starjax.runs import best_params
from starjax.runs.directory import RunDirectory

SELECTION = caches.Selection(("x", "name_length"), ("mass",), 2, False)
WITH_BINARIES = caches.Selection(("x", "abs_mag_g", "semi_major_axis_au", "companion"), ("mass",), 2, False)


def read_shard(path: Path) -> None:
    """Read a shard in both ways; one may refuse what the other accepts, but neither may crash."""
    if shard.is_mappable(path):
        with contextlib.suppress(shard.ShardError):
            _check_shard(shard.load_shard(path, mapped=True))
    _check_shard(shard.load_shard(path))


def _check_shard(found: shard.Shard) -> None:
    features = found.feature[:]
    assert features.shape == (found.ptr[-1], len(found.feature_keys))
    assert np.isfinite(features).all()
    assert np.isfinite(found.target).all()
    assert (np.diff(found.ptr) >= 0).all()


def read_novelty(path: Path) -> None:
    found = out_of_distribution.load(path)
    assert len(found.target) == len(found.num_star) == len(found.known)
    for key in found.range_keys:
        low, high = found.range_of(key)
        assert isinstance(low + high, float)


def read_params(path: Path) -> None:
    found = best_params.load_best(RunDirectory(path.parent), {"best": {"bias": np.ones((5, 4), np.float32)}})
    assert found.params["bias"].shape == (len(found.epochs), 4)
    assert np.isfinite(found.params["bias"]).all()
    assert all(isinstance(epoch, int) for epoch in found.epochs)


def read_manifest(path: Path) -> None:
    found = split_manifest.load_manifest(path)
    assert list(found) == ["train", "val", "test"]
    for run_ids in found.values():
        assert run_ids
        # Files of the build are named after the ids.
        assert all((path.parent / f"{run_id}.npz").parent == path.parent for run_id in run_ids)


def read_calibration(path: Path) -> None:
    found = calibration.load(path, ["time"])
    assert found.sigma.shape == (1,)
    assert found.stretch.shape == found.correlation.shape == found.level_error.shape == (2, 1)
    assert isinstance(found.num_simulation, int)


def read_bundle(path: Path) -> None:
    found = bundle.load_bundle(path)
    scaled = found.transform(np.ones((2, len(found.keys))), found.keys) if found.keys else np.zeros(1)
    assert scaled.dtype == np.float64


def read_cache(path: Path) -> None:
    found = caches.read_simulation(path, "r", SELECTION).shard
    _check_shard(found)
    assert np.isfinite(found.time_myr).all()


def read_cache_with_binaries(path: Path) -> None:
    found = caches.read_simulation(path, "zmet0014", WITH_BINARIES).shard
    _check_shard(found)
    companion = found.feature[:, 3]
    np.testing.assert_array_equal(np.flatnonzero(companion == 1) + 1, np.flatnonzero(companion == -1))


def read_pickle(path: Path) -> None:
    """Read a pickle and use its content, since a forged table might crash only then."""
    waiting, seen = [unpickle.load_pickle(path, unpickle.TABLES)], set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, dict):
            waiting += [*found, *found.values()]
        elif isinstance(found, list | tuple):
            waiting += found
        elif isinstance(found, pd.DataFrame):
            for i in range(found.shape[1]):
                assert len(found.iloc[:, i].to_numpy()) == len(found)
            assert list(found.columns) == list(found.columns.to_numpy())
        elif isinstance(found, np.ndarray | pd.Index):
            assert found[:].copy().shape == found.shape


def read_list(path: Path) -> None:
    found = member_list.read_member_list(path)
    assert len(found) >= 1
    for name in set(found.colnames) & set(member_list.column_units()):
        assert found[name].dtype == np.float64
        assert not np.isinf(found[name]).any()
    assert sum(map(len, member_list.split_clusters(found).values())) == len(found)


def _npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _deflated(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _joblib(content, **options) -> bytes:
    file = io.BytesIO()
    joblib.dump(content, file, **options)
    return file.getvalue()


def cache_content() -> dict:
    stars = pd.DataFrame(
        {
            "x": [1.0, 2.0, 3.0],
            "name_length": np.arange(3),
            "is_within_2x_r_tidal": [True, True, False],
            "name": ["a", None, "c"],
            "mixed": pd.Series([(1, 2), None, "s"], dtype=object),
        }
    )
    snapshot = {"time": 1.5, "header": {"time": 1.5, "mass": np.float64(7), "centre": (1, 2)}, "stars": stars}
    return {(50, 0, 0): {1.5: snapshot}}


def cache_content_with_binaries() -> dict:
    stars = pd.DataFrame(
        {
            "name": [1, 2, 3, 4],
            "x": [1.0, 2.0, 3.0, 4.0],
            "mass": [0.5, 1.0, 0.2, 2.0],
            "log_L_L_sol": [-1.4, 0.0, -2.2, 1.1],
            "log_T_eff_K": [3.6, 3.76, 3.5, 3.9],
            "log_R_R_sol": [-0.3, 0.0, -0.6, 0.2],
            "is_within_2x_r_tidal": [True, True, True, True],
        }
    )
    systems = pd.DataFrame({"pair": ["1+2"], "obj1_name": [1], "obj2_name": [2], "semi": [3.5]})
    header = {"time": 1.5, "mass": np.float64(7), "metallicity": 0.02}
    return {1.5: {"time": 1.5, "header": header, "stars": stars, "binary_systems": systems}}


def _tables() -> dict[str, bytes]:
    """A member list in all formats."""
    table = Table({"ra": [60.0, 61.0, 62.0], "dec": [10.0, 11.0, 12.0], "source_id": 10**18 + np.arange(3)})
    table["pmra"] = MaskedColumn([1.0, 2.0, 3.0], mask=[False, True, False], unit="mas/yr")
    table["cluster"] = ["one", "two", "one"]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, kind in LIST_FORMATS.items():
            path = Path(folder) / f"list.{suffix}"
            table.write(path, format=kind)
            found[suffix] = path.read_bytes()
    found["csv.gz"] = gzip.compress(found["csv"], mtime=0)
    found["csv.bz2"], found["csv.xz"] = bz2.compress(found["csv"]), lzma.compress(found["csv"])
    plain = pa.table({"ra": [60.0, 61.0], "dec": [10.0, 11.0], "cluster": ["one", "two"]})
    file = io.BytesIO()
    parquet.write_table(plain, file)
    found["plain.parquet"] = file.getvalue()
    binary = base64.b64encode(struct.pack(">4d", 60, 10, 61, 11)).decode()
    found["xml"] = (
        '<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        '<TABLE nrows="2"><FIELD name="ra" datatype="double"/>'
        '<FIELD name="dec" datatype="double" unit="deg"/>'
        f'<DATA><BINARY><STREAM encoding="base64">{binary}</STREAM></BINARY></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    ).encode()
    return found


LIST_FORMATS = {
    "csv": "ascii.csv",
    "ecsv": "ascii.ecsv",
    "parquet": "parquet",
    "fits": "fits",
    "vot": "votable",
    "mrt": "ascii.mrt",
    "tbl": "ascii.ipac",
}


def _seeds() -> dict[str, tuple[Callable[[Path], None], list[bytes]]]:
    a_shard = {
        "feature": np.ones((3, 2), np.float32),
        "feature_keys": np.array(["x", "y"]),
        "target": np.ones((2, 1), np.float32),
        "target_keys": np.array(["time"]),
        "ptr": np.array([0, 1, 3]),
        "run_id": np.array(["a", "b"]),
    }
    a_reference = {
        "center": np.zeros(2),
        "whitening": np.eye(2),
        "known": np.zeros((3, 2)),
        "threshold": np.float64(1),
        "num_star": np.ones(3),
        "target": np.ones((3, 1)),
        "range_keys": np.array(["time"]),
        "ranges": np.zeros((1, 2)),
    }
    a_model = {"epochs": np.array([3, 1]), "params/bias": np.ones((2, 4), np.float32)}
    by_level, unknown = {"0.68": 1.5, "0.95": 2.5}, {"0.68": 0.5, "0.95": None}
    a_calibration = {
        "num_simulation": 3,
        "targets": {
            "time": {"sigma": 1.0, "stretch": by_level, "correlation": unknown, "level_error": unknown}
        },
    }
    groups = [
        {"keys": ["x", "y"], "method": "robust", "params": {"center": 0.5, "scale": 2.0}},
        {"keys": ["z"], "method": "quantile", "params": {"quantiles": [0.0, 1.0, 2.0]}},
        {"keys": ["w"], "method": "power", "params": {"center": 0.5, "scale": 2.0, "exponent": 0.3}},
    ]
    kinds = {
        "shard.npz": (read_shard, [_npz(**a_shard), _deflated(**a_shard)]),
        "novelty.npz": (read_novelty, [_npz(**a_reference), _deflated(**a_reference)]),
        "params.npz": (read_params, [_npz(**a_model), _deflated(**a_model)]),
        "split.json": (
            read_manifest,
            [b'{"train": ["a", "b"], "val": ["c"], "test": ["d"], "note": [1, null]}'],
        ),
        "calibration.json": (read_calibration, [json.dumps(a_calibration).encode()]),
        "bundle.joblib": (read_bundle, [_joblib({"format": 1, "groups": groups})]),
        "r-obs.joblib": (
            read_cache,
            [*(_joblib(cache_content(), protocol=p) for p in (2, 5)), _joblib(cache_content(), compress=3)],
        ),
    }
    with_binaries = [_joblib(cache_content_with_binaries(), protocol=p) for p in (2, 5)]
    kinds["zmet0014-raw.joblib"] = (read_cache_with_binaries, with_binaries)
    content = [
        cache_content(),
        np.array(["a", "b"]),
        np.arange(3, dtype=">f8"),
        b"bytes",
        bytearray(b"b"),
        1j,
    ]
    kinds["any.joblib"] = (read_pickle, [_joblib(content, protocol=p) for p in (2, 3, 4, 5)])
    return kinds | {f"list.{kind}": (read_list, [content]) for kind, content in _tables().items()}


KINDS = _seeds()


def feed(kind: str, content: bytes, folder: Path) -> bool:
    """Read `content` as a file of a kind; return whether it was accepted.

    Raises:
      AssertionError or anything else: a finding.
    """
    path = folder / kind
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy and pandas warn of unusual but harmless values
        try:
            KINDS[kind][0](path)
        except errors.StarjaxError as error:
            refusal = str(error)
        else:
            return True
    assert kind in refusal, refusal
    assert len(refusal) < 5000, refusal
    return False
