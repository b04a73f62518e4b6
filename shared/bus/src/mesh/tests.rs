//! Tests of the mesh without a broker.

use std::sync::Arc;

use forebay_contract::edges::{FEATURES, PREDICT, PREDICTIONS, REPLIES, REQUESTS, RESULTS};
use forebay_contract::{Batch, Context, ContextFields, Features, Item, KafkaOrigin, Origin, RequestId};
use forebay_runtime::{COMMON_DEFAULTS, CommonSettings, Layers, Problems};
use parking_lot::Mutex;

use super::*;
use crate::{Ack, AckOutcome, DEFAULTS};

fn host() -> Host {
    Host::detached(CommonSettings::read(&layers(), &mut Problems::default()).unwrap())
}

fn layers() -> Layers {
    Layers::from_parts(&[COMMON_DEFAULTS, DEFAULTS], "", &[], &["kafka.brokers=127.0.0.1:1"]).unwrap()
}

fn mesh_of(stages: Stages) -> Mesh {
    Mesh::new(&host(), BusSettings::read(&layers(), &mut Problems::default()).unwrap(), stages, false)
}

fn context() -> Context {
    Context::new(ContextFields {
        request_id: RequestId::random(),
        row: 0,
        rows: 1,
        client_request_id: None,
        trace_id: [1; 16],
        trace_flags: 0,
        accepted_us: 0,
        deadline_us: u64::MAX,
        priority: 0,
        result_partition: 0,
        origin: Origin::Kafka(KafkaOrigin::default()),
        idempotent: None,
    })
}

fn batch(items: usize) -> Batch<Features> {
    let item = |_| Item { context: context(), parent_span: 0, attempt: 0, payload: Features::default() };
    Batch { batch_partition: 7, stages: Vec::new(), items: (0..items).map(item).collect() }
}

#[test]
fn a_memory_edge_finds_a_reader_that_is_built_after_its_writer() {
    let mut mesh = mesh_of(Stages::all());
    let outlet = mesh.outlet(Stage::Preprocessing, &FEATURES).unwrap();
    let ended = Arc::new(Mutex::new(Vec::new()));
    let ack = || {
        let ended = Arc::clone(&ended);
        Ack::new(move |outcome| ended.lock().push(outcome))
    };
    outlet.send(batch(1), ack());
    assert_eq!(*ended.lock(), [AckOutcome::Failed], "an edge without a reader loses nothing");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let inlet = {
        let seen = Arc::clone(&seen);
        Inlet::new(move |delivery: Delivery<Batch<Features>>| {
            seen.lock().push(delivery.payload.items.len());
            delivery.ack.ack();
        })
    };
    mesh.serve(&FEATURES, inlet).unwrap();
    outlet.send(batch(2), ack());
    assert_eq!((seen.lock().as_slice(), ended.lock().last()), (&[2][..], Some(&AckOutcome::Done)));
    assert!(mesh.edges.stages().is_empty(), "no client of Kafka is opened for memory");
}

#[test]
fn edges_with_the_same_payload_are_apart() {
    let mut mesh = mesh_of(Stages::all());
    let (features, predict) =
        (mesh.outlet(Stage::Preprocessing, &FEATURES).unwrap(), mesh.outlet(Stage::Caching, &PREDICT).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    for (edge, name) in [(&FEATURES, "features"), (&PREDICT, "predict")] {
        let seen = Arc::clone(&seen);
        mesh.serve(edge, Inlet::new(move |_| seen.lock().push(name))).unwrap();
    }
    predict.send(batch(1), Ack::none());
    features.send(batch(1), Ack::none());
    assert_eq!(*seen.lock(), ["predict", "features"]);
}

#[test]
fn a_mesh_does_not_run_while_an_edge_has_no_reader() {
    let mut mesh = mesh_of(Stages::all());
    mesh.outlet(Stage::Caching, &PREDICT).unwrap();
    let error = mesh.run().err().unwrap().to_string();
    assert!(error.contains("predict"), "{error}");
}

#[test]
fn a_stage_uses_only_the_edges_that_the_topology_gives_it() {
    let mut mesh = mesh_of(Stages::all());
    assert!(mesh.outlet(Stage::Caching, &REQUESTS).is_err());
    assert!(mesh.outlet(Stage::Publishing, &RESULTS).is_err());
    let mut mesh = mesh_of("caching".parse().unwrap());
    assert!(mesh.serve(&RESULTS, Inlet::new(|_| {})).is_err());
}

#[test]
fn parts_of_the_mesh_use_kafka_at_their_outer_edges_and_start_sources_last() {
    let mut mesh = mesh_of("caching,prediction".parse().unwrap());
    assert!(mesh.has_kafka(), "a part cannot do without");
    mesh.outlet(Stage::Caching, &PREDICT).unwrap();
    mesh.outlet(Stage::Prediction, &PREDICTIONS).unwrap();
    assert!(mesh.edges.stages().is_empty());
    mesh.outlet(Stage::Caching, &RESULTS).unwrap();
    mesh.outlet(Stage::Prediction, &RESULTS).unwrap();
    assert_eq!(mesh.edges.stages(), [Stage::Caching, Stage::Prediction], "each with its own producer and permits");
    mesh.serve(&FEATURES, Inlet::new(|_| {})).unwrap();
    mesh.serve(&PREDICT, Inlet::new(|_| {})).unwrap();
    mesh.serve(&PREDICTIONS, Inlet::new(|_| {})).unwrap();
    assert_eq!(mesh.sources.topics(), ["features"]);
    assert!(!mesh.host.lifecycle().components().iter().any(|it| it.name.starts_with("kafka source")));
}

#[test]
fn replies_stay_in_memory_only_with_the_whole_mesh() {
    let mut whole = mesh_of(Stages::all());
    whole.serve_partition(&REPLIES, 3, Inlet::new(|_| {})).unwrap();
    assert!(whole.edges.stages().is_empty());
    let mut part = mesh_of("ingestion,publishing".parse().unwrap());
    part.serve_partition(&REPLIES, 3, Inlet::new(|_| {})).unwrap();
    assert_eq!(part.edges.stages(), [Stage::Ingestion]);
}
