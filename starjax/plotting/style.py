"""Colours and axes that all figures share, and how figures are saved.

Matplotlib is used without its global state, so that no display is needed, and with its own defaults, so that
figures do not depend on the user's settings (fonts, colours, LaTeX).
"""

import contextlib
from pathlib import Path

import matplotlib.style
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from starjax.io import files

# Distinguishable in greyscale as well.
DARK, WARM = "#0b3c6f", "#f0a830"
# Tints of DARK for regions and intervals of a posterior, the narrowest first.
REGIONS = ("#7fa3c7", "#c6d6e8")


def default_settings() -> contextlib.ContextDecorator:
    """Return a context, and a decorator of functions that draw, in which matplotlib has its own defaults."""
    return matplotlib.style.context("default")


def signed(value: float, digits: int) -> str:
    """Return a number with the minus sign of axes (U+2212)."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def set_text_sizes(figure: Figure, labels: float, ticks: float) -> None:
    """Set the sizes of the labels of axes, and of their ticks [points]."""
    for axes in figure.axes:
        axes.tick_params(labelsize=ticks)
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(labels)


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

    A factor of five has about as many ticks as a linear axis, since a few per decade may leave none.
    """
    if high < 5 * low:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    else:
        many = {10: (1, 2, 3, 5), 50: (1, 2, 5), 1000: (1, 3)}
        subs = next((subs for factor, subs in many.items() if high < factor * low), (1,))
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


@default_settings()
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG."""
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
