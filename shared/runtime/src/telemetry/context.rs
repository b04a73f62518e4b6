//! The trace context that travels with a request (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SAMPLED: u8 = 1;

/// A trace, its current span and flags. `span_id` is zero at the root, before there is a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TraceContext {
    /// Trace id, not zero in a valid context.
    pub trace_id: [u8; 16],
    /// The span that caused this one; zero when there is none.
    pub span_id: [u8; 8],
    /// W3C flags; bit 0 is "sampled".
    pub flags: u8,
}

impl TraceContext {
    /// A new trace that has no span yet.
    pub fn root(sampled: bool) -> Self {
        Self { trace_id: fresh(), span_id: [0; 8], flags: if sampled { SAMPLED } else { 0 } }
    }

    /// Whether spans of this trace are recorded.
    pub fn sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether it names a trace.
    pub fn is_valid(self) -> bool {
        self.trace_id != [0; 16]
    }

    /// Parses a `traceparent` header. `None` if it is malformed, has the forbidden version ff, or is all zero; of a
    /// newer version the fields that version 00 has are read.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let header = header.trim();
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = from_hex::<1>(version)?;
        let ends_here = parts.next().is_none();
        if version == 0xff || (version == 0 && !ends_here) {
            return None;
        }
        let [flags] = from_hex::<1>(flags)?;
        let context = Self { trace_id: from_hex(trace)?, span_id: from_hex(span)?, flags };
        (context.is_valid() && context.span_id != [0; 8]).then_some(context)
    }

    /// The `traceparent` header. A root context has no span id; get one with [`TraceContext::child`] first.
    pub fn to_traceparent(self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id_hex(), Hex(&self.span_id), self.flags)
    }

    /// The trace id as 32 hexadecimal digits, for logs and error responses.
    pub fn trace_id_hex(&self) -> impl fmt::Display + fmt::Debug + use<'_> {
        Hex(&self.trace_id)
    }

    /// The same trace with a new span id.
    pub fn child(self) -> Self {
        Self { span_id: Self::new_span_id(), ..self }
    }

    /// The same context with another sampling decision.
    pub fn with_sampled(self, sampled: bool) -> Self {
        Self { flags: if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED }, ..self }
    }

    /// A random span id.
    pub fn new_span_id() -> [u8; 8] {
        fresh()
    }
}

fn fresh<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    while bytes == [0; N] {
        rand::fill(&mut bytes[..]); // zero means "none", so it is drawn again
    }
    bytes
}

/// Accepts lower case only, as the specification requires.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[derive(Debug)]
struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The instant `us` microseconds after the Unix epoch.
pub(super) fn system_time(us: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(us)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written_back() {
        let context = TraceContext::from_traceparent(HEADER).unwrap();
        assert!(context.sampled());
        assert_eq!(context.to_traceparent(), HEADER);
        assert_eq!(context.trace_id_hex().to_string(), "0af7651916cd43dd8448eb211c80319c");
        let child = context.child();
        assert_eq!((child.trace_id, child.flags), (context.trace_id, context.flags));
        assert_ne!(child.span_id, context.span_id);
    }

    #[test]
    fn malformed_headers_are_no_parent() {
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let upper = HEADER.to_uppercase();
        let longer = format!("{HEADER}-x");
        let forbidden = HEADER.replacen("00", "ff", 1);
        for bad in ["", "00", "x-y-z-w", zero_span, zero_trace, &upper, &longer, &forbidden, "é0-a-b-c"] {
            assert_eq!(TraceContext::from_traceparent(bad), None, "{bad}");
        }
        let newer = format!("{}-x", HEADER.replacen("00", "01", 1));
        assert!(TraceContext::from_traceparent(&newer).is_some());
    }

    #[test]
    fn roots_differ_and_carry_the_decision() {
        let (left, right) = (TraceContext::root(true), TraceContext::root(false));
        assert_ne!(left.trace_id, right.trace_id);
        assert!(left.sampled() && !right.sampled() && left.is_valid() && left.span_id == [0; 8]);
    }
}
