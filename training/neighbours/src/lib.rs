//! Models that count: popularity, recent popularity, next-item rules, item neighbours.
