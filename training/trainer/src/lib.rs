//! Fitting: batches, negatives, optimisers, early stopping, publishing.
