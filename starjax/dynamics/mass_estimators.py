"""Classical masses of a cluster from positions and velocities on the sky.

They assume that the cluster is in equilibrium and that its stars trace its mass. Clusters that lose stars
are neither quite; stars that leave, and the Galaxy's tides, make these masses too large.

What a Plummer sphere (Plummer 1911) of mass M and scale a gives, and η is made of:
  projected mass within R: M R² / (R² + a²), so half of it within R_h = a;
  mass within r: M r³ / (r² + a²)^(3/2), so half of it within r_h = a / √(2^(2/3) - 1) = 1.305 a;
  potential energy: W = -3π G M² / 32 a; in equilibrium 2 K = -W, with K = 3/2 M σ², so σ² = π G M / 32 a.
Hence M = η σ² r / G with η = 32/π = 10.19 of R_h, or 7.81 of r_h. The second of these would be the same number
here, since without distances along the line of sight r_h is only 1.305 R_h.
"""

import dataclasses

import numpy as np
from astropy import constants, units
from scipy.spatial.distance import cdist
from scipy.stats.mstats import mjci

from starjax.dynamics import velocity_dispersion
from starjax.errors import StarjaxError

# pc (km/s)² / Msun.
G = constants.G.to_value(units.pc * (units.km / units.s) ** 2 / units.Msun)
PLUMMER_ETA = 32 / np.pi
MIN_STARS = 5
# Pairs closer than this share of R_h are binaries rather than two bodies of the cluster's potential.
CLOSEST_PAIR = 0.01
_BLOCK = 512


class MassEstimatorError(StarjaxError):
    """Stars that no mass can be estimated from."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value and its standard error, both in the units that the name it has tells; NaN where it cannot be had."""

    value: float
    standard_error: float


UNKNOWN = Estimate(np.nan, np.nan)


@dataclasses.dataclass(frozen=True)
class MassEstimates:
    """What classical dynamics says of one cluster.

    Attributes:
      num_star, num_member: stars given, and those that are rather members than background (`kinematics.dispersion`).
      sigma_1d_kms: velocity dispersion of one component [km/s]; where the velocity errors exceed it, 0, with
        the scale that it may have as its standard error.
      r_half_projected_pc: radius that half of the members are seen within [pc].
      mass: by the name of each of ESTIMATORS [Msun].
      note: what to know about them; empty where all is well.
    """

    num_star: int
    num_member: int
    sigma_1d_kms: Estimate
    r_half_projected_pc: Estimate
    mass: dict[str, Estimate]
    note: str


@dataclasses.dataclass(frozen=True)
class TracerStars:
    """The members of one cluster.

    Attributes:
      position: (n, 2), about the centre [pc].
      velocity: (n, 2), about the mean [km/s].
      noise: (n, 2), squared errors of the velocities [(km/s)²].
      weight: (n, 2), weight of each component.
      variance: of one component of the velocity [(km/s)²].
      variance_influence: (n,), of each star on it, as `kinematics.Dispersion.influence`.
      half_radius: that half of them are seen within [pc].
      half_radius_influence: (n,), of each star on it.
    """

    position: np.ndarray
    velocity: np.ndarray
    noise: np.ndarray
    weight: np.ndarray
    variance: float
    variance_influence: np.ndarray
    half_radius: Estimate
    half_radius_influence: np.ndarray


def virial(members: TracerStars) -> Estimate:
    """M = η σ² R_h / G, with η = 32/π = 10.19 of the projected half-number radius, for a Plummer sphere [Msun].

    The derivation heads this module. Source: Portegies Zwart, McMillan & Gieles 2010, ARA&A 48, 431, where η is about 10.
    """
    return _of_dispersion_and_radius(
        members, PLUMMER_ETA, members.half_radius.value, members.half_radius_influence
    )


def wolf(members: TracerStars) -> Estimate:
    """M = 2 × 4 σ² R_h / G: twice the mass within the 3-D half-light radius [Msun].

    Made for dispersions that hardly fall outwards. Where the stars are the mass they do fall: of a Plummer
    sphere it gives π/4 of the mass, 8 in the place of 32/π.

    Source: Wolf et al. 2010, MNRAS 406, 1220 (there 930 σ² R_e within half of the light).
    """
    return _of_dispersion_and_radius(members, 8.0, members.half_radius.value, members.half_radius_influence)


def projected_virial(members: TracerStars) -> Estimate:
    """M = 3π σ² R_H / G, R_H the harmonic mean separation of pairs on the sky [Msun].

    The virial theorem itself, whatever the profile and the anisotropy: W = -G M² ⟨1/r⟩ / 2 over pairs, and for a
    sphere ⟨1/R⟩ = π/2 ⟨1/r⟩, so M = 6 σ² / (G ⟨1/r⟩) = 3π σ² / (G ⟨1/R⟩). Pairs count as no closer than
    CLOSEST_PAIR of R_h. The work grows as the number of stars squared.

    Source: Heisler, Tremaine & Bahcall 1985, ApJ 298, 8.
    """
    num = len(members.position)
    closest = CLOSEST_PAIR * members.half_radius.value
    inverse = np.empty(num)
    for start in range(0, num, _BLOCK):
        rows = members.position[start : start + _BLOCK]
        separation = np.maximum(cdist(rows, members.position), closest)
        # A star is no pair with itself.
        inverse[start : start + _BLOCK] = ((1 / separation).sum(axis=1) - 1 / closest) / (num - 1)
    radius = 1 / inverse.mean()
    influence = -2 * radius**2 * (inverse - inverse.mean())
    return _of_dispersion_and_radius(members, 3 * np.pi, radius, influence)


