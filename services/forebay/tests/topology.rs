//! The documentation, the topics and the rights of the Kafka users say what `shared/contract/src/edges.rs` says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at the first step that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_bus::kafka::{consumer_group, planned_topics, reader_group};
use forebay_bus::{BusSettings, Stages, stage_name};
use forebay_contract::edges::{DEAD_LETTERS, EDGES, EdgeSpec, InMemory, Kind, Partitioning, Peer, Retention};
use forebay_contract::{Lane, Stage};
use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, Layers, Problems};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn layers() -> Layers {
    Layers::from_parts(&[COMMON_DEFAULTS, forebay_bus::DEFAULTS], "", &[], &[]).unwrap()
}

fn shared() -> CommonSettings {
    CommonSettings::read(&layers(), &mut Problems::default()).unwrap()
}

fn bus() -> BusSettings {
    BusSettings::read(&layers(), &mut Problems::default()).unwrap()
}

/// The rows of the Markdown table that begins with `head`, without its two head lines.
fn table<'a>(text: &'a str, head: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows: Vec<&str> = lines.take_while(|line| line.starts_with('|')).collect();
    assert!(!rows.is_empty(), "there is no table {head}");
    rows
}

fn peers(peers: &[Peer]) -> String {
    let name = |peer: &Peer| match peer {
        Peer::Stage(stage) => stage_name(*stage),
        Peer::Clients => "clients",
        Peer::Operators => "operators",
    };
    peers.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A row of ARCHITECTURE's table of the path.
fn row(edge: &EdgeSpec) -> String {
    let partition = match edge.partitioning {
        Partitioning::Client => "client's choice",
        Partitioning::Batch => "batch",
        Partitioning::Result => "result",
        Partitioning::Reply => "reply",
        Partitioning::Source => "of the source",
        Partitioning::Key => "by key",
    };
    let kind = match edge.kind {
        Kind::Work => "work",
        Kind::Advisory => "advisory",
    };
    let memory = match edge.in_memory {
        InMemory::Never => "never",
        InMemory::BothEnds => "both ends",
        InMemory::WholeMesh => "whole mesh",
    };
    let (from, to) = (peers(edge.from), peers(edge.to));
    format!("| `{}` | {partition} | {from} | {to} | {kind} | {memory} | {} |", edge.topic.name, edge.carries)
}

#[test]
fn the_table_of_the_path_is_the_topology() {
    let text = read("ARCHITECTURE.md");
    let rows = table(&text, "| topic |");
    let expected: Vec<String> = EDGES.iter().map(row).collect();
    assert_eq!(rows, expected, "ARCHITECTURE.md should have\n{}\n", expected.join("\n"));
}

/// Topics and groups of one service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rights {
    read: BTreeSet<String>,
    write: BTreeSet<String>,
    groups: BTreeSet<String>,
    /// What the transactional ids begin with.
    transactional_ids: BTreeSet<String>,
}

/// What the service of `stage` needs: what it reads and writes, the group in which it consumes, and that of its readers
/// without a group, which every service has.
fn needed(stage: Stage) -> Rights {
    let named = |holds: fn(&EdgeSpec, Stage) -> bool| {
        EDGES.iter().filter(|edge| holds(edge, stage)).map(|edge| edge.topic.name.to_owned()).collect()
    };
    let name = stage_name(stage);
    let group = match stage {
        Stage::Ingestion => bus().kafka.consumer_group,
        _ => consumer_group(name),
    };
    Rights {
        read: named(EdgeSpec::is_read_by),
        write: named(EdgeSpec::is_written_by),
        groups: [group, reader_group(name)].into(),
        // `results.transactions`
        transactional_ids: (stage == Stage::Publishing).then(|| format!("forebay-{name}-")).into_iter().collect(),
    }
}

#[test]
fn every_service_writes_dead_letters() {
    assert!(Stages::all().iter().all(|stage| DEAD_LETTERS.is_written_by(stage)));
}

#[test]
fn the_documented_rights_are_the_topology() {
    let text = read("docs/connections.md");
    let rows = table(&text, "| user of |");
    assert_eq!(rows.len(), Stages::all().iter().count());
    for (row, stage) in rows.iter().zip(Stages::all().iter()) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let names = |cell: &str| cell.split(", ").map(|name| name.trim_matches('`').to_owned()).collect();
        let transactional_ids = needed(stage).transactional_ids;
        assert!(transactional_ids.iter().all(|prefix| text.contains(&format!("begin with `{prefix}`"))));
        let (read, write, groups) = (names(cells[1]), names(cells[2]), names(cells[3]));
        let mut documented = Rights { read, write, groups, transactional_ids };
        if documented.groups.remove("kafka.consumer_group") {
            documented.groups.insert(bus().kafka.consumer_group);
        }
        assert_eq!((cells[0], documented), (stage_name(stage), needed(stage)), "docs/connections.md");
    }
}

/// The rights in the KafkaUsers, by user. They are one line for a resource and one for its operations.
fn granted(text: &str) -> BTreeMap<&str, Rights> {
    let mut users: BTreeMap<&str, Rights> = BTreeMap::new();
    for document in text.split("\n---\n") {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap();
        let rights = users.entry(name).or_default();
        let lines: Vec<&str> = document.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0].starts_with("- resource: ")) {
            let field = |name: &str| pair[0].split([',', '{', '}']).find_map(|part| part.trim().strip_prefix(name));
            let (resource, of) = (field("name: ").unwrap().to_owned(), field("type: ").unwrap());
            let allows = |operation: &str| pair[1].contains(operation);
            if of == "group" {
                rights.groups.insert(resource);
                continue;
            }
            assert!(allows("Describe"), "{name} may not describe {resource}");
            if of == "transactionalId" {
                assert!(allows("Write") && field("patternType: ") == Some("prefix"), "{name}: {resource}");
                rights.transactional_ids.insert(resource);
                continue;
            }
            for (operation, topics) in [("Read", &mut rights.read), ("Write", &mut rights.write)] {
                if allows(operation) {
                    topics.insert(resource.clone());
                }
            }
        }
    }
    users
}

