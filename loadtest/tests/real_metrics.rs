//! The table of metrics in `docs/metrics.md` against five services over a real Kafka and Redis.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use forebay_testkit::metric_table::{MetricFamily as Family, documented, missing, scraped, strange};

use harness::proxy::SlowProxy;
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, ROW, Service, http, redis, row, stop_all};

/// What all of them show together.
fn together(services: &[Service]) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    for service in services {
        for (name, family) in scraped(&http::get(service.admin, "/metrics").unwrap().text()) {
            let known = all.entry(name).or_insert_with(|| Family { labels: Default::default(), ..family.clone() });
            known.labels.extend(family.labels);
        }
    }
    all
}

#[test]
fn the_table_of_metrics_is_what_the_services_show() {
    let mut mesh = Mesh::with_topics("metrics");
    let proxy = SlowProxy::start(&redis());
    mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", proxy.address));
    mesh.set("FOREBAY__PREDICTION__SHADOW", r#"["diabetes-rf-model/2"]"#);
    let services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    let writer = Writer::new();
    let ingestion = services[0].http;
    for (number, version) in ["v1", "v2", "v3"].into_iter().enumerate() {
        let body = format!(r#"{{"features":{},"model_version":"{version}"}}"#, row(number));
        assert_eq!(http::predict(ingestion, &[], body).unwrap().status, 200);
    }
    assert_eq!(http::predict(ingestion, &[], r#"{"features":[1]}"#).unwrap().status, 400);
    proxy.delay(Duration::from_millis(200));
    assert_eq!(
        http::predict(ingestion, &[], format!(r#"{{"features":{}}}"#, row(9))).unwrap().status,
        200,
        "without Redis"
    );
    proxy.delay(Duration::ZERO);
    for body in [format!(r#"{{"request_id":"good","features":{ROW}}}"#), "no json at all".to_owned()] {
        writer.write(Out { topic: &mesh.topic("requests_in"), payload: body.as_bytes(), ..Out::default() });
    }
    results.result("good");

    let rows = documented(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let wrong = || {
        let families = together(&services);
        [strange(&rows, &families), missing(&rows, &families, &["always", "kafka", "event"])].concat()
    };
    // the Kafka client reports lag, round trip and throttling every five seconds; its first report may hold no round
    // trip yet
    let round_trip = || services[4].metric("forebay_kafka_round_trip_seconds", &["stage=\"publishing\""]);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !wrong().is_empty() || round_trip() == 0.0 {
        assert!(std::time::Instant::now() < deadline, "round trip {} s; {}", round_trip(), wrong().join("\n"));
        std::thread::sleep(Duration::from_millis(200));
    }
    let letters = services[0].metric("forebay_stage_dead_letters_total", &["stage=\"ingestion\""]);
    assert_eq!(letters, 1.0, "one record was no JSON");
    assert!(round_trip() > 0.0 && round_trip() < 5.0, "{}", round_trip());
    stop_all(services);
}
