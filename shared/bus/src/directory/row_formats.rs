//! The row formats of the versions on this replica, as it reports them.

use std::collections::BTreeMap;

use forebay_contract::RowFormat;

/// Most bytes of feature names reported for one model: a state has to fit into a record.
const LARGEST: usize = 256 * 1024;

type Row = (Vec<String>, bool);

/// Row formats by model and version.
#[derive(Default)]
pub(super) struct RowFormats(BTreeMap<(String, u32), Row>);

impl RowFormats {
    pub(super) fn put(&mut self, model: &str, version: u32, features: Vec<String>, accepts_missing: bool) {
        self.0.insert((model.to_owned(), version), (features, accepts_missing));
    }

    /// The formats of these versions of `model`, one for all versions with equal rows. Other versions are forgotten.
    pub(super) fn of(&mut self, model: &str, versions: &[u32]) -> Vec<RowFormat> {
        self.0.retain(|(known, version), _| known != model || versions.contains(version));
        let mut formats: BTreeMap<&Row, Vec<u32>> = BTreeMap::new();
        for ((_, version), row) in self.0.iter().filter(|((known, _), _)| known == model) {
            formats.entry(row).or_default().push(*version);
        }
        let mut left = LARGEST;
        let mut fits = |row: &Row| {
            let size = row.0.iter().map(String::len).sum::<usize>();
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        };
        let fitting = formats.into_iter().filter(|(row, _)| fits(row));
        let format = |((features, accepts_missing), versions): (&Row, Vec<u32>)| RowFormat {
            features: features.clone(),
            accepts_missing: *accepts_missing,
            versions,
        };
        fitting.map(format).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_stand_together_and_what_is_too_large_stays_away() {
        let mut formats = RowFormats::default();
        for version in 1..=3 {
            formats.put("m", version, vec!["age".into(), "bmi".into()], version == 3);
        }
        formats.put("m", 4, vec!["x".repeat(LARGEST)], false);
        formats.put("other", 1, vec![], false);
        let of = |formats: &mut RowFormats, versions: &[u32]| {
            formats.of("m", versions).into_iter().map(|format| format.versions).collect::<Vec<_>>()
        };
        assert_eq!(of(&mut formats, &[1, 2, 3, 4]), [vec![1, 2], vec![3]]);
        assert_eq!(of(&mut formats, &[1, 4]), [vec![1]]);
        assert_eq!(of(&mut formats, &[1, 2, 3, 4]), [vec![1]], "what was retired is forgotten");
        assert_eq!(formats.of("other", &[1]).len(), 1);
    }
}
