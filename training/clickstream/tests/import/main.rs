//! The importers: what a shop has, public data sets in miniature, and the real ones.

mod public;
mod real;
mod shop;
mod source;
