//! `topics`: creates and deletes the topics of a measurement.

use clap::{Args, Subcommand};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;

use super::clients::{ADMIN_TIMEOUT, BrokerArgs};
use crate::error::LoadtestError;

/// Creates or deletes topics, for measurements with topics of their own.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create topics; those that exist are left as they are
    Create(CreateArgs),
    /// Delete topics; those that do not exist are ignored
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
    /// Partitions of each
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Replicas of each partition
    #[arg(long, default_value_t = 1)]
    replication: i32,
    /// Compact them: keep the last record of each key
    #[arg(long)]
    compacted: bool,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// How topics are made.
#[derive(Debug, Clone, Copy)]
pub struct TopicSpec {
    /// Partitions of each.
    pub partitions: i32,
    /// Replicas of each partition.
    pub replication: i32,
    /// Whether old records of a key are removed.
    pub compacted: bool,
}

impl TopicsArgs {
    /// Creates or deletes.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        match &self.action {
            Action::Create(args) => {
                let CreateArgs { partitions, replication, compacted, .. } = *args;
                create_topics(&args.broker, &args.names, TopicSpec { partitions, replication, compacted })?;
            }
            Action::Delete(args) => delete_topics(&args.broker, &args.names)?,
        }
        Ok(true)
    }
}

/// Creates the topics `names`; one that exists already is not an error.
pub fn create_topics(broker: &BrokerArgs, names: &[String], spec: TopicSpec) -> Result<(), LoadtestError> {
    let policy = if spec.compacted { "compact" } else { "delete" };
    let topic = |name| {
        NewTopic::new(name, spec.partitions, TopicReplication::Fixed(spec.replication)).set("cleanup.policy", policy)
    };
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| topic(name.as_str())).collect();
    let admin = admin(broker)?;
    let results = block_on(admin.create_topics(&topics, &options()))?.map_err(LoadtestError::kafka("create topics"))?;
    check(results, RDKafkaErrorCode::TopicAlreadyExists, "create")
}

fn delete_topics(broker: &BrokerArgs, names: &[String]) -> Result<(), LoadtestError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let admin = admin(broker)?;
    let results = block_on(admin.delete_topics(&names, &options()))?.map_err(LoadtestError::kafka("delete topics"))?;
    check(results, RDKafkaErrorCode::UnknownTopicOrPartition, "delete")
}

fn check(
    results: Vec<Result<String, (String, RDKafkaErrorCode)>>,
    fine: RDKafkaErrorCode,
    verb: &str,
) -> Result<(), LoadtestError> {
    for result in results {
        if let Err((name, code)) = result
            && code != fine
        {
            return Err(LoadtestError::Input(format!("{verb} topic {name}: {code}")));
        }
    }
    Ok(())
}

fn admin(broker: &BrokerArgs) -> Result<AdminClient<DefaultClientContext>, LoadtestError> {
    broker.config()?.create().map_err(LoadtestError::kafka("create admin client"))
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(ADMIN_TIMEOUT)).request_timeout(Some(ADMIN_TIMEOUT))
}

fn block_on<F: Future>(future: F) -> Result<F::Output, LoadtestError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    Ok(runtime.map_err(LoadtestError::system("start a runtime"))?.block_on(future))
}
