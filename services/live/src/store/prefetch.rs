//! Has memory fetched before it is read, so that the reads of many events wait for it together.

/// Has the cache line that a value begins in on its way.
#[inline]
pub(super) fn prefetch<T>(value: *const T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the one line of this crate, for which there is no safe one")]
    // SAFETY: a prefetch reads nothing that the program sees, and is allowed for any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(value.cast());
    }
    // Elsewhere the reads wait one after the other.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
