//! Reading and writing the byte formats of state and counters.
//!
//! Integers are LEB128 varints or little-endian words. A reader checks every length against what is
//! left before it allocates, so that no input can panic or take memory out of proportion.

use endcap_proto::EventTime;

/// Why bytes are no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version.
    #[error("{what}: format version {found} cannot be read (this build reads up to {newest}); {todo}")]
    Version {
        /// What was to be read.
        what: &'static str,
        /// The version found.
        found: u8,
        /// The newest version that this build reads.
        newest: u8,
        /// What to do.
        todo: &'static str,
    },
    /// The bytes end too early.
    #[error("{what}: ends at byte {offset} where more was promised")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where.
        offset: usize,
    },
    /// The bytes break a rule of the format.
    #[error("{what}: at byte {offset}: {rule}")]
    Corrupt {
        /// What was to be read.
        what: &'static str,
        /// Where.
        offset: usize,
        /// The rule broken.
        rule: &'static str,
    },
}

pub(crate) fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of a time: 48 bits of milliseconds reach beyond the year 9999.
pub(crate) const TIME_BYTES: usize = 6;

pub(crate) fn write_time(out: &mut Vec<u8>, time: EventTime) {
    out.extend(&time.as_millis().to_le_bytes()[..TIME_BYTES]);
}

/// A cursor over bytes from outside.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Begins after the version byte, which must be `newest` (there is no older version yet).
    pub(crate) fn open(what: &'static str, bytes: &'a [u8], newest: u8) -> Result<Self, StateError> {
        let mut reader = Self { what, bytes, offset: 0 };
        let found = reader.byte()?;
        if found == newest {
            return Ok(reader);
        }
        let todo = if found > newest {
            "it was written by a newer build: run that one, or rebuild the state from the log"
        } else {
            "rebuild the state from the log"
        };
        Err(StateError::Version { what, found, newest, todo })
    }

    pub(crate) fn corrupt(&self, rule: &'static str) -> StateError {
        StateError::Corrupt { what: self.what, offset: self.offset, rule }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StateError> {
        let taken = self.bytes.get(self.offset..).and_then(|rest| rest.first_chunk::<N>());
        let taken = taken.ok_or(StateError::Truncated { what: self.what, offset: self.bytes.len() })?;
        self.offset += N;
        Ok(*taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, StateError> {
        self.take::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, StateError> {
        self.take().map(u16::from_le_bytes)
    }

    /// A time that is at most `last`.
    pub(crate) fn time(&mut self, last: EventTime) -> Result<EventTime, StateError> {
        let [a, b, c, d, e, f] = self.take()?;
        EventTime::from_millis(i64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
            .filter(|&time| time <= last)
            .ok_or_else(|| self.corrupt("a time lies after the last"))
    }

    /// How many bytes have been read.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn u32(&mut self) -> Result<u32, StateError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, StateError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, StateError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                if byte == 0 && shift > 0 {
                    return Err(self.corrupt("a varint must be as short as it can be"));
                }
                return Ok(value);
            }
        }
        Err(self.corrupt("a varint must fit 64 bits"))
    }

    /// A count of at most `max`.
    pub(crate) fn count(&mut self, max: usize) -> Result<usize, StateError> {
        let count = self.varint()?;
        if count > max as u64 {
            return Err(self.corrupt("a list is longer than it may be"));
        }
        Ok(count as usize)
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<(), StateError> {
        if self.offset == self.bytes.len() { Ok(()) } else { Err(self.corrupt("bytes follow the end")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_survive_the_round_trip(value: u64) {
            let mut bytes = vec![1];
            write_varint(&mut bytes, value);
            let mut reader = Reader::open("test", &bytes, 1).unwrap();
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn varints_have_one_spelling_and_sixty_four_bits() {
        let read = |bytes: &[u8]| Reader::open("test", bytes, 1).unwrap().varint();
        assert!(matches!(read(&[1, 0x80, 0x00]), Err(StateError::Corrupt { .. })));
        assert!(matches!(read(&[1, 0x80]), Err(StateError::Truncated { offset: 2, .. })));
        let mut too_large = vec![1];
        too_large.extend([0xff; 9]);
        too_large.push(0x02);
        assert!(matches!(read(&too_large), Err(StateError::Corrupt { .. })));
    }
}
