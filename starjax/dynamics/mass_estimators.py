"""Classical masses of a cluster from positions and velocities on the sky.

They assume that the cluster is in equilibrium and that its stars trace its mass. Clusters that lose stars
fulfil neither exactly; escaping stars and the Galaxy's tides make these masses too large.

The virial coefficient η follows from a Plummer sphere (Plummer 1911, MNRAS 71, 460) of mass M and scale a:
  projected mass within R: M R² / (R² + a²), half of which is within R_h = a;
  mass within r: M r³ / (r² + a²)^(3/2), half of which is within r_h = a / √(2^(2/3) - 1) = 1.305 a;
  potential energy: W = -3π G M² / 32 a; in equilibrium 2 K = -W, with K = 3/2 M σ², so that σ² = π G M / 32
  a.
Hence M = η σ² r / G, with η = 32/π = 10.19 for r = R_h, or 7.81 for r = r_h. Without distances along the line
of sight r_h is only known as 1.305 R_h, so that the two give the same mass.
"""

import dataclasses

import numpy as np
from astropy import constants, units
from scipy.spatial.distance import cdist

from starjax.dynamics import velocity_dispersion
from starjax.errors import StarjaxError

# Gravitational constant [pc (km/s)² / Msun].
G = constants.G.to_value(units.pc * (units.km / units.s) ** 2 / units.Msun)
PLUMMER_ETA = 32 / np.pi
# With fewer stars not even the standard errors are meaningful. Predictions need more, `quantities.MIN_STARS`.
MIN_STARS = 5
# Pairs closer than this fraction of R_h are binaries, and do not trace the potential of the cluster.
CLOSEST_PAIR = 0.01
# Stars whose separations from all others are in memory at a time.
_BLOCK = 512


class MassEstimatorError(StarjaxError):
    """Stars that no mass can be estimated from."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and its standard error, NaN if there is none."""

    value: float
    standard_error: float


