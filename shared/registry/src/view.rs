//! The listing of a model: its versions, stages and aliases, and how a requested version is resolved to a number.

use std::collections::BTreeMap;

use super::RegistryError;

/// The stage and the alias that answer requests without a version.
const PRODUCTION: &str = "production";
const CHAMPION: &str = "champion";

/// One version as the registry lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionView {
    pub version: u32,
    /// `Production`, `Staging`, `Archived`, ..., as written in the registry.
    pub stage: Option<String>,
    /// Flavor in `MLmodel`: `sklearn`, `burn`, `onnx`; `unknown` when `MLmodel` has none.
    pub flavor: String,
    /// Identifies the content of the version; see [`crate::Registry`] for what it is computed from.
    pub digest: [u8; 32],
    /// What an answer holds when the request does not say, by the version's tag.
    pub output: Option<String>,
}

/// One registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelView {
    pub name: String,
    /// Increases when anything about the model changes; of two views the one with the higher generation is newer.
    pub generation: u64,
    /// All listed versions, in ascending order.
    pub versions: Vec<VersionView>,
    pub aliases: BTreeMap<String, u32>,
}

/// The version that a request was resolved to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    pub version: u32,
    /// False when the requested version is unknown and Production is used instead.
    pub exact: bool,
}

impl ModelView {
    /// Resolves a requested version to a version number.
    ///
    /// `None` or blank: Production. `"v1"` or `"1"`: version 1. `"latest"`: the highest version. Else an alias
    /// (exact) or a stage (case-insensitive). Anything unknown: Production, with `exact = false`.
    /// Production is the highest version in that stage, else the alias `production` or `champion`, else the
    /// highest version.
    ///
    /// # Errors
    /// [`RegistryError::NoVersions`] when the model has no version.
    pub fn resolve(&self, requested: Option<&str>) -> Result<Resolution, RegistryError> {
        let production = self.production()?;
        let requested = requested.map(str::trim).filter(|a| !a.is_empty());
        Ok(match requested {
            None => Resolution { version: production, exact: true },
            Some(requested) => {
                self.find(requested).map_or(Resolution { version: production, exact: false }, |version| Resolution {
                    version,
                    exact: true,
                })
            }
        })
    }

    /// The listed version `version`.
    pub fn version(&self, version: u32) -> Option<&VersionView> {
        self.versions.iter().find(|v| v.version == version)
    }

    /// Whether somebody gave the version a stage or an alias, or it answers for want of one that has.
    pub fn is_named(&self, version: u32) -> bool {
        let staged =
            self.version(version).and_then(|v| v.stage.as_deref()).is_some_and(|s| s != "Archived" && s != "None");
        let answers = self.resolve(None).is_ok_and(|found| found.version == version);
        staged || answers || self.aliases.values().any(|aliased| *aliased == version)
    }

    /// The version with this alias; the match is exact.
    pub(super) fn aliased(&self, alias: &str) -> Option<u32> {
        self.aliases.get(alias).filter(|v| self.version(**v).is_some()).copied()
    }

    /// The highest version of a stage; `Production` may be an alias, as in [`ModelView::resolve`].
    pub(super) fn staged(&self, stage: &str) -> Option<u32> {
        if stage.eq_ignore_ascii_case(PRODUCTION) { self.in_production() } else { self.in_stage(stage) }
    }

    fn find(&self, requested: &str) -> Option<u32> {
        let digits = requested.strip_prefix(['v', 'V']).unwrap_or(requested);
        if let Ok(number) = digits.parse::<u32>() {
            return self.version(number).map(|v| v.version);
        }
        if let Some(aliased) = self.aliased(requested) {
            return Some(aliased);
        }
        if requested.eq_ignore_ascii_case("latest") {
            return self.versions.last().map(|v| v.version);
        }
        self.staged(requested)
    }

    fn in_stage(&self, stage: &str) -> Option<u32> {
        let staged = |v: &&VersionView| v.stage.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(stage));
        self.versions.iter().rev().find(staged).map(|v| v.version)
    }

    fn in_production(&self) -> Option<u32> {
        let aliased = |name: &str| {
            let hit = self.aliases.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name))?;
            self.version(*hit.1).map(|v| v.version)
        };
        self.in_stage(PRODUCTION).or_else(|| aliased(PRODUCTION)).or_else(|| aliased(CHAMPION))
    }

    fn production(&self) -> Result<u32, RegistryError> {
        let latest = self.versions.last().ok_or_else(|| RegistryError::NoVersions { model: self.name.clone() })?;
        Ok(self.in_production().unwrap_or(latest.version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(stages: &[(u32, Option<&str>)], aliases: &[(&str, u32)]) -> ModelView {
        ModelView {
            name: "m".into(),
            generation: 1,
            versions: stages
                .iter()
                .map(|(version, stage)| VersionView {
                    version: *version,
                    stage: stage.map(str::to_owned),
                    flavor: "sklearn".into(),
                    digest: [0; 32],
                    output: None,
                })
                .collect(),
            aliases: aliases.iter().map(|(a, v)| ((*a).to_owned(), *v)).collect(),
        }
    }

    #[test]
    fn a_requested_version_becomes_a_number() {
        let m = view(&[(1, None), (2, Some("Production")), (4, Some("Staging"))], &[("candidate", 4), ("gone", 9)]);
        let get = |requested| {
            let r = m.resolve(requested).unwrap();
            (r.version, r.exact)
        };
        assert_eq!(get(None), (2, true));
        assert_eq!(get(Some("  ")), (2, true));
        assert_eq!(get(Some("v1")), (1, true));
        assert_eq!(get(Some("4")), (4, true));
        assert_eq!(get(Some("latest")), (4, true));
        assert_eq!(get(Some("candidate")), (4, true));
        assert_eq!(get(Some("staging")), (4, true));
        assert_eq!(get(Some("production")), (2, true));
        assert_eq!(get(Some("v7")), (2, false));
        assert_eq!(get(Some("gone")), (2, false), "an alias of a version that does not exist is not exact");
        assert_eq!(get(Some("nonsense")), (2, false));
    }

    #[test]
    fn production_falls_back_to_alias_then_latest() {
        assert_eq!(view(&[(1, None), (2, None)], &[("champion", 1)]).resolve(None).unwrap().version, 1);
        assert_eq!(view(&[(1, None), (2, None)], &[]).resolve(None).unwrap().version, 2);
        assert!(matches!(view(&[], &[]).resolve(None), Err(RegistryError::NoVersions { .. })));
    }
}
