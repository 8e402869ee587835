//! Kafka in and out, the state store and its offsets, dead letters, the archive.
