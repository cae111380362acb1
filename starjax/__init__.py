"""starjax: age and mass of star clusters from sets of member stars, learned from N-body simulations."""

__version__ = "0.1.0"


def load(run):
    """A finished run, ready to answer for member lists (see `starjax.trained.load`)."""
    from starjax import trained

    return trained.load(run)
