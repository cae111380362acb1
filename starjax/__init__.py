"""starjax: age and mass of star clusters from sets of member stars, learned from N-body simulations."""

__version__ = "0.1.0"
