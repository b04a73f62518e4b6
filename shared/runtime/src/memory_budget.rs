//! The memory budget of a process: a table of what takes memory, each part with its bytes, whose sum is at most what the
//! process may use. Parts that are not set share what the others leave.

use std::collections::BTreeMap;
use std::fmt::{self, Error};

use bytesize::ByteSize;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::metrics::Metrics;
use crate::settings::{Layers, MemorySettings, Problems};

/// Something that takes memory, before its bytes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPart {
    name: &'static str,
    /// Key of the setting that bounds it; empty if there is none.
    setting: &'static str,
    size: PartSize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartSize {
    /// So many bytes.
    Fixed(u64),
    /// Between `least` and `most` bytes, in proportion to `weight`.
    Share { weight: u64, least: u64, most: u64 },
}

impl MemoryPart {
    /// A part of exactly `bytes`; `setting` is the key that says so.
    pub fn fixed(name: &'static str, setting: &'static str, bytes: u64) -> Self {
        Self { name, setting, size: PartSize::Fixed(bytes) }
    }

    /// A part that gets `least` bytes, and of what is left a share in proportion to `weight`, `most` in all.
    pub fn share(name: &'static str, setting: &'static str, weight: u64, (least, most): (u64, u64)) -> Self {
        Self { name, setting, size: PartSize::Share { weight, least: least.min(most), most } }
    }

    /// The part that `setting` bounds: `bytes` exactly if it is set, else a share of at most so many.
    pub fn of_setting(
        layers: &Layers,
        name: &'static str,
        setting: &'static str,
        weight: u64,
        (least, bytes): (u64, u64),
    ) -> Self {
        if layers.is_set(setting) {
            Self::fixed(name, setting, bytes)
        } else {
            Self::share(name, setting, weight, (least, bytes))
        }
    }

    fn least(&self) -> u64 {
        match self.size {
            PartSize::Fixed(bytes) => bytes,
            PartSize::Share { least, .. } => least,
        }
    }

    /// What this part may get beyond its least, and its weight in the division.
    fn room(&self) -> (u64, u64) {
        match self.size {
            PartSize::Fixed(_) => (0, 0),
            PartSize::Share { weight, least, most } => (most - least, weight),
        }
    }
}

/// Settings of a process whose memory is divided.
pub trait DividesMemory {
    /// The parts, and what each of them has.
    fn memory(&self) -> &MemoryBudget;
}

impl DividesMemory for MemoryBudget {
    fn memory(&self) -> &MemoryBudget {
        self
    }
}

/// Settings of the process, and others beside them.
impl<M: DividesMemory, S> DividesMemory for (M, S) {
    fn memory(&self) -> &MemoryBudget {
        self.0.memory()
    }
}

/// Settings that bound memory.
pub trait UsesMemory {
    /// What takes memory, as the settings and their origins in `layers` say.
    fn memory_parts(&self, layers: &Layers) -> Vec<MemoryPart>;

    /// Lowers the bounds that are not set to what `budget` has for them. By default there are none.
    fn fit(&mut self, _budget: &MemoryBudget) {}
}

/// The table. It is empty in tests that need none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryBudget {
    limit: u64,
    bytes: BTreeMap<&'static str, u64>,
}

/// The parts need more than the process may use.
#[derive(Debug, thiserror::Error)]
#[error(
    "is {limit}, and the parts of this process need at least {needed}: {parts}. Lower one of the settings in brackets, \
     or raise the memory limit of the process (0.8 of its control group's counts) or memory.limit"
)]
pub struct OverCommitted {
    limit: ByteSize,
    needed: ByteSize,
    parts: String,
}

impl MemoryBudget {
    /// Divides the memory that the process may use, as `memory.limit` says; parts of the same name are one.
    pub fn read(layers: &Layers, parts: Vec<MemoryPart>, problems: &mut Problems) -> Option<Self> {
        // what is wrong with the section itself is reported where the common settings are read
        let settings = layers.section::<MemorySettings>("memory", &mut layers.problems())?;
        match Self::divide(settings.limit.unwrap_or_else(crate::memory_budget), parts) {
            Ok(budget) => Some(budget),
            Err(over) => {
                problems.add("memory.limit", over.to_string());
                None
            }
        }
    }

    /// Divides `limit` bytes.
    ///
    /// # Errors
    /// If the parts need more at least.
    pub fn divide(limit: u64, parts: Vec<MemoryPart>) -> Result<Self, OverCommitted> {
        let needed = parts.iter().map(MemoryPart::least).fold(0, u64::saturating_add);
        if needed > limit {
            return Err(OverCommitted { limit: ByteSize(limit), needed: ByteSize(needed), parts: shown(&parts) });
        }
        let mut left = limit - needed;
        let mut added = vec![0; parts.len()];
        // those that cannot take their whole share leave the rest of it to the others
        loop {
            let open = |at: usize| parts[at].room().0 > added[at];
            let weights: u64 = (0..parts.len()).filter(|at| open(*at)).map(|at| parts[at].room().1).sum();
            let unit = left.checked_div(weights).unwrap_or(0);
            if unit == 0 {
                break;
            }
            let shares: Vec<u64> = (0..parts.len())
                .map(|at| {
                    let (room, weight) = parts[at].room();
                    if open(at) { unit.saturating_mul(weight).min(room - added[at]) } else { 0 }
                })
                .collect();
            left -= shares.iter().sum::<u64>();
            added.iter_mut().zip(shares).for_each(|(added, share)| *added += share);
        }
        let mut bytes = BTreeMap::new();
        for (part, added) in parts.iter().zip(added) {
            *bytes.entry(part.name).or_default() += part.least() + added;
        }
        Ok(Self { limit, bytes })
    }

