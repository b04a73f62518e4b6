//! As much of Kafka's protocol as it takes to tell requests apart and to put error codes into answers.

/// Numbers of the requests that matter here.
pub(crate) mod api {
    pub(crate) const PRODUCE: i16 = 0;
    pub(crate) const OFFSET_COMMIT: i16 = 8;
    pub(crate) const FIND_COORDINATOR: i16 = 10;
    pub(crate) const JOIN_GROUP: i16 = 11;
    pub(crate) const HEARTBEAT: i16 = 12;
    pub(crate) const SYNC_GROUP: i16 = 14;
    pub(crate) const INIT_PRODUCER_ID: i16 = 22;
}

/// The head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) api: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
}

impl RequestHead {
    /// Reads it from a frame without its length.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let mut fields = Fields { bytes: frame, at: 0, compact: false };
        Some(Self { api: fields.int16()?, version: fields.int16()?, correlation: fields.int32()? })
    }

    /// From which version on lengths are compact and structures end with tagged fields.
    fn compact(self) -> bool {
        let first = match self.api {
            api::PRODUCE => 9,
            api::OFFSET_COMMIT => 8,
            api::FIND_COORDINATOR => 3,
            api::JOIN_GROUP => 6,
            api::HEARTBEAT | api::SYNC_GROUP => 4,
            api::INIT_PRODUCER_ID => 2,
            _ => i16::MAX,
        };
        self.version >= first
    }
}

/// Replaces every error code of an answer (without its length) to `head` by `code`. `false`: its form is not known, and
/// it is as it was.
pub(crate) fn replace_errors(head: RequestHead, answer: &mut [u8], code: i16) -> bool {
    let Some(places) = error_places(head, answer) else { return false };
    for place in places {
        answer[place..place + 2].copy_from_slice(&code.to_be_bytes());
    }
    true
}

fn error_places(head: RequestHead, answer: &[u8]) -> Option<Vec<usize>> {
    let mut fields = Fields { bytes: answer, at: 4, compact: head.compact() };
    fields.tags()?;
    match head.api {
        api::PRODUCE => produce_error_places(head, &mut fields),
        api::OFFSET_COMMIT => {
            fields.skip(if head.version >= 3 { 4 } else { 0 })?;
            partition_error_places(&mut fields, |_| Some(()))
        }
        api::HEARTBEAT | api::SYNC_GROUP | api::JOIN_GROUP | api::FIND_COORDINATOR | api::INIT_PRODUCER_ID => {
            let throttled_since = match head.api {
                api::JOIN_GROUP => 2,
                api::INIT_PRODUCER_ID => 0,
                _ => 1,
            };
            // later versions list several coordinators
            if head.api == api::FIND_COORDINATOR && head.version > 3 {
                return None;
            }
            fields.skip(if head.version >= throttled_since { 4 } else { 0 })?;
            Some(vec![fields.place_of_int16()?])
        }
        _ => None,
    }
}

fn produce_error_places(head: RequestHead, fields: &mut Fields<'_>) -> Option<Vec<usize>> {
    if !(3..=12).contains(&head.version) {
        return None;
    }
    partition_error_places(fields, |fields| {
        fields.skip(if head.version >= 5 { 24 } else { 16 })?;
        if head.version >= 8 {
            for _ in 0..fields.array()? {
                fields.skip(4)?;
                fields.string()?;
                fields.tags()?;
            }
            fields.string()?;
        }
        Some(())
    })
}

/// The error codes of an answer that lists the partitions of each topic. `rest` skips what follows a code.
fn partition_error_places(fields: &mut Fields<'_>, rest: impl Fn(&mut Fields<'_>) -> Option<()>) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    for _ in 0..fields.array()? {
        fields.string()?;
        for _ in 0..fields.array()? {
            fields.skip(4)?;
            places.push(fields.place_of_int16()?);
            rest(fields)?;
            fields.tags()?;
        }
        fields.tags()?;
    }
    Some(places)
}

/// The answer (without its length) to a produce request (without its length) of which the broker shall see nothing.
pub(crate) fn produce_answer(head: RequestHead, request: &[u8], code: i16) -> Option<Vec<u8>> {
    if !(3..=12).contains(&head.version) {
        return None;
    }
    let compact = head.compact();
    let mut fields = Fields { bytes: request, at: 8, compact: false };
    // the client id keeps its old form in every version of the head
    fields.string()?;
    fields.compact = compact;
    fields.tags()?;
    fields.string()?;
    fields.skip(6)?;
    let mut answer = Answer { bytes: head.correlation.to_be_bytes().to_vec(), compact };
    answer.tags();
    let topics = fields.array()?;
    answer.count(topics);
    for _ in 0..topics {
        let name = fields.string()?;
        answer.string(name);
        let partitions = fields.array()?;
        answer.count(partitions);
        for _ in 0..partitions {
            answer.bytes.extend_from_slice(&fields.int32()?.to_be_bytes());
            answer.bytes.extend_from_slice(&code.to_be_bytes());
            // base offset, time of the append and, in later versions, the start of the log: unknown
            answer.bytes.extend_from_slice(&[0xff; 24][..if head.version >= 5 { 24 } else { 16 }]);
            if head.version >= 8 {
                answer.count(0);
                answer.bytes.extend_from_slice(if compact { &[0] } else { &[0xff, 0xff] });
            }
            answer.tags();
            fields.records()?;
            fields.tags()?;
        }
        answer.tags();
        fields.tags()?;
    }
    answer.bytes.extend_from_slice(&0_i32.to_be_bytes());
    answer.tags();
    Some(answer.bytes)
}

