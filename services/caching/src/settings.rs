//! The section `[cache]`; `settings.toml` documents each key.

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_redis::RedisSettings;
use forebay_runtime::{Layers, Problems};
use serde::Deserialize;

use crate::cache_policy::CachePolicy;

/// The settings of the caching stage.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[cache]`
    pub cache: CacheSettings,
    /// `[redis]`
    pub redis: RedisSettings,
}

/// `[cache]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Where answers are cached, except for the models in `models`.
    pub policy: CachePolicy,
    /// Memory for answers in bytes.
    #[serde(with = "forebay_runtime::size")]
    pub capacity: u64,
    /// Lifetime of an answer.
    #[serde(with = "forebay_runtime::duration")]
    pub ttl: Duration,
    /// Most requests that may wait for an equal one at a time.
    pub waiters: usize,
    /// Longest time that a request waits for an equal one.
    #[serde(with = "forebay_runtime::duration")]
    pub max_wait: Duration,
    /// Most predictions that may wait to be stored.
    pub pending_stores: usize,
    /// Policies of individual models by name.
    pub models: BTreeMap<String, CachePolicy>,
}

impl Settings {
    /// Reads and checks the sections; adds everything that is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let cache = layers.section::<CacheSettings>("cache", problems);
        let redis = RedisSettings::read(layers, problems);
        let settings = Self { cache: cache?, redis: redis? };
        settings.check(problems);
        Some(settings)
    }

    fn check(&self, problems: &mut Problems) {
        let Self { cache, redis } = self;
        if cache.ttl < Duration::from_secs(1) {
            problems.add(
                "cache.ttl",
                "is shorter than a second, expected at least \"1s\"; policy = \"off\" disables the cache",
            );
        }
        if cache.max_wait.is_zero() || cache.max_wait > Duration::from_secs(10) {
            problems.add("cache.max_wait", "is out of range, expected more than 0 and at most \"10s\"");
        }
        if redis.url.is_empty() {
            let default = [("cache.policy".to_owned(), cache.policy)];
            let models = cache.models.iter().map(|(model, policy)| (format!("cache.models.{model}"), *policy));
            for (key, _) in default.into_iter().chain(models).filter(|(_, policy)| *policy == CachePolicy::Redis) {
                problems.add(key, "is \"redis\", but redis.url is empty");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;
    use crate::DEFAULTS;

    fn read(environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
        let sources = settings(&[forebay_redis::DEFAULTS, DEFAULTS]).environment(environment).flags(flags);
        sources.read(Settings::read).map_err(|error| format!("{:?}", error.problems))
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = read(&[], &[]).unwrap();
        assert_eq!(settings.cache.policy, CachePolicy::Auto);
        assert_eq!(settings.cache.ttl, Duration::from_secs(3600));
        assert!(settings.redis.url.is_empty());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let found = read(&[("FOREBAY__REDIS__URL", "http://:secret-word@x")], &["cache.ttl=0s", "cache.max_wait=0s"]);
        let found = found.unwrap_err();
        for key in ["redis.url", "cache.ttl\"", "cache.max_wait"] {
            assert!(found.contains(key), "{key} in {found}");
        }
        assert!(!found.contains("secret-word"), "{found}");
    }

    #[test]
    fn a_policy_that_needs_redis_needs_its_address() {
        assert!(read(&[], &["cache.models.slow=redis"]).unwrap_err().contains("cache.models.slow"));
        assert!(read(&[("REDIS_HOST", "redis-master.mlflow")], &["cache.models.slow=redis"]).is_ok());
    }
}
