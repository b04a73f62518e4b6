//! Requests and answers over a real RabbitMQ server, and what happens to them when that server fails.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::path::Path;
use std::time::Duration;

use forebay_bus::Permits;
use forebay_bus::amqp::AmqpSource;
use forebay_testkit::metric_table::{documented, missing, scraped, strange};
use forebay_testkit::settings;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::json;

use harness::load::HttpLoad;
use harness::rabbit::{Client, Load, reply_to, server};
use harness::spans::Spans;
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, ROW, ROW_V1, STAGES, Service, http, row, stop_all, wait_all, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// Brings Kafka back however the test ends: other tests need it.
struct KafkaComesBack;

impl Drop for KafkaComesBack {
    fn drop(&mut self) {
        harness::native(&["up", "kafka"]);
    }
}

/// Sets up queues for one mesh.
fn with_rabbit(mesh: &mut Mesh, name: &str) -> String {
    let queue = format!("{name}-{}", std::process::id());
    mesh.set("FOREBAY__RABBITMQ__URL", server().url());
    mesh.set("FOREBAY__RABBITMQ__QUEUE", &queue);
    mesh.set("FOREBAY__RABBITMQ__DEAD_LETTER_EXCHANGE", format!("{queue}.dead"));
    queue
}

fn request(version: &str) -> String {
    format!(r#"{{"request_id":"r","features":{ROW},"model_version":"{version}"}}"#)
}

/// What a service reports about its own health.
fn why(service: &Service) -> String {
    service.health().map(|(_, health)| health.to_string()).unwrap_or_default()
}

#[test]
fn a_request_that_was_computed_twice_is_replied_to_once_by_the_next_publishing() {
    let mut mesh = Mesh::with_topics("twice");
    let queue = with_rabbit(&mut mesh, "twice");
    let mut services = mesh.start_all();
    let (client, replies, topic) = (Client::new(), format!("{queue}.replies"), mesh.topic("results"));
    client.declare(&replies);
    let outcomes = Reader::from_now(&topic);
    client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, "first")).unwrap();
    client.wait(&replies);
    let outcome = outcomes.poll(SOON).unwrap();
    let mut publishing = services.pop().unwrap();
    publishing.stop();
    // as from a stage that had not committed its offset when it was killed
    let (payload, partition) = (&*outcome.payload, Some(outcome.partition));
    Writer::new().write(Out { topic: &topic, payload, partition, ..Out::default() });
    publishing = mesh.start("publishing");
    publishing.wait_ready();
    let duplicates = || publishing.metric("forebay_stage_duplicates_total", &[]);
    wait_until(SOON, "the copy is dropped", || duplicates() == 1.0);
    client.publish(&queue, request("v2").as_bytes(), reply_to(&replies, "second")).unwrap();
    let (_, properties) = client.wait(&replies);
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "second");
    assert_eq!(client.count(&replies).unwrap(), 0);
    services.push(publishing);
    stop_all(services);
}

/// Kafka does not know of replies since the last commit, but the other replica does.
#[test]
fn what_a_killed_publishing_has_replied_to_is_not_repeated_by_the_other_replica() {
    const REQUESTS: u64 = 200;
    let mut mesh = Mesh::with_topics("told");
    mesh.short_sessions();
    let queue = with_rabbit(&mut mesh, "told");
    let mut services: Vec<Service> = STAGES.iter().take(4).map(|stage| mesh.start(stage)).collect();
    // it commits nothing before it is killed
    let rare = [("FOREBAY__KAFKA__SESSION_TIMEOUT", "30s"), ("FOREBAY__KAFKA__COMMIT_INTERVAL", "29s")];
    services.extend((0..2).map(|_| mesh.start_with("publishing", &rare)));
    wait_all(&mut services);
    let (client, replies) = (Client::new(), format!("{queue}.replies"));
    client.declare(&replies);
    for id in 0..REQUESTS {
        client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, &id.to_string())).unwrap();
    }
    let count = || client.count(&replies).unwrap();
    wait_until(SOON, "every reply", || count() == REQUESTS);
    // a reply is announced when the server has confirmed it
    std::thread::sleep(Duration::from_secs(1));
    services[4].kill();
    let other = &services[5];
    wait_until(SOON, "the copies", || other.metric("forebay_stage_duplicates_total", &[]) > 0.0);
    // what is sent now comes behind whatever the taken partitions held
    for id in REQUESTS..2 * REQUESTS {
        client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, &id.to_string())).unwrap();
    }
    wait_until(SOON, "the replies of the other replica alone", || count() >= 2 * REQUESTS);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(), 2 * REQUESTS);
    services.remove(4);
    stop_all(services);
}

