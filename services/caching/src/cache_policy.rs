//! Where the answers of each model are cached.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Deserialize;

/// Where answers are cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CachePolicy {
    /// Nowhere. Equal requests do not share a prediction either.
    Off,
    /// In the memory of the process.
    Memory,
    /// In the memory of the process, and in Redis behind it.
    Redis,
    /// `Redis` if `redis.url` is set, otherwise `Memory`.
    Auto,
}

/// The policy of each model, with `Auto` resolved.
#[derive(Debug)]
pub(crate) struct ModelPolicies {
    /// The policy of models that are not listed.
    default: CachePolicy,
    models: FxHashMap<String, CachePolicy>,
}

impl ModelPolicies {
    pub(crate) fn new(default: CachePolicy, models: &BTreeMap<String, CachePolicy>, has_redis: bool) -> Self {
        let resolve = |policy: CachePolicy| match policy {
            CachePolicy::Auto | CachePolicy::Redis if has_redis => CachePolicy::Redis,
            CachePolicy::Auto | CachePolicy::Redis => CachePolicy::Memory,
            CachePolicy::Memory | CachePolicy::Off => policy,
        };
        let models = models.iter().map(|(model, policy)| (model.clone(), resolve(*policy))).collect();
        Self { default: resolve(default), models }
    }

    pub(crate) fn of(&self, model: &str) -> CachePolicy {
        if self.models.is_empty() {
            return self.default;
        }
        self.models.get(model).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_redis_only_if_redis_is_set() {
        let models = BTreeMap::from([("fast".to_owned(), CachePolicy::Off), ("slow".to_owned(), CachePolicy::Auto)]);
        let with = ModelPolicies::new(CachePolicy::Auto, &models, true);
        assert_eq!(
            (with.of("any"), with.of("fast"), with.of("slow")),
            (CachePolicy::Redis, CachePolicy::Off, CachePolicy::Redis)
        );
        let without = ModelPolicies::new(CachePolicy::Auto, &models, false);
        assert_eq!((without.of("any"), without.of("slow")), (CachePolicy::Memory, CachePolicy::Memory));
    }
}
