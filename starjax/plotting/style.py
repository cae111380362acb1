"""Figures of a run. Matplotlib is used without its global state, so that nothing needs a display."""

from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from starjax.io import files

# Apart in greyscale, too.
DARK, WARM = "#0b3c6f", "#f0a830"


def signed(value: float, digits: int) -> str:
    """A number with the minus sign that the axes have."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def plain_numbers(axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis as plain numbers: in a short range as many as a linear one has, else by decades."""
    if high < 10 * low:
        axis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,)))
    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axis.set_minor_locator(NullLocator())


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG."""
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150)
