"""The corner plot of a cluster: its joint posterior for each pair of targets, and each target by itself."""

import io

import numpy as np
from matplotlib.figure import Figure

from starjax.evaluation.posterior import Posterior
from starjax.plotting import corner_panels, style
from starjax.plotting.corner_panels import Scale, Target

# Width of a panel [inches], and the length at which names are cut [characters].
_PANEL, _MAX_NAME = 3.2, 70


class CornerFigure(Figure):
    """A figure that notebooks show, also those that do not import pyplot."""

    @style.default_settings()
    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


@style.default_settings()
def draw_corner(posterior: Posterior, cluster: str) -> Figure:
    """Return the corner plot of a cluster: regions of its joint posterior, and its calibrated intervals.

    Args:
      posterior: the posterior of all clusters of a prediction.
      cluster: its name.

    Raises:
      KeyError: there is no cluster of this name.
    """
    samples = posterior.samples(cluster, corner_panels.NUM_SAMPLE)
    rows = posterior.table[posterior.table["cluster"] == cluster].set_index("target_key")
    targets = [
        Target(key, rows.loc[key].to_dict(), values, Scale.of(key, values), (-np.inf, np.inf))
        for key, values in ((key, samples[key].to_numpy()) for key in samples)
    ]
    num = len(targets)
    figure = CornerFigure(figsize=(_PANEL * num, _PANEL * num))
    grid = figure.add_gridspec(num, num, left=0.22 / num**0.5, right=0.97, bottom=0.18 / num**0.5, top=0.88)
    corner_panels.draw_corner(figure, grid, targets)
    # A name may contain a dollar sign.
    figure.suptitle(style.plain_text(cluster, _MAX_NAME), fontsize=11, parse_math=False)
    return figure
