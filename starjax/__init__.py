"""Infer the age and mass of star clusters from sets of member stars, by learning from N-body simulations."""

__version__ = "0.1.0"


def load(run):
    """Return a finished run as a `starjax.inference.predictor.Predictor`.

    Args:
      run: name of a packaged model, such as 'gaia', or path of a run directory. Text without a separator is a
        directory only if no packaged model has this name; './gaia' and a `pathlib.Path` always are.

    Raises:
      starjax.errors.StarjaxError: the run does not exist, is not finished, or is damaged.
    """
    from starjax.inference.loading import load_predictor  # imports jax and astropy, which takes seconds

    return load_predictor(run)
