//! The models: user tower, item tower, ranker, and their losses.
