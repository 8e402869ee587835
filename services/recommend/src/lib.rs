//! The pipeline: sources, filters, scorers, selector, side effects.
