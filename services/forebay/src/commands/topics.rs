//! `forebay topics`.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use forebay_bus::kafka::{Client, TopicReport, create_topics, planned_topics};
use forebay_runtime::SettingsArgs;

use super::{eprint, open, print};

/// `forebay topics ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Topics {
    /// Make every topic that is missing; those that exist are left as they are
    Create,
}

pub(crate) fn run(args: &SettingsArgs, Topics::Create: &Topics) -> ExitCode {
    let opened = match open(args) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let (settings, topics) = (&opened.settings.bus.kafka, &opened.shared.topics);
    let client = Client::new(settings, "topics");
    let report = match create_topics(
        &client,
        &planned_topics(topics, settings.lanes),
        settings.partitions,
        settings.replication,
    ) {
        Ok(report) => report,
        Err(error) => return eprint(&error.to_string(), 1),
    };
    let mut text = String::new();
    let mut uneven = Vec::new();
    for (topic, report) in &report {
        let (what, partitions) = match report {
            TopicReport::Created(partitions) => ("created", partitions),
            TopicReport::Exists(partitions) => ("exists", partitions),
        };
        if topic.starts_with("forebay.") && *partitions != settings.partitions {
            uneven.push(topic.as_str());
        }
        // writing to a string cannot fail
        let _ = writeln!(text, "{what:8} {topic:28} {partitions} partitions");
    }
    if !uneven.is_empty() {
        let _ = writeln!(
            text,
            "note: kafka.partitions is {}, and these have another count: {}; inner topics should share one",
            settings.partitions,
            uneven.join(", ")
        );
    }
    print(&text)
}
