//! Numbers in memory of our own, or where they lie in a mapped file.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;

/// A slice that is owned, or part of a mapped file. Cloning the latter costs nothing.
#[derive(Clone)]
pub(crate) enum Buffer<T> {
    Owned(Vec<T>),
    Mapped(Mapped<T>),
}

/// A part of a mapped file, of whole and aligned numbers.
#[derive(Clone)]
pub(crate) struct Mapped<T> {
    map: Arc<Mmap>,
    bytes: Range<usize>,
    numbers: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// The numbers in a range of a mapped file's bytes; none where the range is outside of it, is not whole numbers, or
    /// does not begin where a number may.
    pub(crate) fn mapped(map: &Arc<Mmap>, bytes: Range<usize>) -> Option<Self> {
        bytemuck::try_cast_slice::<u8, T>(map.get(bytes.clone())?).ok()?;
        Some(Self::Mapped(Mapped { map: Arc::clone(map), bytes, numbers: PhantomData }))
    }

    /// The numbers as a vector that can grow: a copy of its own, where they were mapped.
    pub(crate) fn owned_mut(&mut self) -> &mut Vec<T> {
        if let Self::Mapped(_) = self {
            *self = Self::Owned(self.to_vec());
        }
        match self {
            Self::Owned(numbers) => numbers,
            Self::Mapped(_) => unreachable!("made owned above"),
        }
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(numbers) => numbers,
            // `mapped` cast the same bytes, and the mapping does not move.
            Self::Mapped(part) => bytemuck::cast_slice(&part.map[part.bytes.clone()]),
        }
    }
}

impl<T> From<Vec<T>> for Buffer<T> {
    fn from(numbers: Vec<T>) -> Self {
        Self::Owned(numbers)
    }
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T: Pod + PartialEq> PartialEq for Buffer<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for Buffer<T> {}

impl<T: Pod> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place = if let Self::Mapped(_) = self { "mapped" } else { "owned" };
        write!(f, "{} numbers, {place}", self.len())
    }
}
