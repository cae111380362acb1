"""Colours and axes that all figures share, and how figures are saved.

Matplotlib is used without its global state, so that no display is needed, and with its own defaults, so that
figures do not depend on the user's settings (fonts, colours, LaTeX).
"""

import contextlib
from pathlib import Path

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from starjax import quantities
from starjax.evaluation.calibration import PERCENTILES
from starjax.io import files

# Distinguishable in greyscale as well.
DARK, WARM = "#0b3c6f", "#f0a830"
# The axis of a target is logarithmic if the widest interval spans this factor.
_LOGARITHMIC_FROM = 3.0


def default_settings() -> contextlib.ContextDecorator:
    """Return a context, and a decorator of functions that draw, in which matplotlib has its own defaults."""
    return matplotlib.style.context("default")


def signed(value: float, digits: int) -> str:
    """Return a number with the minus sign of axes (U+2212)."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def plain_numbers(axis, low: float, high: float) -> None:
    """Label a logarithmic axis from `low` to `high` with plain numbers, without powers of ten.

    A factor of three has about as many ticks as a linear axis, since a few per decade may leave none.
    """
    if high < 3 * low:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    else:
        many = {10: (1, 2, 3, 5), 50: (1, 2, 5), 1000: (1, 3)}
        subs = next((subs for factor, subs in many.items() if high < factor * low), (1,))
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


def is_logarithmic(key: str, row) -> bool:
    """Return True if the axis of a target is logarithmic, for a row of the posterior table."""
    low, high = (row[f"{bound}_physical"] for bound in PERCENTILES[-1])
    return quantities.get(key).is_logarithmic or (lowest(row) > 0 and high > _LOGARITHMIC_FROM * low)


def lowest(row) -> float:
    """Return where a logarithmic axis begins, for a row of the posterior table; 0 if it cannot."""
    # Bounds that would be negative are zero.
    widest, narrowest = (row[f"{low}_physical"] for low, _ in PERCENTILES[::-1])
    return widest / 2 if widest > 0 else narrowest / 10


def interval_text(key: str, row) -> str:
    """Return the median and the narrowest interval of a target, for a row of the posterior table."""
    low, high = (row[f"{bound}_physical"] for bound in PERCENTILES[0])
    return f"{row['prediction_physical']:,.0f} ({low:,.0f} to {high:,.0f}) {quantities.unit(key)}"


@default_settings()
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
