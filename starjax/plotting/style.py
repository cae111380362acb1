"""Colours and axes that all figures share, and how figures are saved.

Matplotlib is used without its global state, so that no display is needed, and with its own defaults, so that
figures do not depend on the user's settings (fonts, colours, LaTeX).
"""

import contextlib
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib import font_manager, markers
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from starjax.io import files

# Distinguishable in greyscale as well.
DARK, WARM = "#0b3c6f", "#f0a830"
# Tints of DARK for regions and intervals of a posterior, the narrowest first.
REGIONS = ("#7fa3c7", "#c6d6e8")
# Arrows by the axis along which a point is farther from the panel, and whether it is above its upper end.
_ARROWS = {
    (0, False): markers.CARETLEFT,
    (0, True): markers.CARETRIGHT,
    (1, False): markers.CARETDOWN,
    (1, True): markers.CARETUP,
}


def default_settings() -> contextlib.ContextDecorator:
    """Return a context, and a decorator of functions that draw, in which matplotlib has its own defaults."""
    # Titles that stay where they are save a tenth of the time.
    return matplotlib.style.context(["default", {"axes.titley": 1.0}])


def signed(value: float, digits: int) -> str:
    """Return a number with the minus sign of axes (U+2212)."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def set_text_sizes(figure: Figure, labels: float, ticks: float) -> None:
    """Set the sizes of the labels of axes, and of their ticks [points]."""
    for axes in figure.axes:
        axes.tick_params(labelsize=ticks)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_fontsize(labels)


def plain_number(value: float) -> str:
    """Return a number without decimals that say nothing."""
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def plain_text(text: str, length: int, weight: str = "normal") -> str:
    """Return a text on one line, cut at a length, with a white square for each character without a glyph."""
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(weight=weight)))
    line = " ".join(text.split())
    line = line if len(line) <= length else f"{line[: length - 1]}…"
    return "".join(character if font.get_char_index(ord(character)) else "□" for character in line)


def plain_numbers(axis, low: float, high: float) -> None:
    """Label a logarithmic axis from `low` to `high` with plain numbers, without powers of ten.

    A factor of three has about as many ticks as a linear axis, since a few per decade may leave none.
    """
    if high < 3 * low:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    else:
        many = {5: (1, 1.5, 2, 3, 5, 7), 10: (1, 2, 3, 5), 50: (1, 2, 5), 1000: (1, 3)}
        subs = next((subs for factor, subs in many.items() if high < factor * low), (1,))
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


def draw_points(axes: Axes, points: np.ndarray, arrow_size: float = 5.5, **how: Any) -> int:
    """Draw points (n, 2) into a panel whose limits are set; return how many are beyond it.

    These are arrows at its edge, that point to where they are.

    Args:
      arrow_size: size of the arrows [points].
      how: as for `Axes.plot`.
    """
    place = axes.transAxes.inverted().transform(axes.transData.transform(points))
    is_inside = ((place >= 0) & (place <= 1)).all(axis=1)
    axes.plot(*points[is_inside].T, **how)
    beyond = place[~is_inside]
    farther = np.abs(beyond - 0.5).argmax(axis=1)
    is_above = np.take_along_axis(beyond, farther[:, None], axis=1)[:, 0] > 0.5
    arrow = how | {"markersize": arrow_size, "markeredgewidth": 0.5, "zorder": 3}
    arrow |= {"clip_on": False, "transform": axes.transAxes}
    for (axis, above), marker in _ARROWS.items():
        edge = np.clip(beyond[(farther == axis) & (is_above == above)], 0, 1)
        axes.plot(*edge.T, **arrow | {"marker": marker})
    return len(beyond)


@default_settings()
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