/// Its answers are dead letters soon, and no other client waits for them: a partition of results is held back when its oldest
/// work is half a window old.
#[test]
fn a_client_that_leaves_its_reply_queue_full_stops_no_other() {
    const REQUESTS: usize = 40;
    let mut mesh = Mesh::with_topics("full");
    mesh.set("FOREBAY__DELIVERY__DEDUPE_WINDOW", "20s");
    let queue = with_rabbit(&mut mesh, "full");
    let services = mesh.start_all();
    let (client, replies) = (Client::new(), format!("{queue}.replies"));
    client.declare_full(&replies);
    for id in 0..REQUESTS {
        client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, &id.to_string())).unwrap();
    }
    let callers = HttpLoad::start(vec![services[0].http], 2, Duration::from_millis(20));
    let letters = Reader::from_start(&mesh.topic("dead_letters"));
    for _ in 0..REQUESTS {
        letters.find(SOON, "an answer that the queue refuses", |letter| {
            String::from_utf8_lossy(&letter.payload).contains(&ROW_V1.to_string())
        });
    }
    // longer than the partitions would be held back without
    std::thread::sleep(Duration::from_secs(10));
    let called = callers.finish();
    assert!(called.wrong.is_empty() && called.answered > 100, "{called:#?}");
    assert!(called.slowest < Duration::from_secs(5), "{:?}", called.slowest);
    assert!(services.iter().all(|service| !service.output().contains("held back")));
    stop_all(services);
}

#[test]
fn five_services_answer_each_message_at_its_reply_to() {
    let mut mesh = Mesh::with_topics("amqp");
    let queue = with_rabbit(&mut mesh, "amqp");
    mesh.set("FOREBAY__RABBITMQ__RESULTS_EXCHANGE", format!("{queue}.results"));
    let mut collected = Spans::collect();
    mesh.set("OTEL_EXPORTER_OTLP_ENDPOINT", &collected.endpoint);
    let services = mesh.start_all();
    let client = Client::new();
    let (replies, copies) = (format!("{queue}.replies"), format!("{queue}.copies"));
    client.declare(&replies);
    client.declare(&copies);
    client.bind(&copies, &format!("{queue}.results"), "#");

    // an answer, at its queue and on the exchange, in the caller's trace
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(format!("00-{trace}-b7ad6b7169203331-01").into()));
    client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, "first").with_headers(headers)).unwrap();
    let (answer, properties) = client.wait(&replies);
    assert_eq!((answer["prediction"].as_f64(), &answer["request_id"]), (Some(ROW_V1), &json!("r")), "{answer}");
    assert_eq!(answer["trace_id"], trace);
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "first");
    let (copy, copied) = client.wait(&copies);
    assert_eq!((&copy, copied.message_id()), (&answer, properties.message_id()));
    let wanted = [format!("process {queue}"), "send reply-to".to_owned(), format!("send {queue}.results")];
    let spans = collected.of_trace(trace, &wanted);
    let process = spans.iter().find(|it| it.span.name == format!("process {queue}")).unwrap();
    assert_eq!(process.attribute("messaging.system").as_deref(), Some("rabbitmq"));
    assert_eq!((process.parent().as_str(), process.service.as_str()), ("b7ad6b7169203331", "forebay-ingestion"));

    // the same message id again is silent, another one is not; errors are answers
    client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, "first")).unwrap();
    client.publish(&queue, br#"{"features":[1]}"#, reply_to(&replies, "second")).unwrap();
    let (answer, properties) = client.wait(&replies);
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "second", "a replay was answered: {answer}");
    assert_eq!(answer["error"]["code"], "invalid_features");
    let late = reply_to(&replies, "late").with_expiration("0".into());
    client.publish(&queue, request("v1").as_bytes(), late).unwrap();
    // expired before a consumer took it: the server's own business, and it shows where
    wait_until(SOON, "the expired message", || {
        client
            .get(&replies)
            .unwrap()
            .is_some_and(|it| it.properties.correlation_id().as_ref().unwrap().as_str() == "late")
            || client.get(&format!("{queue}.dead")).unwrap().is_some()
    });

    // no JSON: an error to the waiting client, the bytes to the dead-letter queue and to the topic
    client.publish(&queue, b"\x01 garbage", reply_to(&replies, "bad")).unwrap();
    let (answer, _) = client.wait(&replies);
    assert_eq!(answer["error"]["code"], "invalid_request");
    let (dead, _) = client.wait(&format!("{queue}.dead"));
    assert_eq!(dead, json!("\u{1} garbage"));
    let letter = Reader::from_start(&mesh.topic("dead_letters")).find(SOON, "the letter", |_| true);
    assert_eq!(letter.payload, b"\x01 garbage");

    // the queue that waits is gone: counted, and no other consumer waits for it
    let returned = || services[4].metric("forebay_rabbitmq_returned_total", &[]);
    client.publish(&queue, request("v1").as_bytes(), reply_to("nowhere", "gone")).unwrap();
    client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, "after")).unwrap();
    let (_, properties) = client.wait(&replies);
    assert_eq!(properties.correlation_id().as_ref().unwrap().as_str(), "after");
    wait_until(SOON, "the returned answer to be counted", || returned() == 1.0);

    // a client without any queue
    let direct = Client::new().request_directly(&queue, request("v1").as_bytes());
    assert_eq!(direct["prediction"].as_f64(), Some(ROW_V1), "{direct}");

    let rows = documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let mut families = scraped(&http::get(services[0].admin, "/metrics").unwrap().text());
    families.extend(scraped(&http::get(services[4].admin, "/metrics").unwrap().text()));
    assert_eq!(missing(&rows, &families, &["rabbitmq"]), Vec::<String>::new());
    assert_eq!(strange(&rows, &families), Vec::<String>::new());
    assert_eq!(services[0].metric("forebay_rabbitmq_rejected_total", &[]), 1.0);
    // everything was acknowledged: nothing comes back when the services go
    stop_all(services);
    assert!(client.get(&queue).unwrap().is_none());
}

