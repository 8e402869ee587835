//! Retrieval: the k nearest allowed items, by exact scan or HNSW, with a live segment.