    /// The bytes of a part; `None` if this process does not have it.
    pub fn of(&self, part: &str) -> Option<u64> {
        self.bytes.get(part).copied()
    }

    /// Every part with its bytes.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.bytes.iter().map(|(name, bytes)| (*name, *bytes))
    }

    /// The bytes that all parts have together, at most.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The table as text, a part in each line.
    pub fn table(&self) -> String {
        let mut text = format!("memory of this process: {}\n", ByteSize(self.limit));
        for (name, bytes) in &self.bytes {
            text.push_str(&format!("  {name:<20} {:>10}\n", ByteSize(*bytes).to_string()));
        }
        text
    }

    /// Writes the table into the log, and shows it as `forebay_memory_limit_bytes` and `forebay_memory_budget_bytes`.
    pub fn publish(&self, metrics: &Metrics) {
        if self.bytes.is_empty() {
            return;
        }
        tracing::info!(limit_bytes = self.limit, parts = %self, "memory budget");
        metrics.collect(BudgetMetrics(self.clone()));
    }
}

/// One line: `cache 64.0 MiB, process 48.0 MiB`.
impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, bytes)) in self.bytes.iter().enumerate() {
            write!(f, "{}{name} {}", if at > 0 { ", " } else { "" }, ByteSize(*bytes))?;
        }
        Ok(())
    }
}

/// The parts by what they need at least, the largest first, with the settings that bound them.
fn shown(parts: &[MemoryPart]) -> String {
    let mut parts: Vec<&MemoryPart> = parts.iter().collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.least()));
    let line = |part: &&MemoryPart| match part.setting {
        "" => format!("{} {}", part.name, ByteSize(part.least())),
        setting => format!("{} {} ({setting})", part.name, ByteSize(part.least())),
    };
    parts.iter().map(line).collect::<Vec<_>>().join(", ")
}

#[derive(Debug)]
struct BudgetMetrics(MemoryBudget);

impl Collector for BudgetMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let gauge = |bytes: u64| ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
        let help = "Memory that the process may use";
        let limit = encoder.encode_descriptor("forebay_memory_limit_bytes", help, None, MetricType::Gauge)?;
        gauge(self.0.limit).encode(limit)?;
        let help = "Memory that a part of the process may use";
        let mut parts = encoder.encode_descriptor("forebay_memory_budget_bytes", help, None, MetricType::Gauge)?;
        for (name, bytes) in &self.0.bytes {
            gauge(*bytes).encode(parts.encode_family(&[("part", *name)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn divide(limit: u64, parts: &[MemoryPart]) -> MemoryBudget {
        MemoryBudget::divide(limit * MIB, parts.to_vec()).unwrap()
    }

    #[test]
    fn parts_that_are_not_set_share_what_the_others_leave() {
        let fixed = MemoryPart::fixed("process", "", 40 * MIB);
        let cache = MemoryPart::share("cache", "cache.capacity", 1, (MIB, 64 * MIB));
        let models = MemoryPart::share("models", "", 3, (MIB, u64::MAX));
        let budget = divide(142, &[fixed.clone(), cache.clone(), models.clone()]);
        assert_eq!(
            ["process", "cache", "models"].map(|part| budget.of(part)),
            [Some(40), Some(26), Some(76)].map(|it| it.map(|mib| mib * MIB))
        );
        assert_eq!(budget.of("window"), None);
        // one that has enough leaves the rest to the others
        let large = divide(1041, &[fixed.clone(), cache, models.clone()]);
        assert_eq!((large.of("cache"), large.of("models")), (Some(64 * MIB), Some(937 * MIB)));
        // what is set is taken first
        let set = divide(140, &[fixed, MemoryPart::fixed("cache", "cache.capacity", 90 * MIB), models]);
        assert_eq!((set.of("cache"), set.of("models")), (Some(90 * MIB), Some(10 * MIB)));
    }

    #[test]
    fn the_sum_never_exceeds_the_limit_and_parts_of_one_name_are_one() {
        let parts = |most| [1, 2, 7].map(|weight| MemoryPart::share("clients", "", weight, (3, most))).to_vec();
        for (limit, most) in [(9, 100), (10, 100), (1000, 5), (12_345, u64::MAX), (u64::MAX, u64::MAX / 4)] {
            let budget = MemoryBudget::divide(limit, parts(most)).unwrap();
            let clients = budget.of("clients").unwrap();
            assert!((9..=limit).contains(&clients), "{clients} of {limit}");
        }
        assert_eq!(MemoryBudget::divide(10_000, parts(u64::MAX)).unwrap().of("clients"), Some(9999));
    }

    #[test]
    fn an_error_names_the_parts_that_need_too_much_and_their_settings() {
        let cache = MemoryPart::fixed("cache", "cache.capacity", 600 * MIB);
        let process = MemoryPart::fixed("process", "", 48 * MIB);
        let text = MemoryBudget::divide(400 * MIB, vec![process, cache]).unwrap_err().to_string();
        let parts = "need at least 648.0 MiB: cache 600.0 MiB (cache.capacity), process 48.0 MiB. Lower one";
        assert!(text.starts_with("is 400.0 MiB") && text.contains(parts) && text.contains("memory.limit"), "{text}");
    }
}