#[test]
fn the_kafka_users_have_the_rights_of_the_topology_and_no_other() {
    let text = read("k8s/components/strimzi/users/users.yaml");
    let granted = granted(&text);
    for stage in Stages::all().iter() {
        let user = format!("forebay-{}", stage_name(stage));
        assert_eq!(granted.get(user.as_str()), Some(&needed(stage)), "{user} in users.yaml");
    }
}

/// The topics of a file of KafkaTopics: how long they keep records, whether the broker stamps them, and whether it keeps
/// them uncompressed.
fn kafka_topics(text: &str) -> BTreeMap<String, (Retention, bool, bool)> {
    let mut documented = BTreeMap::new();
    for document in text.split("\n---\n") {
        let value = |name: &str| document.lines().find_map(|line| line.trim().strip_prefix(name));
        let topic = value("topicName: ").or_else(|| value("name: ")).unwrap();
        let retention = match value("cleanup.policy: ") {
            Some("compact") => Retention::Compacted,
            _ => Retention::Millis(value("retention.ms: ").unwrap().trim_matches('"').parse().unwrap()),
        };
        let broker_time = value("message.timestamp.type: ") == Some("LogAppendTime");
        let uncompressed = value("compression.type: ") == Some("uncompressed");
        documented.insert(topic.to_owned(), (retention, broker_time, uncompressed));
    }
    documented
}

#[test]
fn the_kafka_topics_are_the_topology() {
    let documented = kafka_topics(&read("k8s/components/strimzi/topics/topics.yaml"));
    let settings = |edge: &EdgeSpec| (edge.topic.retention, edge.has_broker_time(), edge.is_uncompressed());
    let expected: BTreeMap<_, _> = EDGES.iter().map(|edge| (edge.topic.name.to_owned(), settings(edge))).collect();
    assert_eq!(expected.values().filter(|(_, broker_time, _)| !broker_time).count(), 1, "the clients' requests");
    assert_eq!(expected.values().filter(|(.., uncompressed)| *uncompressed).count(), 1, "the clients' requests");
    assert_eq!(documented, expected, "topics.yaml");
}

#[test]
fn the_kafka_topics_of_the_lanes_are_the_topology() {
    let documented = kafka_topics(&read("k8s/components/strimzi/lanes/topics.yaml"));
    let topics = shared().topics;
    let without = planned_topics(&topics, false);
    let lanes = planned_topics(&topics, true).into_iter().filter(|topic| !without.contains(topic));
    let expected: BTreeMap<_, _> = lanes.map(|it| (it.name, (it.retention, it.broker_time, it.uncompressed))).collect();
    assert_eq!(documented, expected, "lanes/topics.yaml");
}

/// What the patches of a user add, by operation and topic.
fn added_rights(text: &str, user: &str) -> BTreeSet<(String, String)> {
    let patch =
        text.split("  - target: ").find(|patch| patch.starts_with(&format!("{{kind: KafkaUser, name: {user}}}")));
    let lines: Vec<&str> = patch.unwrap_or_default().lines().map(str::trim).collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with("resource: "));
    pairs
        .flat_map(|pair| {
            let name = pair[0].split("name: ").nth(1).unwrap().split(',').next().unwrap();
            let operations = pair[1].trim_start_matches("operations: [").trim_end_matches(']').split(", ");
            operations.map(|operation| (operation.to_owned(), name.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_kafka_users_have_the_rights_on_the_lanes_that_they_have_on_the_edges() {
    let text = read("k8s/components/strimzi/lanes/kustomization.yaml");
    for stage in Stages::all().iter() {
        let mut expected = BTreeSet::new();
        for edge in EDGES.iter().filter(|edge| edge.has_lanes()) {
            for lane in [Lane::High, Lane::Low] {
                let mut add = |operation: &str| expected.insert((operation.to_owned(), lane.topic(edge.topic.name)));
                let (reads, writes) = (edge.is_read_by(stage), edge.is_written_by(stage));
                // prediction puts off what is above the share of a model
                let puts_off = reads && edge.topic.setting == "predict" && lane == Lane::Low;
                _ = (reads || writes) && add("Describe");
                // the settings of the clients' topics are checked
                _ = reads && edge.is_uncompressed() && add("DescribeConfigs");
                _ = reads && add("Read");
                _ = (writes || puts_off) && add("Write");
            }
        }
        assert_eq!(added_rights(&text, &format!("forebay-{}", stage_name(stage))), expected, "{}", stage_name(stage));
    }
}

#[test]
fn the_default_names_of_the_settings_are_those_of_the_topology() {
    let expected: Vec<_> = EDGES.iter().map(|edge| (edge.topic.name, edge.topic.retention)).collect();
    let topics = shared().topics;
    let planned = planned_topics(&topics, false);
    assert_eq!(planned.iter().map(|it| (it.name.as_str(), it.retention)).collect::<Vec<_>>(), expected);
    let settings: Vec<String> = EDGES.iter().map(|edge| format!("topics.{}", edge.topic.setting)).collect();
    assert_eq!(topics.all().map(|(key, _)| key).to_vec(), settings);
}
