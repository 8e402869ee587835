//! A seeded shop whose truth is known.
