//! Memory, CPU, file descriptors and threads of this process, read from `/proc` when asked (elsewhere they are absent),
//! what its control group held back, when it started and which build it is.

use std::fmt::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc`; Linux shows 100 to programs on every architecture (man 5 proc_pid_stat).
const TICKS: f64 = 100.0;

/// Accounting of the control group as a container sees its own; without one there is nothing that holds back.
const CPU_STAT: &str = "/sys/fs/cgroup/cpu.stat";

#[derive(Debug)]
pub(super) struct ProcessMetrics {
    started_s: f64,
}

impl ProcessMetrics {
    /// The process counts as started now.
    pub(super) fn start() -> Self {
        Self { started_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Usage {
    resident_bytes: i64,
    cpu_seconds: f64,
    threads: i64,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let status = std::fs::read_to_string("/proc/self/status");
        let stat = std::fs::read_to_string("/proc/self/stat");
        if let (Ok(status), Ok(stat)) = (status, stat) {
            let usage = Usage::of(&status, &stat);
            let resident = ConstGauge::new(usage.resident_bytes);
            put(&mut encoder, "process_resident_memory_bytes", "Resident memory", &resident)?;
            put(&mut encoder, "process_cpu_seconds", "User and system time", &ConstCounter::new(usage.cpu_seconds))?;
            put(&mut encoder, "process_threads", "Threads", &ConstGauge::new(usage.threads))?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(entries.count()).unwrap_or(i64::MAX);
            put(&mut encoder, "process_open_fds", "Open file descriptors", &ConstGauge::new(open))?;
        }
        let held_back = throttled_seconds(&std::fs::read_to_string(CPU_STAT).unwrap_or_default());
        let help = "Time the process was held back by the CPU limit of its control group";
        put(&mut encoder, "forebay_cpu_throttled_seconds", help, &ConstCounter::new(held_back))?;
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

/// `throttled_usec` of version 2 of control groups.
fn throttled_seconds(cpu_stat: &str) -> f64 {
    let us = cpu_stat.lines().find_map(|line| line.strip_prefix("throttled_usec ")?.trim().parse::<f64>().ok());
    us.unwrap_or(0.0) / 1e6
}

impl Usage {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_behind_a_name_with_spaces() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 7 0 99 1 1";
        let expected = Usage { resident_bytes: 2048 * 1024, cpu_seconds: 2.0, threads: 7 };
        assert_eq!(Usage::of(status, stat), expected);
    }

    #[test]
    fn reads_what_the_control_group_held_back() {
        let stat = "usage_usec 5\nnr_periods 2\nnr_throttled 1\nthrottled_usec 1500000\n";
        assert_eq!(throttled_seconds(stat).to_bits(), 1.5_f64.to_bits());
        assert_eq!(throttled_seconds("").to_bits(), 0.0_f64.to_bits());
    }
}
