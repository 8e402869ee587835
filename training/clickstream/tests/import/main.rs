//! The importers: what a shop has, public data sets in miniature, and the real ones.

mod hostile;
mod public;
mod real;
mod shop;
mod source;
