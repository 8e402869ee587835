//! W3C trace context in the headers of a record: <https://www.w3.org/TR/trace-context/>.

use crate::Record;

/// The header that carries it.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// What of a request's header goes on to a record: all of it, where it is sound.
pub(crate) fn sound(header: Option<&str>) -> Option<&str> {
    header.filter(|header| TraceContext::parse(header.as_bytes()).is_some())
}

/// Which request of which trace a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext<'a> {
    /// 32 hexadecimal digits.
    pub(crate) trace_id: &'a str,
    /// 16 hexadecimal digits: the span that produced the record.
    pub(crate) parent_id: &'a str,
}

impl<'a> TraceContext<'a> {
    /// Of a record, where its header is there and sound.
    pub(crate) fn of(record: &Record<'a>) -> Option<Self> {
        record.header(TRACEPARENT).and_then(Self::parse)
    }

    /// `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`; a later version may say more behind that.
    pub(crate) fn parse(header: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let hex = |part: Option<&'a str>, length: usize| {
            let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            part.filter(|part| part.len() == length && digits(part))
        };
        let version = hex(parts.next(), 2).filter(|version| *version != "ff")?;
        let id = |part: &&str| part.bytes().any(|b| b != b'0');
        let trace_id = hex(parts.next(), 32).filter(id)?;
        let parent_id = hex(parts.next(), 16).filter(id)?;
        hex(parts.next(), 2)?;
        (version != "00" || parts.next().is_none()).then_some(Self { trace_id, parent_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_read_and_what_it_forbids_is_not() {
        let sound = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = TraceContext::parse(sound.as_bytes()).unwrap();
        assert_eq!(super::sound(Some(sound)), Some(sound));
        assert_eq!((read.trace_id, read.parent_id), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
        assert!(
            TraceContext::parse(sound.replacen("00", "cc", 1).replace("-01", "-01-more").as_bytes())
                .is_some()
        );
        for wrong in [
            String::new(),
            sound.to_uppercase(),
            sound.replacen("00", "ff", 1),
            format!("{sound}-more"),
            sound.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            sound.replace("b7ad6b7169203331", &"0".repeat(16)),
            sound[..54].to_owned(),
        ] {
            assert_eq!(TraceContext::parse(wrong.as_bytes()), None, "{wrong}");
            assert_eq!(super::sound(Some(&wrong)), None, "{wrong}");
        }
        assert_eq!(TraceContext::parse(&[0xff, 0xfe]), None);
    }
}