/// Reads fields one after the other; `None` at the end of the bytes.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    compact: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    fn int16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn int32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn place_of_int16(&mut self) -> Option<usize> {
        let place = self.at;
        self.skip(2).map(|()| place)
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = usize::from(self.take(1)?[0]);
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// How many elements follow; none for a null array.
    fn array(&mut self) -> Option<usize> {
        if self.compact {
            Some(self.varint()?.saturating_sub(1))
        } else {
            Some(usize::try_from(self.int32()?).unwrap_or(0))
        }
    }

    /// A string, which may be null.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length =
            if self.compact { self.varint()?.saturating_sub(1) } else { usize::try_from(self.int16()?).unwrap_or(0) };
        self.take(length)
    }

    fn records(&mut self) -> Option<()> {
        let length = self.array()?;
        self.skip(length)
    }

    fn tags(&mut self) -> Option<()> {
        if self.compact {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.skip(length)?;
            }
        }
        Some(())
    }
}

struct Answer {
    bytes: Vec<u8>,
    compact: bool,
}

impl Answer {
    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn count(&mut self, count: usize) {
        if self.compact {
            self.varint(count + 1);
        } else {
            self.bytes.extend_from_slice(&i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
        }
    }

    fn string(&mut self, text: &[u8]) {
        if self.compact {
            self.varint(text.len() + 1);
        } else {
            self.bytes.extend_from_slice(&i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
        }
        self.bytes.extend_from_slice(text);
    }

    fn tags(&mut self) {
        if self.compact {
            self.bytes.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A produce request with one record batch for partition 3 of `topic`.
    fn produce_request(version: i16) -> Vec<u8> {
        let mut out = Answer { bytes: Vec::new(), compact: version >= 9 };
        for number in [api::PRODUCE, version] {
            out.bytes.extend_from_slice(&number.to_be_bytes());
        }
        out.bytes.extend_from_slice(&77_i32.to_be_bytes());
        out.bytes.extend_from_slice(b"\0\x06client");
        out.tags();
        out.bytes.extend_from_slice(if out.compact { &[0] } else { &[0xff, 0xff] });
        out.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        out.bytes.extend_from_slice(&30_000_i32.to_be_bytes());
        out.count(1);
        out.string(b"topic");
        out.count(1);
        out.bytes.extend_from_slice(&3_i32.to_be_bytes());
        out.count(200);
        out.bytes.extend_from_slice(&[7; 200]);
        (0..3).for_each(|_| out.tags());
        out.bytes
    }

    #[test]
    fn an_answer_instead_of_the_broker_names_topic_partition_and_error() {
        for version in [3, 7, 8, 9, 10] {
            let request = produce_request(version);
            let head = RequestHead::parse(&request).unwrap();
            assert_eq!((head.api, head.version, head.correlation), (api::PRODUCE, version, 77));
            let mut answer = produce_answer(head, &request, 19).unwrap();
            assert_eq!(answer[..4], 77_i32.to_be_bytes());
            let places = error_places(head, &answer).unwrap();
            assert_eq!(places.len(), 1);
            assert_eq!(answer[places[0] - 4..places[0] + 2], [0, 0, 0, 3, 0, 19]);
            assert!(answer.windows(5).any(|it| it == b"topic"));
            assert!(replace_errors(head, &mut answer, 6));
            assert_eq!(answer[places[0]..places[0] + 2], [0, 6]);
        }
    }

    #[test]
    fn errors_of_groups_are_behind_the_time_to_wait() {
        for (api, version, place) in
            [(api::HEARTBEAT, 0, 4), (api::HEARTBEAT, 3, 8), (api::JOIN_GROUP, 1, 4), (api::JOIN_GROUP, 5, 8)]
        {
            let head = RequestHead { api, version, correlation: 1 };
            let mut answer = vec![0; 20];
            assert!(replace_errors(head, &mut answer, 14));
            assert_eq!(answer.iter().position(|byte| *byte == 14), Some(place + 1), "{api} {version}");
        }
        let unknown = RequestHead { api: 3, version: 1, correlation: 1 };
        assert!(!replace_errors(unknown, &mut [0; 20], 14), "metadata is left alone");
    }

    #[test]
    fn bytes_that_end_early_are_left_alone() {
        let request = produce_request(10);
        for end in 0..request.len() - 3 {
            let head = RequestHead { api: api::PRODUCE, version: 10, correlation: 77 };
            assert_eq!(produce_answer(head, &request[..end], 6), None);
        }
    }
}