fn connected(service: &harness::Service) -> bool {
    ["source", "answers"].iter().any(|end| service.metric(&format!("forebay_rabbitmq_{end}_connected"), &[]) == 1.0)
}

#[test]
fn nothing_is_lost_when_connections_are_cut_and_servers_die() {
    let mut mesh = Mesh::with_topics("amqp-faults");
    mesh.short_sessions();
    let queue = with_rabbit(&mut mesh, "faults");
    mesh.set("FOREBAY__RABBITMQ__HEARTBEAT", "2s");
    // Kafka's crash may take longer than the default of a minute on a busy machine, and then late requests are errors
    mesh.set("FOREBAY__DELIVERY__TIMEOUT", "4m");
    let mut services = mesh.start_all();
    let load = Load::start(&queue, &format!("{queue}.replies"), 150.0);
    wait_until(SOON, "the first answers", || load.answered() > 100);
    for cut in 0..3 {
        server().native(&["rabbitmqctl", "close_all_connections", "a test"]);
        let before = load.answered();
        wait_until(SOON, &format!("answers after cut {cut}"), || load.answered() > before + 100);
    }
    let guard = KafkaComesBack;
    harness::native(&["kill", "kafka"]);
    std::thread::sleep(Duration::from_secs(2));
    drop(guard);
    let before = load.answered();
    wait_until(Duration::from_secs(120), "answers after Kafka's crash", || load.answered() > before + 300);
    // it blocks publishers while it is short of memory, and sends no more answers
    server().native(&["rabbitmqctl", "set_vm_memory_high_watermark", "absolute", "1MB"]);
    std::thread::sleep(Duration::from_secs(2));
    server().native(&["rabbitmqctl", "set_vm_memory_high_watermark", "absolute", "512MB"]);
    let before = load.answered();
    wait_until(SOON, "answers after the alarm", || load.answered() > before + 50);
    server().native(&["pause", "rabbitmq"]);
    wait_until(SOON, "the silence to be noticed", || !connected(&services[0]) && !connected(&services[4]));
    server().native(&["resume", "rabbitmq"]);
    let before = load.answered();
    wait_until(SOON, "answers after the silence", || load.answered() > before + 50);
    server().native(&["kill", "rabbitmq"]);
    wait_until(SOON, "the crash to be noticed", || !connected(&services[0]) && !connected(&services[4]));
    assert!(services[0].is_ready() && services[4].is_ready(), "an outage of RabbitMQ is no outage of HTTP and Kafka");
    let reply =
        harness::http::predict(services[0].http, &[], format!(r#"{{"features":{}}}"#, harness::row(3))).unwrap();
    assert_eq!(reply.status, 200, "over HTTP while RabbitMQ is away");
    server().native(&["up", "rabbitmq"]);
    let before = load.answered();
    wait_until(SOON, "answers after the crash", || load.answered() > before + 50);
    // and ours: killed with messages and answers in flight
    for stage in [0, 4] {
        services[stage].kill();
        services[stage] = mesh.start(harness::STAGES[stage]);
        services[stage].wait_ready();
    }
    let judged = load.judge(Duration::from_secs(120));
    println!("{} sent, {} answered more than once", judged.sent, judged.repeated);
    assert!(judged.lost.is_empty(), "lost {} of {}: {:?}", judged.lost.len(), judged.sent, judged.lost);
    assert!(judged.strange.is_empty(), "{:?}", judged.strange);
    assert!(judged.repeated * 5 < judged.sent as usize, "{} of {} repeated", judged.repeated, judged.sent);
    stop_all(services);
}

/// A message that came back is counted by the server, and dropped when that was too often.
#[test]
fn a_quorum_queue_drops_nothing_that_fails_again_and_again() {
    let client = Client::new();
    let queue = format!("quorum-{}", std::process::id());
    client.declare_quorum(&queue, 2);
    let url = format!("rabbitmq.url={}", server().url());
    let flags = [&url, &format!("rabbitmq.queue={queue}"), "rabbitmq.declare=false"];
    let (sources, bus) = (settings(&[]), settings(&[]).flags(&flags).bus());
    let host = sources.host();
    let (sender, receiver) = std::sync::mpsc::channel();
    let source = AmqpSource::start(&host, &bus.rabbitmq, Permits::new(8), move |messages| {
        messages.into_iter().for_each(|message| sender.send(message).unwrap());
    })
    .unwrap();
    for id in ["a", "b"] {
        client.publish(&queue, id.as_bytes(), reply_to("unread", id)).unwrap();
    }
    let next = || receiver.recv_timeout(SOON).unwrap();
    // two messages, four failures each
    for _ in 0..8 {
        next().ack.nack();
    }
    let unready = || host.lifecycle().components().into_iter().find_map(|it| it.unready).unwrap_or_default();
    wait_until(SOON, "the reason", || unready().contains("could not be passed on"));
    let mut last: Vec<_> = (0..2).map(|_| next()).collect();
    last.sort_by(|one, other| one.message_id.cmp(&other.message_id));
    assert_eq!([&last[0].payload[..], &last[1].payload[..]], [b"a", b"b"]);
    // one succeeds, the other fails once more and is given back at the end: others may have it
    last.pop().unwrap().ack.ack();
    wait_until(SOON, "it to be well again", || unready().is_empty());
    last.pop().unwrap().ack.nack();
    tokio::runtime::Runtime::new().unwrap().block_on(source.drain(SOON));
    let left = client.get(&queue).unwrap().unwrap();
    assert_eq!((&left.data[..], left.redelivered), (&b"a"[..], true));
    assert!(client.get(&queue).unwrap().is_none());
}

#[test]
fn up_alone_takes_the_urgent_first_and_keeps_what_it_has_when_it_dies() {
    let mut mesh = Mesh::unset("amqp-up");
    let queue = with_rabbit(&mut mesh, "up");
    mesh.set("FOREBAY__RABBITMQ__DECLARE", "false");
    mesh.set("FOREBAY__RABBITMQ__PREFETCH", "1");
    let client = Client::new();
    let replies = format!("{queue}.replies");
    client.declare(&replies);
    client.declare_with(&queue, &[("x-max-priority", 10)]);
    for number in 0..30 {
        let level = if number % 3 == 0 { 9 } else { 1 };
        let body = format!(r#"{{"features":{}}}"#, row(number));
        let properties = reply_to(&replies, &format!("{level}-{number}")).with_priority(level);
        client.publish(&queue, body.as_bytes(), properties).unwrap();
    }
    let mut up = mesh.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let order: Vec<String> =
        (0..30).map(|_| client.wait(&replies).1.correlation_id().as_ref().unwrap().as_str().to_owned()).collect();
    assert!(order[..10].iter().all(|label| label.starts_with("9-")), "{order:?}");
    up.stop();

    // killed each time while it works off what has piled up meanwhile, so that its hands are full
    mesh.set("FOREBAY__RABBITMQ__PREFETCH", "64");
    let load = Load::start(&queue, &format!("{queue}.more"), 700.0);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        let mut up = mesh.launch("forebay", &["up"], &[]);
        wait_until(SOON, "it to answer", || up.metric("forebay_rabbitmq_replied_total", &[]) > 30.0);
        up.kill();
    }
    let mut up = mesh.launch("forebay", &["up"], &[]);
    wait_until(SOON, "it to answer", || up.metric("forebay_rabbitmq_replied_total", &[]) > 30.0);
    up.stop();
    let mut up = mesh.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let judged = load.judge(Duration::from_secs(90));
    println!("{} sent, {} answered more than once", judged.sent, judged.repeated);
    assert!(judged.lost.is_empty(), "lost {} of {}: {:?}", judged.lost.len(), judged.sent, judged.lost);
    assert!(judged.strange.is_empty(), "{:?}", judged.strange);
    // what was in flight at a kill: at most what was prefetched, three times
    assert!(judged.repeated <= 3 * 64, "{} repeated", judged.repeated);
    up.stop();
}

#[test]
fn what_is_wrong_is_said_and_heals_without_a_restart() {
    let client = Client::new();
    // a queue with other arguments
    let mut mesh = Mesh::unset("amqp-wrong");
    let queue = with_rabbit(&mut mesh, "wrong");
    client.declare_with(&queue, &[("x-max-priority", 3)]);
    let mut up = mesh.launch("forebay", &["up"], &[]);
    wait_until(SOON, "the other arguments to be named", || why(&up).contains("exists with other arguments"));
    assert!(up.is_live() && !up.is_ready());
    client.delete(&queue);
    up.wait_ready();
    // the queue is deleted under it, and declared again
    client.delete(&queue);
    wait_until(SOON, "the queue to be there again", || {
        let body = request("v1");
        client.publish(&queue, body.as_bytes(), BasicProperties::default()).is_ok()
    });
    up.stop();

    // wrong credentials, never shown
    let url = format!("amqp://guest:no-such-password@127.0.0.1:{}/%2f", server().port);
    let mut up = mesh.launch("forebay", &["up"], &[("FOREBAY__RABBITMQ__URL", &url)]);
    wait_until(SOON, "the refused user to be named", || why(&up).contains("is refused"));
    assert!(!up.output().contains("no-such-password") && !why(&up).contains("no-such-password"));
    up.stop();

    // TLS: another authority, no certificate of ours, and both right
    let (tls, server) = (format!("amqps://guest:guest@localhost:{}/%2f", server().tls_port), server());
    let file = |path: &Path| path.display().to_string();
    let (ca, other) = (file(&server.ca), file(&server.other_ca));
    let (certificate, key) = (file(&server.client_cert), file(&server.client_key));
    mesh.set("FOREBAY__RABBITMQ__URL", tls);
    let mut up = mesh.launch("forebay", &["up"], &[("FOREBAY__RABBITMQ__CA_FILE", &other)]);
    wait_until(SOON, "the unknown authority to be named", || why(&up).contains("rabbitmq.ca_file"));
    up.stop();
    mesh.set("FOREBAY__RABBITMQ__CA_FILE", ca);
    let mut up = mesh.launch("forebay", &["up"], &[]);
    wait_until(SOON, "a client without a certificate to be refused", || why(&up).contains("client_cert"));
    up.stop();
    mesh.set("FOREBAY__RABBITMQ__CLIENT_CERT_FILE", certificate);
    mesh.set("FOREBAY__RABBITMQ__CLIENT_KEY_FILE", key);
    let mut up = mesh.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let replies = format!("{queue}.replies");
    client.declare(&replies);
    client.publish(&queue, request("v1").as_bytes(), reply_to(&replies, "tls")).unwrap();
    assert_eq!(client.wait(&replies).0["prediction"].as_f64(), Some(ROW_V1));
    up.stop();
}
