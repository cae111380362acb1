"""Extinction in Gaia EDR3's passbands, and its inversion.

Extinction in a broad band depends on the spectrum that passes through it: a red star loses less light than a
blue one in the same band. The coefficients are those of DPAC ("Extinction law in Gaia EDR3",
cosmos.esa.int/web/gaia/edr3-extinction-law, file Fitz19_EDR3_MainSequence.csv): cubic in the intrinsic colour
and in the extinction, for the extinction curve of Fitzpatrick et al. 2019 (ApJ 886, 108) and dwarfs of solar
metallicity of 3,500 to 10,000 K, by the method of Danielski et al. 2018 (A&A 614, A19). Those of giants
differ by less than 1 %, in BP by up to 3 % for the reddest.

All functions take numpy arrays or jax arrays (also traced) of magnitudes; extinctions may be numbers, too.
"""

# Extinction in Gaia EDR3's passbands per A_V, for a G2 V star and the extinction curve of Cardelli et al.
# 1989 and O'Donnell 1994 with R_V = 3.1, as the PARSEC isochrones list it (stev.oapd.inaf.it/cmd). It varies
# by some 10 % with colour.
EXTINCTION_G, EXTINCTION_BP, EXTINCTION_RP = 0.83627, 1.08337, 0.63439

# Relative standard error of an A_V that was found from reddening: R_V, by which they differ, scatters by 0.18
# about 3.3 in the Galactic disc (Schlafly et al. 2016, ApJ 821, 78).
LAW_ERROR = 0.06

# Intrinsic BP-RP [mag] beyond which coefficients are constant. The published relation is for -0.06 to 2.5.
# Bluer, it still agrees within 3 % with the extinction in MIST's bolometric corrections (Choi et al. 2016).
# Redder than its last spectra (3,500 K) the cubic of BP turns upwards, while in MIST extinction goes on
# falling: constant coefficients are 3 % too large in BP and 11 % in G at a colour of 3.2.
COLOUR_RANGE = (-0.5, 2.2)

# Columns of the published table, for kG, kBP and kRP: 1, X, X^2, X^3, A, A^2, A^3, X A, X^2 A, X A^2, with
# X = (BP-RP)_0 and A = A_0.
_PUBLISHED_G = (
    *(0.995969721536602, -0.159726460302015, 0.0122380738156057, 0.00090726555099859, -0.0377160263914123),
    *(0.00151347495244888, -2.52364537395142e-05, 0.0114522658102451, -0.000936914989014318),
    -0.000260296774134201,
)
_PUBLISHED_BP = (
    *(1.15363197483424, -0.0814012991657388, -0.036013023976704, 0.0192143585568966, -0.022397548243016),
    *(0.000840562680547171, -1.31018008013549e-05, 0.00660124080271006, -0.000882247501989453),
    -0.000111215755291684,
)
_PUBLISHED_RP = (
    *(0.66320787941067, -0.0179847164933981, 0.000493769449961458, -0.00267994405695751),
    *(-0.00651422146709376, 3.30179903473159e-05, 1.57894227641527e-06, -7.9800898337247e-05),
    *(0.000255679812110045, 1.10476584967393e-05),
)
# A_BP - A_RP is what reddens.
_PUBLISHED_BP_RP = tuple(bp - rp for bp, rp in zip(_PUBLISHED_BP, _PUBLISHED_RP, strict=True))

# Two steps of Newton's method would do, if coefficients did not stop changing at the ends of the range.
_NUM_NEWTON = 3


def extinction_coefficients(bp_rp_0, extinction_v=0.0):
    """Return A_G, A_BP and A_RP per A_V for intrinsic colours BP-RP [mag].

    Args:
      bp_rp_0: any shape; see `COLOUR_RANGE`. A colour of NaN has coefficients of NaN.
      extinction_v: A_V [mag], up to 20, of a shape that broadcasts. The coefficients fall by 3 % per mag in
        G, because what is left of the light is redder; the default is the limit of weak extinction. The
        published relation is for the extinction A_0 at 550 nm, which differs from A_V by less than 2 %.

    Returns:
      Three arrays of the shape of the colours.
    """
    colour = bp_rp_0.__array_namespace__().clip(bp_rp_0, *COLOUR_RANGE)
    published = (_PUBLISHED_G, _PUBLISHED_BP, _PUBLISHED_RP)
    return tuple(_cubic(_in_colour(terms, extinction_v), colour) for terms in published)


def reddened(g_0, bp_rp_0, extinction_v):
    """Return G and BP-RP [mag] of stars behind an extinction A_V [mag].

    Args:
      g_0: magnitudes, apparent or absolute.
      bp_rp_0: intrinsic colours, of the same shape.
      extinction_v: as for `extinction_coefficients`.
    """
    k_g, k_bp, k_rp = extinction_coefficients(bp_rp_0, extinction_v)
    return g_0 + k_g * extinction_v, bp_rp_0 + (k_bp - k_rp) * extinction_v


def intrinsic(g, bp_rp, extinction_v):
    """Return G and BP-RP [mag] without an extinction A_V [mag], the inverse of `reddened`.

    The extinction depends on the intrinsic colour, which is found by a fixed number of Newton's steps, so
    that the function can be compiled and differentiated. It is exact to 0.2 mmag for A_V up to 5 mag, and to
    0.01 mmag up to 3 mag. Without a colour (NaN) there is no intrinsic magnitude: the results are NaN.
    """
    xp = bp_rp.__array_namespace__()
    low, high = COLOUR_RANGE
    reddening = _in_colour(_PUBLISHED_BP_RP, extinction_v)
    _, linear, square, cube = reddening
    bp_rp_0 = bp_rp - (EXTINCTION_BP - EXTINCTION_RP) * extinction_v
    for _ in range(_NUM_NEWTON):
        colour = xp.clip(bp_rp_0, low, high)
        excess = bp_rp_0 + _cubic(reddening, colour) * extinction_v - bp_rp
        # Beyond the range the reddening is constant.
        slope = xp.where(colour == bp_rp_0, linear + colour * (2 * square + colour * 3 * cube), 0.0)
        bp_rp_0 = bp_rp_0 - excess / (1 + slope * extinction_v)
    k_g, _, _ = extinction_coefficients(bp_rp_0, extinction_v)
    return g - k_g * extinction_v, bp_rp_0


def _in_colour(published, extinction_v) -> tuple:
    """Return the coefficients of a cubic in the colour, lowest order first, at an extinction A_V [mag]."""
    one, x, x2, x3, a, a2, a3, xa, x2a, xa2 = published
    return (
        one + extinction_v * (a + extinction_v * (a2 + extinction_v * a3)),
        x + extinction_v * (xa + extinction_v * xa2),
        x2 + extinction_v * x2a,
        x3,
    )


def _cubic(coefficients, x):
    constant, linear, square, cube = coefficients
    return constant + x * (linear + x * (square + x * cube))
