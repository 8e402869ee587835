//! What is evaluated, and how each ranks the catalogue.
