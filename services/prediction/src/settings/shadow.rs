//! The versions that score rows for comparison, as the settings name them.

use std::fmt;

/// A version that scores the rows of its model without answering them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShadowTarget {
    pub model: String,
    pub version: ShadowVersion,
}

/// How a shadow version is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ShadowVersion {
    /// By its number.
    Number(u32),
    /// By an alias or a stage: the version that it resolves to at the time of the call.
    Named(String),
}

/// `prediction.shadow` and `prediction.shadow_tolerance`.
#[derive(Debug, Clone)]
pub(crate) struct ShadowSettings {
    pub targets: Vec<ShadowTarget>,
    /// Relative difference above which two numbers disagree.
    pub tolerance: f64,
}

impl ShadowTarget {
    /// Parses `model/version` or `model@name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (model, version) = text.split_at(text.rfind(['/', '@'])?);
        let name = version.get(1..).filter(|name| !name.is_empty() && !model.is_empty())?;
        let digits = name.strip_prefix(['v', 'V']).unwrap_or(name);
        let version = match digits.parse() {
            Ok(number) if version.starts_with('/') => ShadowVersion::Number(number),
            _ => ShadowVersion::Named(name.to_owned()),
        };
        Some(Self { model: model.to_owned(), version })
    }
}

impl fmt::Display for ShadowTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            ShadowVersion::Number(number) => write!(f, "{}/{number}", self.model),
            ShadowVersion::Named(name) => write!(f, "{}@{name}", self.model),
        }
    }
}
