//! The versions of one model, and how a requested version becomes one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_contract::SplitKey;
use forebay_registry::ModelView;

use super::snapshot::{CatalogPolicy, ListedModel};
use crate::served_version::ServedVersion;
use crate::traffic_split::TrafficSplit;

/// The version that a request was pinned to.
#[derive(Debug, Clone)]
pub struct ResolvedVersion {
    /// The version.
    pub version: Arc<ServedVersion>,
    /// How the result names it: as requested, when a version number was requested and answers, else `v<N>`.
    pub label: String,
    /// What was requested when another version was pinned, else empty.
    pub fallback_from: String,
}

/// One model. Versions that cannot be used are not in `served`.
#[derive(Debug)]
pub(super) struct ModelVersions {
    view: ModelView,
    served: BTreeMap<u32, Arc<ServedVersion>>,
    /// The version that answers requests without a version.
    production: u32,
    /// The version that is Production in the registry, which may not be in effect yet.
    registered: u32,
    stage: String,
    /// The end of each share's buckets and the version of the share; empty without a split.
    shares: Vec<(u16, ResolvedVersion)>,
}

impl ModelVersions {
    /// Compiles a model; `None` when it has no version.
    pub(super) fn new(policy: &CatalogPolicy, listed: ListedModel) -> Option<Self> {
        let ListedModel { view, versions, production } = listed;
        let registered = view.resolve(Some(&policy.stage)).ok()?.version;
        let served = versions.into_iter().map(|version| {
            let served = ServedVersion::new(version, &policy.rules);
            (served.version, Arc::new(served))
        });
        let (served, stage) = (served.collect(), policy.stage.clone());
        Some(Self { view, served, production, registered, stage, shares: Vec::new() })
    }

    /// Whether a version can be used.
    pub(super) fn has(&self, version: u32) -> bool {
        self.served.contains_key(&version)
    }

    /// Pins a version; `None` when none can be used. An empty `requested` is Production.
    pub(super) fn resolve(&self, requested: &str) -> Option<ResolvedVersion> {
        let found = if requested.is_empty() { None } else { self.find(requested) };
        let wanted = found.unwrap_or(self.production);
        let version = [wanted, self.production].iter().find_map(|version| self.served.get(version));
        let version = Arc::clone(version.or_else(|| self.served.values().next_back())?);
        let answers = version.version == wanted;
        let fallback_from = match (requested.is_empty(), found.is_some() && answers) {
            (_, true) => String::new(),
            (false, false) => requested.to_owned(),
            (true, false) if answers => String::new(),
            (true, false) => format!("v{wanted}"),
        };
        let as_requested = found.is_some() && answers && is_number(requested);
        let label = if as_requested { requested.to_owned() } else { version.label.clone() };
        Some(ResolvedVersion { version, label, fallback_from })
    }

    /// The version number that a request names. A name for Production means the version in effect.
    fn find(&self, requested: &str) -> Option<u32> {
        let found = self.view.resolve(Some(requested)).ok().filter(|found| found.exact)?.version;
        let names = ["production", "champion", &self.stage];
        let production = names.iter().any(|name| requested.eq_ignore_ascii_case(name));
        Some(if production && found == self.registered { self.production } else { found })
    }

    /// Gives requests without a version to the shares of `split`. Production answers for versions that are not there,
    /// which are reported to `missing`.
    pub(super) fn split(&mut self, split: &TrafficSplit, mut missing: impl FnMut(&str)) {
        let share = |(version, below): (&str, u16)| {
            let found = self.find(version).and_then(|number| self.served.get(&number));
            let resolved = match found {
                Some(version) => {
                    let (version, label) = (Arc::clone(version), version.label.clone());
                    ResolvedVersion { version, label, fallback_from: String::new() }
                }
                None => {
                    missing(version);
                    self.resolve("")?
                }
            };
            Some((below, resolved))
        };
        self.shares = split.shares().filter_map(share).collect();
    }

    /// The version whose share the key belongs to; `None` without a split.
    pub(super) fn share(&self, model: &str, key: impl FnOnce() -> SplitKey) -> Option<&ResolvedVersion> {
        if self.shares.is_empty() {
            return None;
        }
        let bucket = key().bucket(model);
        self.shares.iter().find(|(below, _)| bucket < *below).map(|(_, resolved)| resolved)
    }
}

/// Whether a version number was requested, as in `v3` or `3`.
fn is_number(requested: &str) -> bool {
    requested.strip_prefix(['v', 'V']).unwrap_or(requested).parse::<u32>().is_ok()
}