UNKNOWN = Estimate(np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class MassEstimates:
    """Classical estimates for one cluster.

    Attributes:
      num_star, num_member: number of stars, and of those that are members rather than background (see
        `velocity_dispersion.fit_dispersion`).
      sigma_1d_kms: velocity dispersion of one component [km/s]. If the velocity errors account for all
        scatter it is 0, and its standard error is the size that it may have.
      r_half_projected_pc: projected half-number radius of the members [pc].
      mass: masses [Msun] by the names in `ESTIMATORS`.
      note: why estimates are missing or uncertain; empty if they are not.
    """

    num_star: int
    num_member: int
    sigma_1d_kms: Estimate
    r_half_projected_pc: Estimate
    mass: dict[str, Estimate]
    note: str


@dataclasses.dataclass(frozen=True)
class TracerStars:
    """The n members of one cluster, which trace its potential.

    Attributes:
      position: (n, 2), projected positions about the centre [pc].
      velocity: (n, 2), velocities about the mean [km/s].
      noise: (n, 2), squared errors of the velocities [(km/s)²].
      weight: (n, 2), weights of the components of the velocities.
      variance: variance of one component of the velocity [(km/s)²].
      variance_influence: (n,), influence function of `variance`, see `velocity_dispersion.standard_error`.
      half_radius: projected half-number radius [pc].
      half_radius_influence: (n,), influence function of `half_radius`.
    """

    position: np.ndarray
    velocity: np.ndarray
    noise: np.ndarray
    weight: np.ndarray
    variance: float
    variance_influence: np.ndarray
    half_radius: Estimate
    half_radius_influence: np.ndarray


def virial(tracers: TracerStars) -> Estimate:
    """Return the virial mass M = η σ² R_h / G, with η = 32/π for a Plummer sphere [Msun].

    The docstring of the module derives η.

    Source: Portegies Zwart, McMillan & Gieles 2010, ARA&A 48, 431, with η about 10.
    """
    return _virial_estimate(tracers, PLUMMER_ETA, tracers.half_radius.value, tracers.half_radius_influence)


def wolf(tracers: TracerStars) -> Estimate:
    """Return M = 2 × 4 σ² R_h / G, twice the mass within the three-dimensional half-light radius [Msun].

    The estimator assumes a dispersion that hardly decreases outwards. If the stars are all of the mass it
    does decrease: for a Plummer sphere the result is π/4 of the mass, since 8 takes the place of 32/π.

    Source: Wolf et al. 2010, MNRAS 406, 1220 (930 σ² R_e within half of the light).
    """
    return _virial_estimate(tracers, 8.0, tracers.half_radius.value, tracers.half_radius_influence)


def projected_virial(tracers: TracerStars) -> Estimate:
    """Return M = 3π σ² R_H / G, with R_H the harmonic mean separation of pairs on the sky [Msun].

    This is the virial theorem, for any profile and anisotropy: W = -G M² ⟨1/r⟩ / 2 over pairs, and ⟨1/R⟩ =
    π/2 ⟨1/r⟩ for a sphere, so that M = 6 σ² / (G ⟨1/r⟩) = 3π σ² / (G ⟨1/R⟩). Separations below CLOSEST_PAIR ×
    R_h count as that. The cost is quadratic in the number of stars.

    Source: Heisler, Tremaine & Bahcall 1985, ApJ 298, 8.
    """
    num = len(tracers.position)
    closest = CLOSEST_PAIR * tracers.half_radius.value
    inverse = np.empty(num)
    for start in range(0, num, _BLOCK):
        rows = tracers.position[start : start + _BLOCK]
        separation = np.maximum(cdist(rows, tracers.position), closest)
        # Without the star itself, whose separation of 0 counts as `closest`.
        inverse[start : start + _BLOCK] = ((1 / separation).sum(axis=1) - 1 / closest) / (num - 1)
    radius = 1 / inverse.mean()
    influence = -2 * radius**2 * (inverse - inverse.mean())
    return _virial_estimate(tracers, 3 * np.pi, radius, influence)


def leonard_merritt(tracers: TracerStars) -> Estimate:
    """Return M = 32 / (3π G) ⟨R (2 v_R² + v_T²)⟩, with v_R along and v_T across the radius R [Msun].

    It holds for a sphere of any profile and anisotropy whose stars trace its mass. The Jeans equation times
    r⁴ gives, after one integration by parts, G ⟨M(r)⟩ = ⟨r (2 σ_r² + 2 σ_t²)⟩, where σ_t is that of one
    tangential component. In projection, with the means of sin³, sin cos² and sin over the sphere,
        ⟨R v_R²⟩ = ⟨r (3π/16 σ_r² + π/16 σ_t²)⟩ and ⟨R v_T²⟩ = ⟨r π/4 σ_t²⟩,
    so that G ⟨M(r)⟩ = 16/(3π) ⟨R (2 v_R² + v_T²)⟩; and ⟨M(r)⟩ = M/2 if mass follows the stars. For isotropic
    velocities M = 32/(πG) ⟨R σ²⟩. Squared errors are subtracted; the result is NaN if nothing is left.

    Source: Leonard & Merritt 1989, ApJ 339, 195.
    """
    radius = np.hypot(*tracers.position.T)
    direction = tracers.position / np.maximum(radius, np.finfo(float).tiny)[:, None]
    weight = tracers.weight.sum(axis=1)
    correction = velocity_dispersion.bias_correction(tracers.weight)
    radial = correction * np.sum(tracers.velocity * direction, axis=1) ** 2
    total = correction * np.sum(tracers.velocity**2, axis=1)
    radial_noise = np.sum(tracers.noise * direction**2, axis=1)
    # 2 v_R² + v_T² = v_R² + v².
    moment = radius * (radial - radial_noise + total - tracers.noise.sum(axis=1))
    mean = weight @ moment / weight.sum()
    factor = 32 / (3 * np.pi * G)
    influence = len(radius) * weight * (moment - mean) / weight.sum()
    if mean <= 0:
        return UNKNOWN
    return Estimate(float(factor * mean), float(factor * velocity_dispersion.standard_error(influence)))


ESTIMATORS = {
    "virial": virial,
    "projected_virial": projected_virial,
    "wolf": wolf,
    "leonard_merritt": leonard_merritt,
}


def estimate_masses(
    y: np.ndarray,
    z: np.ndarray,
    vy: np.ndarray,
    vz: np.ndarray,
    vy_error: np.ndarray | None = None,
    vz_error: np.ndarray | None = None,
) -> MassEstimates:
    """Return classical estimates for one cluster.

    Positions and velocities may have any origin: they are centred on the geometric median of the members'
    positions, and on the mean of their velocities. Standard errors are from the influence function of each
    estimate. They cover the finite number of stars and the errors of velocities, but no departure from
    equilibrium.

    Args:
      y, z: (n,), positions across the line of sight [pc].
      vy, vz: (n,), velocities across the line of sight [km/s].
      vy_error, vz_error: (n,), their 1-sigma errors [km/s]; None counts as exact.

    Raises:
      MassEstimatorError: arrays differ in length, values are not finite, or an error is negative.
    """
    columns = _stack_columns({"y": y, "z": z, "vy": vy, "vz": vz, "vy_error": vy_error, "vz_error": vz_error})
    position, velocity, error = columns[:, 0:2], columns[:, 2:4], columns[:, 4:6]
    num = len(columns)
    if num < MIN_STARS:
        return _no_masses(num, 0, f"too few stars, {num}: at least {MIN_STARS} are needed")
    motion = velocity_dispersion.fit_dispersion(velocity, error)
    is_member = motion.membership >= 0.5
    num_member = int(is_member.sum())
    if num_member < MIN_STARS:
        return _no_masses(num, num_member, f"too few members, {num_member}: at least {MIN_STARS} are needed")
    centred = position[is_member] - velocity_dispersion.geometric_median(position[is_member])
    # Influence functions are about n times what a star contributes, and n is now the number of members.
    tracers = TracerStars(
        centred,
        velocity[is_member] - motion.centre,
        error[is_member] ** 2,
        motion.weight[is_member],
        motion.variance,
        motion.influence[is_member] * num_member / num,
        *_half_radius(centred),
    )
    if tracers.half_radius.value == 0:
        return _no_masses(num, num_member, "half of the members are at one point: no radius, no masses")
    if motion.variance == 0:
        unknown = _no_masses(num, num_member, "no dispersion beyond the velocity errors: no masses")
        sigma = Estimate(0.0, float(np.sqrt(motion.standard_error)))
        return dataclasses.replace(unknown, sigma_1d_kms=sigma, r_half_projected_pc=tracers.half_radius)
    sigma = np.sqrt(motion.variance)
    is_weak = motion.variance < 2 * motion.standard_error
    return MassEstimates(
        num_star=num,
        num_member=num_member,
        sigma_1d_kms=Estimate(float(sigma), float(motion.standard_error / (2 * sigma))),
        r_half_projected_pc=tracers.half_radius,
        mass={name: estimator(tracers) for name, estimator in ESTIMATORS.items()},
        note="the dispersion hardly exceeds the velocity errors: masses are uncertain" if is_weak else "",
    )


def _half_radius(position: np.ndarray) -> tuple[Estimate, np.ndarray]:
    """Return the median distance of positions (n, 2) from the centre, and its influence function (n,)."""
    from scipy.stats.mstats import mjci  # slow to import

    radius = np.hypot(*position.T)
    half = float(np.median(radius))
    # Standard error of a median: Maritz & Jarrett 1978, J. Am. Stat. Assoc. 73, 194.
    error = float(mjci(radius, prob=[0.5])[0])
    # The influence of a star on a median is of equal size for all; this size gives the standard error above.
    return Estimate(half, error), np.sqrt(len(radius)) * error * np.sign(radius - half)


def _virial_estimate(
    tracers: TracerStars, factor: float, radius: float, radius_influence: np.ndarray
) -> Estimate:
    """Return `factor` σ² r / G, with its standard error.

    The influence functions of σ² and r are added star by star, since the two are correlated: fast stars are
    often near the centre.
    """
    mass = factor * tracers.variance * radius / G
    influence = tracers.variance_influence / tracers.variance + radius_influence / radius
    return Estimate(float(mass), float(mass * velocity_dispersion.standard_error(influence)))


def _no_masses(num: int, num_member: int, note: str) -> MassEstimates:
    return MassEstimates(num, num_member, UNKNOWN, UNKNOWN, dict.fromkeys(ESTIMATORS, UNKNOWN), note)


def _stack_columns(columns: dict[str, np.ndarray | None]) -> np.ndarray:
    """Return the columns as float64 (n, 6), or raise if they are not numbers of n stars."""
    num = np.size(np.asarray(columns["y"]))
    arrays = {
        name: np.zeros(num) if values is None else np.asarray(values, np.float64)
        for name, values in columns.items()
    }
    shapes = {name: array.shape for name, array in arrays.items()}
    if any(shape != (num,) for shape in shapes.values()):
        raise MassEstimatorError(f"columns should all be ({num},), got {shapes}")
    for name, array in arrays.items():
        is_bad = ~np.isfinite(array) | (name.endswith("_error") & (array < 0))
        if is_bad.any():
            rows = np.flatnonzero(is_bad)
            is_what = "negative or not finite" if name.endswith("_error") else "not finite"
            raise MassEstimatorError(
                f"{name} is {is_what} for {len(rows)} of {num} stars, the first at index {rows[0]}: leave "
                "these out"
            )
    return np.stack(list(arrays.values()), axis=1)
