//! The sections `[cache]` and `[redis]`; `settings.toml` says what each key means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use forebay_runtime::{Layers, Problems, Secret};
use serde::Deserialize;

use crate::policy::Policy;

/// What the caching stage needs to know.
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
    /// Where answers are kept, unless `models` says otherwise.
    pub policy: Policy,
    /// Memory for answers, bytes.
    #[serde(with = "forebay_runtime::size")]
    pub capacity: u64,
    /// How long an answer is kept.
    #[serde(with = "forebay_runtime::duration")]
    pub ttl: Duration,
    /// Share of the ttl by which it varies in Redis, 0 to 0.5.
    pub ttl_jitter: f64,
    /// Most requests that wait for an equal one.
    pub waiters: usize,
    /// The longest such a wait.
    #[serde(with = "forebay_runtime::duration")]
    pub max_wait: Duration,
    /// Most predictions that wait to be stored.
    pub pending_stores: usize,
    /// Policies of single models.
    pub models: BTreeMap<String, Policy>,
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Empty: memory only.
    pub url: Secret,
    /// Name of the ACL user; empty: the one in `url`, else the server's default user.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// PEM file of the authorities that the server's certificate comes from; empty means the machine's.
    pub ca_file: PathBuf,
    /// PEM file of this process's certificate with its chain; empty means none.
    pub client_cert_file: PathBuf,
    /// PEM file of the key to it.
    pub client_key_file: PathBuf,
    /// The longest look or store.
    #[serde(with = "forebay_runtime::duration")]
    pub timeout: Duration,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// How long it stays open.
    #[serde(with = "forebay_runtime::duration")]
    pub breaker_open: Duration,
    /// In front of every key.
    pub prefix: String,
}

impl Settings {
    /// Reads and checks the sections; everything that is wrong goes to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let cache = layers.section::<CacheSettings>("cache", problems);
        let redis = layers.section::<RedisSettings>("redis", problems);
        let settings = Self { cache: cache?, redis: redis? };
        settings.check(problems);
        Some(settings)
    }

    fn check(&self, problems: &mut Problems) {
        let Self { cache, redis } = self;
        if cache.ttl < Duration::from_secs(1) {
            problems
                .add("cache.ttl", "is shorter than a second, expected at least \"1s\"; policy = \"off\" keeps nothing");
        }
        if !(0.0..=0.5).contains(&cache.ttl_jitter) {
            problems.add("cache.ttl_jitter", format!("is {}, expected a share from 0 to 0.5", cache.ttl_jitter));
        }
        if cache.max_wait.is_zero() || cache.max_wait > Duration::from_secs(10) {
            problems.add("cache.max_wait", "is out of range, expected more than nothing and at most \"10s\"");
        }
        if redis.timeout.is_zero() {
            problems.add("redis.timeout", "is 0, expected a duration such as \"20ms\"");
        }
        if redis.breaker_failures == 0 {
            problems.add("redis.breaker_failures", "is 0, expected at least 1");
        }
        if redis.url.is_empty() {
            let asked = [("cache.policy".to_owned(), cache.policy)];
            let models = cache.models.iter().map(|(model, policy)| (format!("cache.models.{model}"), *policy));
            for (key, _) in asked.into_iter().chain(models).filter(|(_, policy)| *policy == Policy::Redis) {
                problems.add(key, "is \"redis\", but redis.url is empty");
            }
        } else if let Err(refused) = redis.client() {
            problems.add(refused.key, refused.text);
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;
    use crate::DEFAULTS;

    fn read(environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, String> {
        let sources = settings(&[DEFAULTS]).environment(environment).flags(flags);
        sources.read(Settings::read).map_err(|error| format!("{:?}", error.problems))
    }

    #[test]
    fn the_defaults_are_sound() {
        let settings = read(&[], &[]).unwrap();
        assert_eq!(settings.cache.policy, Policy::Auto);
        assert_eq!(settings.cache.ttl, Duration::from_secs(3600));
        assert!(settings.redis.url.is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let told = read(&[("FOREBAY__REDIS__URL", "http://:secret-word@x")], &["cache.ttl=0s", "cache.ttl_jitter=2.0"]);
        let told = told.unwrap_err();
        for key in ["redis.url", "cache.ttl\"", "cache.ttl_jitter"] {
            assert!(told.contains(key), "{key} in {told}");
        }
        assert!(!told.contains("secret-word"), "{told}");
    }

    #[test]
    fn a_policy_that_needs_redis_needs_its_address() {
        assert!(read(&[], &["cache.models.slow=redis"]).unwrap_err().contains("cache.models.slow"));
        assert!(read(&[("REDIS_HOST", "redis-master.mlflow")], &["cache.models.slow=redis"]).is_ok());
    }
}
