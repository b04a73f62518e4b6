//! Several requests in one record: each with its length in front, four bytes, little endian.

/// Appends one request to a pack.
pub(crate) fn push(pack: &mut Vec<u8>, request: &[u8]) {
    let length = u32::try_from(request.len()).unwrap_or(u32::MAX);
    pack.extend_from_slice(&length.to_le_bytes());
    pack.extend_from_slice(request);
}

/// The requests of a pack, in order. Ends early at a torn one.
pub(crate) fn requests(mut pack: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = pack.split_first_chunk::<4>()?;
        let (request, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        pack = rest;
        Some(request)
    })
}

/// Turns a request into a result by a string edit: the prediction follows the request id, or comes last if the id is
/// not the first field.
pub(crate) fn answer(request: &[u8], out: &mut Vec<u8>) {
    const FRONT: &[u8] = b"{\"request_id\":\"";
    out.clear();
    let id = request.strip_prefix(FRONT).and_then(|rest| rest.iter().position(|byte| *byte == b'"'));
    if let Some(id) = id {
        let (head, tail) = request.split_at(FRONT.len() + id + 1);
        out.extend_from_slice(head);
        out.extend_from_slice(b",\"prediction\":0.0");
        out.extend_from_slice(tail);
    } else {
        let end = request.iter().rposition(|byte| *byte == b'}').unwrap_or(request.len());
        out.extend_from_slice(&request[..end]);
        out.extend_from_slice(b",\"prediction\":0.0}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_unpacks_to_what_went_in() {
        let mut pack = Vec::new();
        for request in [&b"one"[..], b"", b"three"] {
            push(&mut pack, request);
        }
        assert_eq!(requests(&pack).collect::<Vec<_>>(), vec![&b"one"[..], b"", b"three"]);
        assert_eq!(requests(&pack[..pack.len() - 1]).count(), 2);
    }

    #[test]
    fn answers_are_results() {
        let mut out = Vec::new();
        for request in [&br#"{"request_id":"a-1","features":[1]}"#[..], br#"{"features":[1],"request_id":"a-1"}"#] {
            answer(request, &mut out);
            let parsed = crate::received_result::ReceivedResult::parse(&out).unwrap();
            assert_eq!(parsed.request_id.as_deref(), Some("a-1"));
            assert_eq!(parsed.prediction.unwrap().get(), "0.0");
        }
    }
}
