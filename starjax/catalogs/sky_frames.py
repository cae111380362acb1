"""The frame of the simulations on the sky: offsets from a cluster along Galactic longitude and latitude.

Axes of the offset frame: x from the observer to the cluster's centre, y along increasing Galactic longitude,
z towards the Galactic north. Vectors of stars have shape (n, 3).
"""

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.stats import mad_std

# Stars beyond this many standard deviations of the core do not count as tails.
_TAILS_WITHIN = 10.0


def median_centre(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float]:
    """Return the point (ra, dec) [deg] from which the offsets of the stars have medians of zero.

    It is robust: 10 % of outliers all around do not move it, and on one side by 0.13 standard deviations.
    """
    stars = SkyCoord(ra, dec, unit="deg").galactic.cartesian.xyz.value.T
    centre = np.median(stars, axis=0)
    # The median of offsets depends on the frame that they are measured in, which is therefore moved until its
    # origin is the median.
    for _ in range(50):
        (axes,) = local_axes(*_angles(centre[None]))
        offset = np.median(_angles(stars @ axes.T), axis=1, keepdims=True)
        centre = local_axes(*offset)[0, 0] @ axes
        if np.hypot(*offset).item() < 1e-12:
            break
    lon, lat = _angles(centre[None])
    found = SkyCoord(lon[0], lat[0], unit="rad", frame="galactic").icrs
    return float(found.ra.deg), float(found.dec.deg)


def _angles(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitudes and latitudes [rad] of vectors (n, 3)."""
    x, y, z = vectors.T
    return np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))


def _offset_frame(centre: SkyCoord):
    """Return the offset frame of a centre as one of astropy's."""
    return SkyCoord(centre.galactic.l, centre.galactic.b, frame="galactic").skyoffset_frame()


def offsets(ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return `lon` and `lat` [rad] of ICRS positions [deg] in the offset frame of `centre` [deg]."""
    frame = _offset_frame(SkyCoord(*centre, unit="deg"))
    offset = SkyCoord(ra, dec, unit="deg").transform_to(frame)
    # Small offsets to both sides; astropy counts longitudes from 0 to 360 degrees.
    return offset.lon.wrap_at("180d").rad, offset.lat.rad


def axes_rotation(ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Return the rotation from components along ra and dec to those along `lon` and `lat`: (n, 2, 2)."""
    if not len(ra):  # astropy raises
        return np.empty((0, 2, 2))
    frame = _offset_frame(SkyCoord(*centre, unit="deg"))
    one, zero = np.ones(len(ra)) * u.mas / u.yr, np.zeros(len(ra)) * u.mas / u.yr
    columns = []
    # The columns of the rotation are the transformed unit vectors.
    for pm_ra, pm_dec in ((one, zero), (zero, one)):
        star = SkyCoord(ra, dec, unit="deg", pm_ra_cosdec=pm_ra, pm_dec=pm_dec).transform_to(frame)
        columns.append([star.pm_lon_coslat.value, star.pm_lat.value])
    return np.moveaxis(np.array(columns), (0, 1, 2), (2, 1, 0))


def local_axes(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return unit vectors along the line of sight, `lon` and `lat` at the angles of each star: (n, 3, 3).

    Args:
      lon, lat: angles of the stars (n,) [rad].
    """
    cos_lon, sin_lon, cos_lat, sin_lat = np.cos(lon), np.sin(lon), np.cos(lat), np.sin(lat)
    line_of_sight = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
    along_lon = [-sin_lon, cos_lon, np.zeros_like(lon)]
    along_lat = [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat]
    return np.moveaxis(np.array([line_of_sight, along_lon, along_lat]), 2, 0)


def angular_dispersion(lon: np.ndarray, lat: np.ndarray) -> float:
    """Return the standard deviation of the stars along one direction of the sky [rad], tidal tails included.

    A median absolute deviation would be that of the core, and the parallaxes of stars in the tails would
    count as outliers.
    """
    variances = []
    for along in (np.cos(lat) * np.sin(lon), np.sin(lat)):
        deviation = along - np.median(along)
        within = np.abs(deviation) <= _TAILS_WITHIN * mad_std(along)
        variances.append(np.mean(deviation[within] ** 2))
    return float(np.sqrt(np.mean(variances)))


def galactic_tilt(centre: tuple[float, float]) -> np.ndarray:
    """Return the rotation (3, 3) from the offset frame to one with z towards the Galactic pole."""
    latitude = SkyCoord(*centre, unit="deg").galactic.b.rad
    cos, sin = np.cos(latitude), np.sin(latitude)
    return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def to_galactic(vector: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """Return the components (U, V, W) of a vector (3,) of the offset frame: to centre, rotation and pole."""
    galactic = SkyCoord(*centre, unit="deg").galactic
    (axes,) = local_axes(np.atleast_1d(galactic.l.rad), np.atleast_1d(galactic.b.rad))
    return vector @ axes
