//! What reads the records and messages of clients, with what it needs of the settings.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use forebay_bus::{KafkaSettings, RabbitMqSettings};
use forebay_contract::Lane;
use forebay_runtime::{Host, StageTracer};

use crate::admission::Timeouts;
use crate::amqp::AmqpIngress;
use crate::auth::CacheScopes;
use crate::kafka::KafkaIngress;
use crate::model_rows::ModelRows;
use crate::propagation::Propagation;
use crate::record_reader::RecordReader;
use crate::settings::Settings;

pub(super) fn amqp_ingress(
    rabbitmq: &RabbitMqSettings,
    host: &Host,
    partitions: u32,
    batch_partition: Arc<AtomicU32>,
    (tracer, model_rows, cache_scopes): (StageTracer, &ModelRows, CacheScopes),
) -> AmqpIngress {
    AmqpIngress {
        queue: rabbitmq.queue.as_str().into(),
        partitions,
        batch_partition,
        timeouts: Timeouts::from(&host.settings().delivery),
        model_rows: model_rows.clone(),
        cache_scopes,
        tracer,
    }
}

pub(super) fn kafka_ingress(
    settings: &Settings,
    kafka: &KafkaSettings,
    host: &Host,
    partitions: u32,
    (tracer, model_rows, reader): (StageTracer, &ModelRows, RecordReader),
) -> KafkaIngress {
    let shared = host.settings();
    KafkaIngress {
        topics: Lane::ALL.map(|lane| lane.topic(&shared.topics.requests_in).into()),
        group: kafka.consumer_group.as_str().into(),
        partitions,
        timeouts: Timeouts::from(&shared.delivery),
        request_id_is_identity: settings.ingestion.request_id_is_identity,
        propagation: Propagation::new(settings.ingestion.propagate_key, &settings.ingestion.propagate_headers),
        model_rows: model_rows.clone(),
        reader,
        tracer,
    }
}
