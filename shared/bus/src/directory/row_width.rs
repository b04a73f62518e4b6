//! How wide the rows of a model are, as the replicas report.

use forebay_contract::ViewVersion;

use super::ModelDirectory;

impl ModelDirectory {
    /// How many values a row of the widest version of `model` has; `None` while a version has not been described by a replica,
    /// except those that none could load. It takes the lock of the topic's reader.
    pub fn widest_row(&self, model: &str) -> Option<usize> {
        let (view, replicas) = (self.view(model)?, self.replicas(model));
        let mut widest = 0;
        for ViewVersion { version, .. } in &view.versions {
            let rows = replicas.iter().flat_map(|replica| &replica.rows);
            match rows.filter(|rows| rows.versions.contains(version)).map(|rows| rows.features.len()).max() {
                Some(width) => widest = widest.max(width),
                None if self.ready_count(model, *version).all_failed() => {}
                None => return None,
            }
        }
        Some(widest)
    }
}
