//! Small heads of integers before a value's bytes, as postcard.

use serde::{Serialize, de::DeserializeOwned};

/// Appends integers.
pub(crate) fn head(value: &impl Serialize, bytes: &mut Vec<u8>) {
    // Integers into a vector cannot fail; a head that is not there is found when it is read.
    if let Ok(extended) = postcard::to_extend(value, std::mem::take(bytes)) {
        *bytes = extended;
    }
}

/// Takes integers off the front.
pub(crate) fn behead<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|error| error.to_string())
}
