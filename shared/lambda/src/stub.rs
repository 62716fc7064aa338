//! For tests and measurements.
