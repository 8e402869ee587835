//! The published artefact: manifest, checksums, atomic publish, verified load.
