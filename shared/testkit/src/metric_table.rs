//! The table in `docs/metrics.md` and the families of a scrape, in a form that can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A metric as a row of the table describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The names of its labels.
    pub labels: BTreeSet<String>,
    /// When there is a sample: `always`, `kafka`, `rabbitmq`, `auth`, `tls`, `event`.
    pub seen: String,
    /// The last cell.
    pub meaning: String,
}

/// A family as it is scraped in the classic text format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricFamily {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The description.
    pub help: String,
    /// The label sets of its samples, by names; empty when there is no sample.
    pub labels: BTreeSet<BTreeSet<String>>,
}

/// The rows of the table by name of the metric. `root` is the root of the repository.
#[track_caller]
pub fn documented(root: &Path) -> BTreeMap<String, MetricRow> {
    let text = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, _unit, labels, seen, meaning] = cells[..] else { panic!("six cells a row: {line}") };
        let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect();
        let row = MetricRow { kind: kind.to_owned(), labels, seen: seen.to_owned(), meaning: meaning.to_owned() };
        assert!(["always", "kafka", "rabbitmq", "auth", "tls", "event"].contains(&seen), "{line}");
        assert!(rows.insert(name.trim_matches('`').to_owned(), row).is_none(), "twice: {line}");
    }
    assert!(rows.len() > 30, "the table was not read");
    rows
}

/// The families of a scrape by name.
#[track_caller]
pub fn scraped(text: &str) -> BTreeMap<String, MetricFamily> {
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            families.entry(name.to_owned()).or_default().help = help.to_owned();
        } else if !line.starts_with('#') {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
            let family = parts.filter(|base| families.contains_key(*base)).unwrap_or(name).to_owned();
            let names = label_names(labels.trim_end_matches('}'));
            let found = families.get_mut(&family).unwrap_or_else(|| panic!("a sample without a family: {line}"));
            found.labels.insert(names);
        }
    }
    families
}

/// The names in `a="x",b="y"`, except `le` of a histogram's buckets. Values must not contain `",`.
fn label_names(labels: &str) -> BTreeSet<String> {
    let names = labels.split("\",").filter_map(|pair| pair.split_once("=\"")).map(|(name, _)| name.to_owned());
    names.filter(|name| name != "le").collect()
}

/// How `families` differ from `rows`: unknown names, other types, other labels, no description.
pub fn strange(rows: &BTreeMap<String, MetricRow>, families: &BTreeMap<String, MetricFamily>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, family) in families {
        let Some(row) = rows.get(name) else {
            found.push(format!("{name} is not in docs/metrics.md"));
            continue;
        };
        if row.kind != family.kind {
            found.push(format!("{name} is a {}, the table says {}", family.kind, row.kind));
        }
        if let Some(other) = family.labels.iter().find(|labels| **labels != row.labels) {
            found.push(format!("{name} has the labels {other:?}, the table says {:?}", row.labels));
        }
        if family.help.is_empty() || family.help.ends_with("..") {
            found.push(format!("{name}: help {:?}", family.help));
        }
    }
    found
}

/// The rows without a sample in `families` whose `seen` is one of `seen`.
pub fn missing(
    rows: &BTreeMap<String, MetricRow>,
    families: &BTreeMap<String, MetricFamily>,
    seen: &[&str],
) -> Vec<String> {
    let promised = rows.iter().filter(|(_, row)| seen.contains(&row.seen.as_str()));
    let lacking = promised.filter(|(name, _)| families.get(*name).is_none_or(|family| family.labels.is_empty()));
    lacking.map(|(name, row)| format!("{name} is not there ({})", row.seen)).collect()
}
