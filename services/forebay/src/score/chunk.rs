//! The unit of work: consecutive records of the file.

/// Bytes of text at which a chunk is full, whatever the number of its records.
const MAX_TEXT: usize = 1 << 20;

/// Records one after another.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// The fields' bytes, unquoted; a JSON line is one field.
    text: Vec<u8>,
    /// Where in `text` each field ends.
    ends: Vec<usize>,
    records: Vec<Record>,
}

/// One record of a chunk.
#[derive(Debug)]
struct Record {
    /// Line it begins on, from 1.
    line: u64,
    /// Where its fields end in `ends`.
    fields: usize,
    /// Why it could not be kept, if so.
    lost: Option<&'static str>,
}

/// A record as its reader sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'c> {
    /// Line it begins on, from 1.
    pub line: u64,
    text: &'c [u8],
    ends: &'c [usize],
    first: usize,
    /// Why there are no fields, if so.
    pub lost: Option<&'static str>,
}

impl Chunk {
    /// Adds a record; `ends` are where its fields end in `text`.
    pub(super) fn push(&mut self, line: u64, text: &[u8], ends: &[usize]) {
        let base = self.text.len();
        self.text.extend_from_slice(text);
        self.ends.extend(ends.iter().map(|end| base + end));
        self.records.push(Record { line, fields: self.ends.len(), lost: None });
    }

    /// Adds a record that could not be kept.
    pub(super) fn push_lost(&mut self, line: u64, why: &'static str) {
        self.records.push(Record { line, fields: self.ends.len(), lost: Some(why) });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether the chunk is full, `records` being the wanted number.
    pub(super) fn is_full(&self, records: usize) -> bool {
        self.records.len() >= records || self.text.len() >= MAX_TEXT
    }

    /// The records in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Fields<'_>> {
        let starts = std::iter::once(0).chain(self.records.iter().map(|record| record.fields));
        starts.zip(&self.records).map(|(start, record)| Fields {
            line: record.line,
            text: &self.text,
            ends: &self.ends[start..record.fields],
            first: start.checked_sub(1).map_or(0, |before| self.ends[before]),
            lost: record.lost,
        })
    }
}

impl<'c> Fields<'c> {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Field `index`, empty when there is none.
    pub(super) fn get(&self, index: usize) -> &'c [u8] {
        let start = index.checked_sub(1).map_or(self.first, |before| self.ends.get(before).copied().unwrap_or(0));
        self.ends.get(index).and_then(|end| self.text.get(start..*end)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_bounds() {
        let mut chunk = Chunk::default();
        chunk.push(1, b"abc", &[1, 3]);
        chunk.push_lost(2, "too long");
        chunk.push(5, b"", &[0]);
        chunk.push(6, b"xyz", &[0, 3]);
        let all: Vec<(u64, Vec<&[u8]>)> =
            chunk.iter().map(|f| (f.line, (0..f.len()).map(|i| f.get(i)).collect())).collect();
        let expected: Vec<(u64, Vec<&[u8]>)> =
            vec![(1, vec![b"a", b"bc"]), (2, vec![]), (5, vec![b""]), (6, vec![b"", b"xyz"])];
        assert_eq!(all, expected);
    }
}
