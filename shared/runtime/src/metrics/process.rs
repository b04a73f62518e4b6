//! Metrics of the process: memory, CPU, file descriptors and threads from `/proc` (absent on other systems), CPU
//! throttling of its control group, start time, build, and readiness.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::lifecycle::Lifecycle;

/// Clock ticks per second in `/proc`. Linux reports 100 to programs on every architecture (man 5 proc_pid_stat).
const TICKS: f64 = 100.0;

/// CPU accounting of the control group, at the path that a container sees. Without the file there is no throttling.
const CPU_STAT: &str = "/sys/fs/cgroup/cpu.stat";

#[derive(Debug)]
pub(super) struct ProcessMetrics {
    started_s: f64,
}

impl ProcessMetrics {
    /// Metrics of a process that starts now.
    pub(super) fn start() -> Self {
        Self { started_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

#[derive(Debug, Default, PartialEq)]
struct ResourceUsage {
    resident_bytes: i64,
    cpu_seconds: f64,
    threads: i64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = std::fs::read_to_string("/proc/self/status");
        let stat = std::fs::read_to_string("/proc/self/stat");
        if let (Ok(status), Ok(stat)) = (status, stat) {
            let usage = ResourceUsage::of(&status, &stat);
            let resident = ConstGauge::new(usage.resident_bytes);
            put(&mut encoder, "process_resident_memory_bytes", "Resident memory", &resident)?;
            put(&mut encoder, "process_cpu_seconds", "User and system time", &ConstCounter::new(usage.cpu_seconds))?;
            put(&mut encoder, "process_threads", "Threads", &ConstGauge::new(usage.threads))?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(entries.count()).unwrap_or(i64::MAX);
            put(&mut encoder, "process_open_fds", "Open file descriptors", &ConstGauge::new(open))?;
        }
        let throttled = throttled_seconds(&std::fs::read_to_string(CPU_STAT).unwrap_or_default());
        let help = "Time the process was held back by the CPU limit of its control group";
        put(&mut encoder, "forebay_cpu_throttled_seconds", help, &ConstCounter::new(throttled))?;
        let started = ConstGauge::new(self.started_s);
        put(&mut encoder, "process_start_time_seconds", "When the process started, Unix time", &started)?;
        let build = ConstGauge::new(1_i64);
        let mut family = encoder.encode_descriptor("forebay_build_info", "Always 1", None, build.metric_type())?;
        build.encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> Result<(), Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// `throttled_usec` of a control group (version 2), in seconds.
fn throttled_seconds(cpu_stat: &str) -> f64 {
    let us = cpu_stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")?.trim().parse::<f64>().ok());
    us.unwrap_or(0.0) / 1e6
}

impl ResourceUsage {
    fn of(status: &str, stat: &str) -> Self {
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0)
        };
        // The second field is the program's name and may hold spaces; fields are counted from its closing bracket.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Self {
            resident_bytes: number("VmRSS:") * 1024,
            cpu_seconds: (ticks(11) + ticks(12)) / TICKS,
            threads: number("Threads:"),
        }
    }
}

/// Readiness as numbers, so that an alert can say what `/health/ready` says.
#[derive(Debug)]
pub(super) struct HealthMetrics(pub(super) Lifecycle);

impl Collector for HealthMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let ready = ConstGauge::new(i64::from(self.0.is_ready()));
        let help = "1 while the process takes work, else 0";
        ready.encode(encoder.encode_descriptor("forebay_ready", help, None, MetricType::Gauge)?)?;
        // several components with one name are one component to an operator
        let mut components = BTreeMap::new();
        for component in self.0.components() {
            let ready = components.entry(component.name).or_insert(true);
            *ready &= component.unready.is_none();
        }
        let help = "1 while a component is ready, else 0";
        let mut family = encoder.encode_descriptor("forebay_component_ready", help, None, MetricType::Gauge)?;
        for (name, ready) in components {
            let labels = [("component", name)];
            ConstGauge::new(i64::from(ready)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_after_a_name_with_spaces() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 99 1 1";
        let expected = ResourceUsage { resident_bytes: 2048 * 1024, cpu_seconds: 2.0, threads: 7 };
        assert_eq!(ResourceUsage::of(status, stat), expected);
    }

    #[test]
    fn reads_the_throttling_of_the_control_group() {
        let stat = "usage_usec 5\nnr_periods 2\nnr_throttled 1\nthrottled_usec 1500000\n";
        assert_eq!(throttled_seconds(stat).to_bits(), 1.5_f64.to_bits());
        assert_eq!(throttled_seconds("").to_bits(), 0.0_f64.to_bits());
    }
}
