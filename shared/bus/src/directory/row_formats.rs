//! The row formats of the versions on this replica, as it reports them.

use std::collections::BTreeMap;

use forebay_contract::RowFormat;

/// Most bytes of feature names reported for one model: a state has to fit into a record.
const LARGEST: usize = 256 * 1024;

/// Row formats by model and version.
#[derive(Default)]
pub(super) struct RowFormats(BTreeMap<(String, u32), RowFormat>);

impl RowFormats {
    /// The versions of `format` do not count.
    pub(super) fn put(&mut self, model: &str, version: u32, format: RowFormat) {
        self.0.insert((model.to_owned(), version), RowFormat { versions: Vec::new(), ..format });
    }

    /// The formats of these versions of `model`, one for all versions with equal rows. Other versions are forgotten.
    pub(super) fn of(&mut self, model: &str, versions: &[u32]) -> Vec<RowFormat> {
        self.0.retain(|(known, version), _| known != model || versions.contains(version));
        let mut formats: Vec<RowFormat> = Vec::new();
        for ((_, version), row) in self.0.iter().filter(|((known, _), _)| known == model) {
            match formats.iter_mut().find(|format| same_rows(format, row)) {
                Some(format) => format.versions.push(*version),
                None => formats.push(RowFormat { versions: vec![*version], ..row.clone() }),
            }
        }
        let mut left = LARGEST;
        formats.retain(|format| {
            let size = format.features.iter().chain(&format.params).map(String::len).sum::<usize>();
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        });
        formats
    }
}

/// Whether two formats describe the same rows and answers.
fn same_rows(a: &RowFormat, b: &RowFormat) -> bool {
    let answer = |format: &RowFormat| (format.answer, format.outputs, format.probabilities, format.decision_function);
    let rows = a.accepts_missing == b.accepts_missing && a.kinds == b.kinds && a.optional == b.optional;
    let names = a.features == b.features && a.output_name == b.output_name && a.params == b.params;
    rows && answer(a) == answer(b) && names
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::ColumnKind;

    fn format(features: &[&str], accepts_missing: bool) -> RowFormat {
        let features = features.iter().map(|&name| name.to_owned()).collect();
        RowFormat { features, accepts_missing, ..RowFormat::default() }
    }

    #[test]
    fn equal_rows_stand_together_and_what_is_too_large_stays_away() {
        let mut formats = RowFormats::default();
        for version in 1..=3 {
            formats.put("m", version, format(&["age", "bmi"], version == 3));
        }
        formats.put("m", 4, format(&["x".repeat(LARGEST).as_str()], false));
        formats.put("other", 1, format(&[], false));
        let of = |formats: &mut RowFormats, versions: &[u32]| {
            formats.of("m", versions).into_iter().map(|format| format.versions).collect::<Vec<_>>()
        };
        assert_eq!(of(&mut formats, &[1, 2, 3, 4]), [vec![1, 2], vec![3]]);
        assert_eq!(of(&mut formats, &[1, 4]), [vec![1]]);
        assert_eq!(of(&mut formats, &[1, 2, 3, 4]), [vec![1]], "what was retired is forgotten");
        assert_eq!(formats.of("other", &[1]).len(), 1);
    }

    #[test]
    fn columns_of_another_kind_are_other_rows() {
        let mut formats = RowFormats::default();
        formats.put("m", 1, format(&["age"], false));
        formats.put("m", 2, RowFormat { kinds: vec![ColumnKind::Text.into()], ..format(&["age"], false) });
        formats.put("m", 3, RowFormat { answer: ColumnKind::Text.into(), ..format(&["age"], false) });
        formats.put("m", 4, RowFormat { params: vec!["threshold".to_owned()], ..format(&["age"], false) });
        formats.put("m", 5, RowFormat { output_name: "y".to_owned(), ..format(&["age"], false) });
        assert_eq!(formats.of("m", &[1, 2, 3, 4, 5]).len(), 5);
    }
}
