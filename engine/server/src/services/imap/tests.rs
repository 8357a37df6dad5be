//! Questions put to the service over a real store.
