"""From NBODY6 caches to samples on the device. Knows no models."""
