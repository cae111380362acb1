"""Age and mass of star clusters from sets of member stars, learned from N-body simulations."""

__version__ = "0.1.0"


def load(run):
    """Load a finished run as a `Predictor` (see `starjax.inference.predictor.load_predictor`).

    Args:
      run: the run directory.
    """
    from starjax.inference.predictor import load_predictor  # jax and astropy take seconds to import

    return load_predictor(run)
