//! Memory, CPU, file descriptors and threads of this process, read from `/proc` when asked. Elsewhere they are absent.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks a second in `/proc`; Linux shows 100 to programs on every architecture (man 5 proc_pid_stat).
const TICKS: f64 = 100.0;

#[derive(Debug)]
pub(super) struct ProcessMetrics;

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
            put(&mut encoder, "process_resident_memory_bytes", "Resident memory.", &resident)?;
            put(&mut encoder, "process_cpu_seconds", "User and system time.", &ConstCounter::new(usage.cpu_seconds))?;
            put(&mut encoder, "process_threads", "Threads.", &ConstGauge::new(usage.threads))?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(entries.count()).unwrap_or(i64::MAX);
            put(&mut encoder, "process_open_fds", "Open file descriptors.", &ConstGauge::new(open))?;
        }
        Ok(())
    }
}

fn put(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> Result<(), Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
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
}
