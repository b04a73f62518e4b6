//! Prometheus' text format 0.0.4, for scrapers that do not request OpenMetrics
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>): counters carry `_total` in their family's name,
//! and there are no exemplars, units or end marker. The client library writes OpenMetrics only.

use std::collections::HashSet;

/// Rewrites OpenMetrics text.
pub(super) fn from_open_metrics(open_metrics: &str) -> String {
    let counter = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: HashSet<String> = open_metrics.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        match line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) {
            Some((word @ ("HELP" | "TYPE"), rest)) => {
                let (family, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let total = if counters.contains(family) { "_total" } else { "" };
                text.push_str(&format!("# {word} {family}{total} {rest}\n"));
            }
            _ if line.starts_with('#') => {}
            _ => {
                text.push_str(sample(line));
                text.push('\n');
            }
        }
    }
    text
}

/// A sample without its exemplar, which follows ` # ` after the labels.
fn sample(line: &str) -> &str {
    let behind = line.find('{').map_or(0, |open| open + labels_end(&line[open..]));
    line[behind..].find(" # ").map_or(line, |at| &line[..behind + at])
}

/// Length of a label set; its values are quoted and may hold anything.
fn labels_end(labels: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in labels.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return at + 1,
            _ => {}
        }
    }
    labels.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_renamed_and_exemplars_left_out() {
        let open = "# HELP items Items.\n# TYPE items counter\nitems_total{a=\"x } # {\\\"\"} 3 # {trace_id=\"ab\"} 1 2\n\
                    # HELP took Took.\n# TYPE took histogram\n# UNIT took seconds\ntook_bucket{le=\"1\"} 4 # {t=\"c\"} 0.5\n\
                    took_count 4\n# EOF\n";
        let expected = "# HELP items_total Items.\n# TYPE items_total counter\nitems_total{a=\"x } # {\\\"\"} 3\n\
                        # HELP took Took.\n# TYPE took histogram\ntook_bucket{le=\"1\"} 4\ntook_count 4\n";
        assert_eq!(from_open_metrics(open), expected);
    }
}
