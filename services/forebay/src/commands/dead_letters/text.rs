//! Dead letters as text.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use forebay_bus::kafka::StoredDeadLetter;

use super::identity::Identity;

/// Characters of the original bytes in a list.
const SHOWN: usize = 200;
/// Bytes in a row of a dump.
const ROW: usize = 16;

/// A letter in a list.
pub(super) fn line(letter: &StoredDeadLetter) -> String {
    let shown: String = String::from_utf8_lossy(letter.payload()).chars().take(SHOWN).collect();
    let shown = printable(&shown);
    format!(
        "{}  {}  {}  {}  {}\n    {}\n    {shown}\n",
        letter.place(),
        time(letter),
        printable(&letter.stage()),
        printable(&letter.code()),
        printable(&letter.origin()),
        printable(&letter.message()),
    )
}

/// Everything of a letter.
pub(super) fn describe(letter: &StoredDeadLetter) -> String {
    let identity = Identity::of(letter);
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // writing to a string cannot fail
        let _ = writeln!(text, "{name:12} {}", printable(value));
    };
    row("place", &letter.place().to_string());
    row("written", &time(letter));
    row("stage", &letter.stage());
    row("code", &letter.code());
    row("message", &letter.message());
    row("from", &letter.origin());
    for (name, ids) in [("request id", &identity.requests), ("trace id", &identity.traces)] {
        ids.iter().for_each(|id| row(name, id));
    }
    if let Some(key) = letter.key() {
        row("key", &bytes(key));
    }
    for (name, value) in letter.original_headers() {
        row("header", &format!("{name}: {}", bytes(value)));
    }
    let truncated = if letter.is_truncated() { ", lost: the record was too large to be kept" } else { "" };
    row("bytes", &format!("{}{truncated}", letter.payload().len()));
    let payload = letter.payload();
    match std::str::from_utf8(payload) {
        Ok("") => {}
        Ok(content) => {
            content.lines().for_each(|line| _ = writeln!(text, "{}", printable(line)));
        }
        Err(_) => text.push_str(&dump(payload)),
    }
    text
}

fn time(letter: &StoredDeadLetter) -> String {
    let since = u64::try_from(letter.timestamp_ms()).map(Duration::from_millis);
    let at = since.ok().and_then(|since| UNIX_EPOCH.checked_add(since));
    at.map_or("?".to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// Text as it is, other bytes escaped.
fn bytes(value: &[u8]) -> String {
    std::str::from_utf8(value).map_or_else(|_| value.escape_ascii().to_string(), str::to_owned)
}

/// Escapes control characters: a terminal must not follow what a stranger has sent.
fn printable(text: &str) -> String {
    let escaped = |character: char| match character {
        '\t' => vec!['\t'],
        control if control.is_control() => control.escape_default().collect(),
        other => vec![other],
    };
    text.chars().flat_map(escaped).collect()
}

fn dump(payload: &[u8]) -> String {
    let mut text = String::new();
    for (number, row) in payload.chunks(ROW).enumerate() {
        let hex: String = row.iter().map(|byte| format!("{byte:02x} ")).collect();
        let shown: String =
            row.iter().map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' }).collect();
        let _ = writeln!(text, "{:08x}  {hex:48} {shown}", number * ROW);
    }
    text
}

#[cfg(test)]
mod tests {
    use forebay_bus::kafka::RawRecord;

    use super::*;

    fn letter(payload: &'static [u8]) -> StoredDeadLetter {
        let headers = [
            ("x-client", &b"legacy \xff"[..]),
            ("forebay-stage", b"ingestion"),
            ("forebay-code", b"invalid_request"),
            ("__connect.errors.topic", b"inference-requests"),
            ("__connect.errors.partition", b"1"),
            ("__connect.errors.offset", b"42"),
            ("__connect.errors.exception.message", b"line 1: \x1b[2J"),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into())).to_vec();
        let (payload, key) = (payload.into(), Some(b"k".as_slice().into()));
        StoredDeadLetter::new(RawRecord {
            payload,
            key,
            partition: 2,
            offset: 17,
            timestamp_ms: 1_700_000_000_000,
            headers,
        })
    }

    #[test]
    fn a_letter_is_shown_with_everything_it_has() {
        let text = describe(&letter(b"{\"request_id\":\"r\",\x1b"));
        for part in [
            "place        2@17\n",
            "written      2023-11-14T22:13:20Z\n",
            "from         inference-requests/1@42\n",
            "message      line 1: \\u{1b}[2J\n",
            "request id   r\n",
            "key          k\n",
            "header       x-client: legacy \\xff\n",
            "bytes        19\n{\"request_id\":\"r\",\\u{1b}\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
        assert!(!text.contains("forebay-stage") && !text.contains('\x1b'), "{text}");
        let dumped = describe(&letter(b"\xff\xfe0123456789abcdef"));
        assert!(
            dumped.contains("00000000  ff fe 30 31") && dumped.contains("..0123456789abcd\n00000010  65 66"),
            "{dumped}"
        );
    }

    #[test]
    fn a_line_begins_with_the_place() {
        let text = line(&letter(b"\xffgarbage\n"));
        assert!(text.starts_with("2@17  2023-11-14T22:13:20Z  ingestion  invalid_request  inference-requests/1@42\n"));
        assert!(text.ends_with("garbage\\n\n"), "{text}");
    }
}