def leonard_merritt(members: TracerStars) -> Estimate:
    """M = 32 / (3π G) ⟨R (2 v_R² + v_T²)⟩, v_R along and v_T across the projected radius R [Msun].

    For a sphere of any profile and anisotropy whose stars trace its mass: the Jeans equation times r⁴ gives, with one
    integration by parts, G ⟨M(r)⟩ = ⟨r (2 σ_r² + 2 σ_t²)⟩, σ_t being that of one tangential component. On the sky,
    by the means of sin³, sin cos² and sin over the sphere,
        ⟨R v_R²⟩ = ⟨r (3π/16 σ_r² + π/16 σ_t²)⟩ and ⟨R v_T²⟩ = ⟨r π/4 σ_t²⟩,
    so G ⟨M(r)⟩ = 16/(3π) ⟨R (2 v_R² + v_T²)⟩; and ⟨M(r)⟩ is half of M where mass follows the stars. Of isotropic
    velocities: M = 32/(πG) ⟨R σ²⟩. Squared errors are taken off; NaN where they leave nothing.

    Source: Leonard & Merritt 1989, ApJ 339, 195.
    """
    radius = np.hypot(*members.position.T)
    direction = members.position / np.maximum(radius, np.finfo(float).tiny)[:, None]
    weight = members.weight.sum(axis=1)
    squares = velocity_dispersion.unbiased(members.weight)
    radial = squares * np.sum(members.velocity * direction, axis=1) ** 2
    total = squares * np.sum(members.velocity**2, axis=1)
    radial_noise = np.sum(members.noise * direction**2, axis=1)
    # 2 v_R² + v_T² is v_R² + v².
    moment = radius * (radial - radial_noise + total - members.noise.sum(axis=1))
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
    """Classical masses of one cluster.

    Positions and velocities may have any origin: the centre is the geometric median of the members'
    positions, and the mean of their velocities. Standard errors come from the influence of
    each star on the estimate, and are those of the drawing of stars and of the errors of their
    velocities; they say nothing about a cluster out of equilibrium.

    Args:
      y, z: (n,), positions across the line of sight [pc].
      vy, vz: (n,), velocities across the line of sight [km/s].
      vy_error, vz_error: (n,), their 1-sigma errors [km/s]; none where not given.

    Raises:
      PhysicsError: arrays differ in length, values are not finite, or an error is negative.
    """
    columns = _checked({"y": y, "z": z, "vy": vy, "vz": vz, "vy_error": vy_error, "vz_error": vz_error})
    position, velocity, error = columns[:, 0:2], columns[:, 2:4], columns[:, 4:6]
    num = len(columns)
    if num < MIN_STARS:
        return _nothing(num, 0, f"too few stars, {num}: at least {MIN_STARS} are needed")
    motion = velocity_dispersion.dispersion(velocity, error)
    is_member = motion.membership >= 0.5
    num_member = int(is_member.sum())
    if num_member < MIN_STARS:
        return _nothing(num, num_member, f"too few members, {num_member}: at least {MIN_STARS} are needed")
    place = position[is_member] - velocity_dispersion.geometric_median(position[is_member])
    members = TracerStars(
        place,
        velocity[is_member] - motion.centre,
        error[is_member] ** 2,
        motion.weight[is_member],
        motion.variance,
        motion.influence[is_member] * num_member / num,
        *_half_radius(place),
    )
    if members.half_radius.value == 0:
        return _nothing(num, num_member, "half of the members stand at one point: no radius, no masses")
    if motion.variance == 0:
        unknown = _nothing(num, num_member, "no dispersion beyond the velocity errors: no masses")
        sigma = Estimate(0.0, float(np.sqrt(motion.standard_error)))
        return dataclasses.replace(unknown, sigma_1d_kms=sigma, r_half_projected_pc=members.half_radius)
    sigma = np.sqrt(motion.variance)
    is_weak = motion.variance < 2 * motion.standard_error
    return MassEstimates(
        num_star=num,
        num_member=num_member,
        sigma_1d_kms=Estimate(float(sigma), float(motion.standard_error / (2 * sigma))),
        r_half_projected_pc=members.half_radius,
        mass={name: estimator(members) for name, estimator in ESTIMATORS.items()},
        note="the dispersion hardly exceeds the velocity errors: masses are uncertain" if is_weak else "",
    )


def _half_radius(position):
    """The median distance of positions (n, 2) from the centre, and the influence (n,) of each star on it."""
    radius = np.hypot(*position.T)
    half = float(np.median(radius))
    # Maritz & Jarrett 1978, J. Am. Stat. Assoc. 73, 194.
    error = float(mjci(radius, prob=[0.5])[0])
    return Estimate(half, error), np.sqrt(len(radius)) * error * np.sign(radius - half)


def _of_dispersion_and_radius(members, factor, radius, radius_influence):
    """`factor` σ² r / G; a star's influences on the two add up, since fast stars are often near the centre."""
    mass = factor * members.variance * radius / G
    influence = members.variance_influence / members.variance + radius_influence / radius
    return Estimate(float(mass), float(mass * velocity_dispersion.standard_error(influence)))


def _nothing(num, num_member, note):
    return MassEstimates(num, num_member, UNKNOWN, UNKNOWN, dict.fromkeys(ESTIMATORS, UNKNOWN), note)


def _checked(columns):
    """The columns as float64 (n, 6)."""
    num = np.size(columns["y"])
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
            raise MassEstimatorError(
                f"{name} is not a finite {'error' if name.endswith('_error') else 'value'} for {len(rows)} stars, the first in row {rows[0]}: "
                "leave these stars out"
            )
    return np.stack(list(arrays.values()), axis=1)
