//! The sources of one process, which start when everything is wired.

use std::collections::BTreeMap;

use forebay_contract::Stage;
use forebay_contract::edges::EdgeSpec;
use forebay_runtime::{Host, StartError};

use super::stage_edges::StageEdges;
use crate::BusSettings;
use crate::amqp::{AmqpMessages, AmqpSource};
use crate::kafka::{Edges, OnFirst};

type Start = Box<dyn FnOnce(&mut Edges) -> Result<(), StartError>>;
type TakeMessages = Box<dyn Fn(AmqpMessages) + Send + Sync>;

struct Source {
    stage: Stage,
    /// Setting of the topic that it consumes.
    topic: &'static str,
    start: Start,
}

/// Sources that have not started yet.
#[derive(Default)]
pub(super) struct Sources {
    kafka: Vec<Source>,
    /// Hooks of the sources, by the setting of their topic.
    on_first: BTreeMap<&'static str, OnFirst>,
    amqp: Option<(Stage, TakeMessages)>,
}

impl Sources {
    pub(super) fn add(
        &mut self,
        stage: Stage,
        edge: &EdgeSpec,
        start: impl FnOnce(&mut Edges) -> Result<(), StartError> + 'static,
    ) {
        self.kafka.push(Source { stage, topic: edge.topic.setting, start: Box::new(start) });
    }

    /// The source of `edge` calls `hook` before the first record of every partition that it is assigned.
    pub(super) fn on_first(&mut self, edge: &EdgeSpec, hook: OnFirst) {
        self.on_first.insert(edge.topic.setting, hook);
    }

    pub(super) fn add_amqp(&mut self, stage: Stage, take: TakeMessages) {
        self.amqp = Some((stage, take));
    }

    /// Starts them in the order in which they were added, Kafka before RabbitMQ.
    pub(super) fn start(
        mut self,
        host: &Host,
        settings: &BusSettings,
        edges: &mut StageEdges,
    ) -> Result<Option<AmqpSource>, StartError> {
        for source in self.kafka {
            let edges = edges.open(host, settings, source.stage)?;
            self.on_first.remove(source.topic).into_iter().for_each(|hook| edges.on_first(hook));
            (source.start)(edges)?;
        }
        let start =
            |(stage, take)| AmqpSource::start(host, &settings.rabbitmq, edges.permits(host, settings, stage), take);
        self.amqp.map(start).transpose()
    }

    /// Settings of the topics of the Kafka sources.
    #[cfg(test)]
    pub(super) fn topics(&self) -> Vec<&'static str> {
        self.kafka.iter().map(|source| source.topic).collect()
    }
}
