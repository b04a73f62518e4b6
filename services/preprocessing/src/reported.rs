//! What the prediction replicas report of the versions that the registry lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_bus::ModelDirectory;
use forebay_contract::{ReplicaState, RowFormat};
use forebay_registry::{ModelView, VersionView};

/// What the replicas report of one version.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReportedVersion {
    /// What its rows look like, from a replica that has loaded it.
    pub format: Option<RowFormat>,
    /// The content that the format belongs to.
    digest: [u8; 32],
    /// No live replica could load it.
    pub failed: bool,
}

/// The reports on all listed versions, by model and number.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ReportedVersions(BTreeMap<(String, u32), ReportedVersion>);

impl ReportedVersions {
    /// Reads the reports on the versions of `views`. A format that `previous` has for the same content is kept while no
    /// live replica reports one: what a version takes does not change when the replicas are restarted.
    pub(crate) fn read(directory: &ModelDirectory, views: &[ModelView], previous: &Self) -> Self {
        let mut reported = BTreeMap::new();
        for view in views {
            let replicas = directory.replicas(&view.name);
            for version in &view.versions {
                let failed = directory.ready_count(&view.name, version.version).all_failed();
                let known = previous.get(&view.name, version.version).filter(|known| known.digest == version.digest);
                let format = format(&replicas, version).or_else(|| known.and_then(|known| known.format.clone()));
                let report = ReportedVersion { format, digest: version.digest, failed };
                reported.insert((view.name.clone(), version.version), report);
            }
        }
        Self(reported)
    }

    /// The report on one version.
    pub(crate) fn get(&self, model: &str, version: u32) -> Option<&ReportedVersion> {
        self.0.get(&(model.to_owned(), version))
    }
}

/// The format of a version from a replica that has loaded its present content, else from any that has an earlier one.
fn format(replicas: &[Arc<ReplicaState>], version: &VersionView) -> Option<RowFormat> {
    let current = |replica: &&Arc<ReplicaState>| {
        replica.versions.iter().any(|state| state.version == version.version && *state.digest == version.digest)
    };
    let of = |replica: &Arc<ReplicaState>| {
        let format = replica.rows.iter().find(|format| format.versions.contains(&version.version))?;
        // which other versions take such rows does not matter, and changes often
        Some(RowFormat { versions: Vec::new(), ..format.clone() })
    };
    replicas.iter().filter(current).find_map(of).or_else(|| replicas.iter().find_map(of))
}
