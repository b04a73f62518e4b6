//! RabbitMQ edges without a server: they report why, give up in time, and end on request.
#![cfg(test)]

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use forebay_bus::amqp::{AmqpSink, AmqpSource, Answer, Target};
use forebay_bus::{Ack, AckOutcome, BusSettings, Permits, RabbitMqSettings};
use forebay_contract::now_us;
use forebay_runtime::Host;
use forebay_testkit::{settings, wait_until};

const LONG: Duration = Duration::from_secs(10);

fn host(url: &str) -> (Host, RabbitMqSettings) {
    let sources = settings(&[]);
    (sources.host(), sources.flags(&[url]).bus().rabbitmq)
}

/// No server listens there: the system hands this port out to no program.
fn nowhere() -> String {
    "rabbitmq.url=amqp://user:secret-word@127.0.0.1:1/%2f".to_owned()
}

fn reason(host: &Host, name: &str) -> Option<String> {
    let components = host.lifecycle().components();
    components.into_iter().find(|it| it.name.starts_with(name)).and_then(|it| it.unready)
}

fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn answer(give_up_us: u64) -> Answer {
    Answer {
        target: Target::ReplyTo("answers".into()),
        correlation_id: None,
        message_id: "m".into(),
        payload: b"{}".to_vec(),
        traceparent: None,
        give_up_us,
    }
}

fn ack(outcomes: &Sender<AckOutcome>) -> Ack {
    let outcomes = outcomes.clone();
    Ack::new(move |outcome| {
        let _ = outcomes.send(outcome);
    })
}

#[test]
fn without_a_server_the_reason_is_reported_and_the_end_does_not_wait() {
    let (host, rabbitmq) = host(&nowhere());
    let source = AmqpSource::start(&host, &rabbitmq, Permits::new(8), |_| {}).unwrap();
    let sink = AmqpSink::start(&host, &rabbitmq, Arc::new(|_, _, ack: Ack| ack.nack())).unwrap();
    for name in ["rabbitmq source", "rabbitmq answers"] {
        let refused = |it: String| it.contains("refused") && it.contains("127.0.0.1");
        wait_until(LONG, "the reason", || reason(&host, name).is_some_and(refused));
        assert!(!reason(&host, name).unwrap().contains("secret-word"));
    }
    let began = Instant::now();
    now(async {
        source.drain(LONG).await;
        sink.close(LONG).await;
    });
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_connection_that_is_not_made_holds_no_end_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (host, rabbitmq) = host(&format!("rabbitmq.url=amqp://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let source = AmqpSource::start(&host, &rabbitmq, Permits::new(8), |_| {}).unwrap();
    let (_silent, _) = listener.accept().unwrap();
    let began = Instant::now();
    now(source.drain(LONG));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn answers_are_given_up_when_their_time_is_over_and_not_before() {
    let (host, rabbitmq) = host(&nowhere());
    let (given_up, letters) = channel();
    let give_up = move |answer: Answer, why: &str, ack: Ack| {
        given_up.send((answer.message_id, why.to_owned())).unwrap();
        ack.ack();
    };
    let sink = AmqpSink::start(&host, &rabbitmq, Arc::new(give_up)).unwrap();
    let (outcomes, report) = channel();
    let until = now_us() + 900_000;
    sink.send(answer(until), ack(&outcomes), Vec::new());
    let (id, why) = letters.recv_timeout(LONG).unwrap();
    assert!(now_us() >= until, "given up too early");
    assert!(id == "m" && why.contains("refused"), "{why}");
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Done));
    // what still waits when the process ends is not done
    sink.send(answer(u64::MAX), ack(&outcomes), Vec::new());
    now(sink.close(LONG));
    assert_eq!(report.recv_timeout(LONG), Ok(AckOutcome::Failed));
}

#[test]
fn a_wrong_address_is_an_error_that_does_not_quote_it() {
    let (host, rabbitmq) = host("rabbitmq.url=amqp://user:secret-word@host:port/");
    let error = AmqpSource::start(&host, &rabbitmq, Permits::new(8), |_| {}).unwrap_err().to_string();
    assert!(error.contains("rabbitmq.url") && !error.contains("secret-word"), "{error}");
}

#[test]
fn wrong_settings_are_all_named() {
    let wrong = [
        ("url", "http://x"),
        ("prefetch", "0"),
        ("max_priority", "99"),
        ("client_cert_file", "a"),
        ("heartbeat", "1s"),
    ];
    let flags: Vec<String> = wrong.iter().map(|(key, value)| format!("rabbitmq.{key}={value}")).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let text = settings(&[]).flags(&flags).read(BusSettings::read).unwrap_err().to_string();
    for (key, _) in wrong {
        assert!(text.contains(&format!("rabbitmq.{key}")), "{key}: {text}");
    }
}
