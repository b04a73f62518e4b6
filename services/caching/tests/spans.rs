//! What a trace shows of this stage: one span for each item that says what the cache did, and the lookup in Redis below
//! the spans of the requests that it serves.
#![cfg(test)]

mod bench;

use std::time::Duration;

use bench::{Bench, LONG, Level, Says, features, item, sampled_item, score, value};
use forebay_bus::AckOutcome;
use forebay_caching::CacheEntry;
use forebay_contract::CacheKey;
use forebay_runtime::{OtelEnvironment, Process, Telemetry, TelemetrySettings};
use forebay_testkit::collector;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

fn text(span: &Span, key: &str) -> Option<String> {
    collector::attribute(&span.attributes, key)
}

#[test]
fn each_sampled_item_has_a_span_that_says_what_the_cache_did() {
    let (url, requests) = collector::grpc();
    let environment = OtelEnvironment::of([("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url)]);
    let settings = TelemetrySettings { sample_ratio: 1.0, slow: Duration::from_secs(1) };
    let telemetry = Telemetry::start(Process::all_in_one("test"), &settings, &environment).unwrap();
    actix_rt::System::new().block_on(async {
        let key = CacheKey([2; 32]);
        let stored = CacheEntry { model: "m".into(), version: 3, score: value(1.0) };
        let level = Level::new(Says::Values(vec![(key, stored.encode(&key).unwrap())]));
        let mut bench = Bench::traced(&level, telemetry.clone());
        // a miss with a waiter, a hit of the second level, and one that is not sampled
        let items =
            vec![sampled_item(features(1)), sampled_item(features(1)), sampled_item(features(2)), item(features(3))];
        let request = bench.submit(items);
        bench.answered().await.done();
        bench.predicted().await.done();
        bench.land(1, score(4.0));
        bench.answered().await.done();
        request.expect(AckOutcome::Done).await;
        bench.submit(vec![sampled_item(features(1))]);
        bench.answered().await.done();
        telemetry.flush(LONG).await;
    });
    let spans: Vec<Span> = collector::spans(&requests).into_iter().map(|(_, span)| span).collect();
    let stage: Vec<&Span> = spans.iter().filter(|span| span.name == "process forebay.features").collect();
    let mut said: Vec<String> = stage.iter().filter_map(|span| text(span, "forebay.cache")).collect();
    said.sort();
    assert_eq!(said, ["hit", "hit_l2", "miss", "waited"]);
    assert_eq!(stage.len(), 4);
    assert!(
        stage.iter().all(|span| span.kind() == SpanKind::Consumer && span.parent_span_id == [1, 2, 3, 4, 5, 6, 7, 8])
    );

    let looks: Vec<&Span> = spans.iter().filter(|span| span.name == "redis").collect();
    assert_eq!(looks.len(), 2, "for the sampled items that were looked up");
    for look in looks {
        assert_eq!(look.kind(), SpanKind::Client);
        let parent = stage.iter().find(|span| span.span_id == look.parent_span_id).expect("no parent");
        assert!(["hit_l2", "miss"].contains(&text(parent, "forebay.cache").unwrap().as_str()));
        assert_eq!(text(look, "db.system.name").as_deref(), Some("redis"));
        assert_eq!(text(look, "db.operation.name").as_deref(), Some("MGET"));
        assert_eq!(text(look, "db.operation.batch.size").as_deref(), Some("3"));
    }
}
