//! Which levels keep a model's answers.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Deserialize;

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nowhere, and equal requests do not share an inference.
    Off,
    /// In this process.
    Memory,
    /// In this process, and in Redis behind it.
    Redis,
    /// `Redis` where one is set, else `Memory`.
    Auto,
}

/// The policy of every model, with `Auto` resolved.
#[derive(Debug)]
pub(crate) struct Policies {
    usual: Policy,
    models: FxHashMap<String, Policy>,
}

impl Policies {
    pub(crate) fn new(usual: Policy, models: &BTreeMap<String, Policy>, has_redis: bool) -> Self {
        let resolve = |policy: Policy| match policy {
            Policy::Auto | Policy::Redis if has_redis => Policy::Redis,
            Policy::Auto | Policy::Redis => Policy::Memory,
            Policy::Memory | Policy::Off => policy,
        };
        let models = models.iter().map(|(model, policy)| (model.clone(), resolve(*policy))).collect();
        Self { usual: resolve(usual), models }
    }

    pub(crate) fn of(&self, model: &str) -> Policy {
        if self.models.is_empty() {
            return self.usual;
        }
        self.models.get(model).copied().unwrap_or(self.usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_redis_only_where_there_is_one() {
        let models = BTreeMap::from([("fast".to_owned(), Policy::Off), ("slow".to_owned(), Policy::Auto)]);
        let with = Policies::new(Policy::Auto, &models, true);
        assert_eq!((with.of("any"), with.of("fast"), with.of("slow")), (Policy::Redis, Policy::Off, Policy::Redis));
        let without = Policies::new(Policy::Auto, &models, false);
        assert_eq!((without.of("any"), without.of("slow")), (Policy::Memory, Policy::Memory));
    }
}
