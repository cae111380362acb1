"""Make the packaged table of bolometric corrections for Gaia EDR3's G, BP and RP, from the tables of MIST.

    pip download astrolachesis==1.0.9 --no-deps && unzip astrolachesis-1.0.9-py3-none-any.whl
    python -m tools.make_bolometric_corrections --tables=lachesis/Datafiles/BC_tables/bc_tables.h5 \
        --out=starjax/nbody6/bolometric_corrections.npz

It needs h5py, which starjax does not. `starjax/nbody6/magnitudes.py` describes the table and its source.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from starjax.io import files
from starjax.nbody6.magnitudes import BANDS

# bc_tables.h5 of astrolachesis 1.0.9: the grid of MIST 1.2.
SHA256 = "164f12ac758b6b454bbde9b08c28b1d0e51dbe08e2108d7a44723fc06fdf2f12"
# The group of the file; its rows are T_eff [K], log g [cgs], [Fe/H], A_V, R_V and the corrections.
_GROUP, _NUM_COORDINATE = "UBVRIplus", 5
# Kept in the file, as the licence of the package demands.
NOTICE = """\
Bolometric corrections of MIST 1.2 (Dotter 2016, ApJS 222, 8; Choi et al. 2016, ApJ 823, 102), as distributed
in astrolachesis 1.0.9 under the MIT License, Copyright (c) 2026 José Vines:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of
the Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO
EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN
AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE
OR OTHER DEALINGS IN THE SOFTWARE.
"""
# Of [Fe/H]: more than the stellar evolution of NBODY6 can have (Hurley et al. 2000: Z from 0.0001 to 0.03).
METALLICITIES = (-2.5, 0.5)


def read_rows(path: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return rows (n_metallicity, n_row, 5 + n_band), [Fe/H] (n_metallicity,) and the names of the bands."""
    import h5py  # not a dependency of starjax

    with h5py.File(path, "r") as file:
        group = file[_GROUP]
        names = [name.decode() for name in group["band_names"][:]]
        return group["data"][:].astype(np.float64), group["feh_values"][:], names


def make_table(rows: np.ndarray, metallicity: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arrays of the packaged table: axes, corrections without extinction [mmag], and a notice.

    Args: what `read_rows` returns.
    """
    is_wanted = (metallicity >= METALLICITIES[0]) & (metallicity <= METALLICITIES[1])
    # All metallicities have the same points, in the same order.
    t_eff, gravity, _, extinction = rows[0, :, :4].T
    order = np.lexsort((gravity, t_eff, extinction))[: np.sum(extinction == 0)]
    t_effs, gravities = np.unique(t_eff), np.unique(gravity)
    columns = [_NUM_COORDINATE + names.index(band) for band in BANDS]
    correction = rows[is_wanted][:, order][:, :, columns]
    shape = (int(is_wanted.sum()), len(t_effs), len(gravities), len(BANDS))
    return {
        "metallicity": metallicity[is_wanted],
        "log_t_eff": np.log10(t_effs),
        "log_gravity": gravities,
        "correction_mmag": np.rint(1000 * correction.reshape(shape)).astype(np.int16),
        "notice": np.array(NOTICE),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--tables", type=Path, required=True, help="bc_tables.h5 of astrolachesis 1.0.9")
    options.add_argument("--out", type=Path, required=True, help="the file to write, .npz")
    arguments = options.parse_args(argv)
    digest = hashlib.sha256(arguments.tables.read_bytes()).hexdigest()
    if digest != SHA256:
        options.error(f"--tables={arguments.tables} is not the file of astrolachesis 1.0.9 ({digest})")
    table = make_table(*read_rows(arguments.tables))
    with files.atomic_write(arguments.out) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **table)
    print(f"wrote {arguments.out} with {table['correction_mmag'].size} corrections")


if __name__ == "__main__":
    main()
