//! Events to state, state to features: pure functions that training and serving share.
