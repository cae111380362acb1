"""Extinction in front of a cluster from maps of dust that the user has, through the package dustmaps.

Maps state reddening in units of their own. Each has one factor to A_V:

- `bayestar2019` (Green et al. 2019, ApJ 887, 93; north of declination -30 degrees, to several kpc): 2.742, as
  for `sfd`, whose unit it has (argonaut.skymaps.info/usage: E(B-V) is 0.884 of it, with R_V = 3.1).
- `edenhofer2023` (Edenhofer et al. 2024, A&A 685, A82; whole sky, 69 pc to 1.25 kpc): 2.8, the extinction
  curve of Zhang, Green & Rix 2023 (MNRAS 524, 1855) at V, whose unit it has.
- `sfd` (Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525; all dust along the line of sight): 2.742 (Schlafly &
  Finkbeiner 2011, ApJ 737, 103, table 6, for Landolt V and R_V = 3.1).
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from starjax import errors


class DustMapError(errors.StarjaxError):
    """A map that is not known, or not on this machine."""


@dataclasses.dataclass(frozen=True)
class _Kind:
    """A map of the package dustmaps.

    Attributes:
      module, query: the class of its queries, and the module that has it.
      options: arguments of that class.
      question: arguments of a query.
      a_v: A_V of one unit of the map [mag].
      is_total: True if it has all dust along the line of sight, so that nearer stars have less.
    """

    module: str
    query: str
    a_v: float
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    question: Mapping[str, str] = dataclasses.field(default_factory=dict)
    is_total: bool = False


_KINDS: Mapping[str, _Kind] = {
    "bayestar2019": _Kind(
        *("bayestar", "BayestarQuery", 2.742), {"version": "bayestar2019"}, {"mode": "samples"}
    ),
    "edenhofer2023": _Kind(
        *("edenhofer2023", "Edenhofer2023Query", 2.8), {"integrated": True}, {"mode": "mean"}
    ),
    "sfd": _Kind("sfd", "SFDQuery", 2.742, is_total=True),
}
NAMES = tuple(_KINDS)


@dataclasses.dataclass(frozen=True)
class DustMap:
    """A map of dust.

    Attributes:
      name: one of `NAMES`.
      query: returns one or more samples of the map at astropy coordinates with a distance.
      a_v: A_V of one unit of the map [mag].
      is_total: True if it has all dust along the line of sight, so that nearer stars have less.
    """

    name: str
    query: Callable[..., Any] = dataclasses.field(repr=False)
    a_v: float
    is_total: bool = False

    def extinction_v_mag(self, centre: tuple[float, float], distance_pc: float) -> tuple[float, float | None]:
        """Return A_V and its standard error among samples [mag]; None if the map has a single value.

        Both are NaN where the map has no value.

        Args:
          centre: (ra, dec) [deg].
          distance_pc: distance.
        """
        from astropy import units
        from astropy.coordinates import SkyCoord

        at = SkyCoord(*centre * units.deg, distance=distance_pc * units.pc)
        samples = self.a_v * np.atleast_1d(np.asarray(self.query(at), np.float64))
        error = float(samples.std(ddof=1)) if len(samples) > 1 else None
        return float(samples.mean()), error


def load_map(name: str) -> DustMap:
    """Load a map of dust; it may take minutes and gigabytes of memory.

    Args:
      name: one of `NAMES`.

    Raises:
      DustMapError: there is no such map, the package dustmaps is not installed, or its data are missing.
    """
    if name not in _KINDS:
        raise DustMapError(f"extinction_map={name}: known maps of dust are {', '.join(NAMES)}")
    if importlib.util.find_spec("dustmaps") is None:
        raise DustMapError(f"extinction_map={name} needs the package dustmaps: pip install dustmaps")
    kind = _KINDS[name]
    # The package prints what it does, and warns if it has no file of settings.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = importlib.import_module(f"dustmaps.{kind.module}")
        try:
            query = getattr(module, kind.query)(**kind.options)
        except OSError as error:
            is_missing = isinstance(error, FileNotFoundError)
            reason = "is not on this machine" if is_missing else f"cannot be read ({error!s:.200})"
            raise DustMapError(
                f"extinction_map={name}: the map {reason}. Download it: python -c 'import "
                f"dustmaps.{kind.module} as one; one.fetch()'; or say in which folder it is, see "
                "Installation on dustmaps.readthedocs.io"
            ) from error
    return DustMap(name, lambda at: query(at, **kind.question), kind.a_v, kind.is_total)
