//! Records of the request topic that are more than one row of JSON for the default model.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use harness::topic::{Reader, Writer, create};
use harness::{Mesh, ROW, ROW_V1, ROW_V3, assert_close, stop_all, wait_all};

const SOON: Duration = Duration::from_secs(20);

/// A registry with the sample model, and another one that is its version 1.
fn registry(folder: &Path) -> String {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/sample/diabetes-rf-model");
    for (from, to) in [("3", "diabetes-rf-model/3"), ("1", "other/1")] {
        let version = folder.join(to);
        std::fs::create_dir_all(&version).unwrap();
        for file in std::fs::read_dir(sample.join(from)).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), version.join(file.file_name())).unwrap();
        }
        let production = format!("stages:\n  {from}: Production\n");
        std::fs::write(version.parent().unwrap().join("registered_model.yaml"), production).unwrap();
    }
    format!("file:{}", folder.display())
}

/// The values of the row under the names that a program of others gives them.
fn foreign(id: &str) -> String {
    let values: Vec<f64> = serde_json::from_str(ROW).unwrap();
    let names = ["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"];
    let fields = |range: std::ops::Range<usize>| {
        let pairs = range.map(|at| (names[at].to_owned(), json!(values[at])));
        Value::Object(pairs.collect())
    };
    let record = json!({"request_id": id, "patient": fields(0..2), "visit": {"lab": fields(2..10), "day": "monday"}});
    record.to_string()
}

#[test]
fn a_second_request_topic_has_its_model_its_columns_and_many_rows_a_record() {
    let (mut mesh, folder) = (Mesh::with_topics("records"), tempfile::tempdir().unwrap());
    mesh.set("FOREBAY__MODELS__REGISTRY", registry(folder.path()));
    let topic = format!("{}.other", mesh.topic("requests_in"));
    let columns = "age=patient.age,sex=patient.sex,bmi=visit.lab.bmi,bp=visit.lab.bp,s1=visit.lab.s1,s2=visit.lab.s2,\
                   s3=visit.lab.s3,s4=visit.lab.s4,s5=visit.lab.s5,s6=visit.lab.s6";
    let of_topic = [("FOREBAY__TOPICS__REQUESTS_IN", topic.as_str()), ("FOREBAY__INGESTION__RECORD_MODEL", "other")];
    create(&topic, 4, &[]);
    let mut services = mesh.start_all();
    let group = format!("{}.other", mesh.outside_group());
    let group = ("FOREBAY__KAFKA__CONSUMER_GROUP", group.as_str());
    let own = |setting: (&'static str, &'static str)| [&of_topic[..], &[group, setting]].concat();
    services.push(mesh.start_with("ingestion", &own(("FOREBAY__INGESTION__MAX_RECORD_ROWS", "3"))));
    wait_all(&mut services);
    let (results, writer) = (Reader::from_now(&mesh.topic("results_out")), Writer::new());

    // the same record on both topics: each has its model
    let plain = |id: &str| format!(r#"{{"request_id":"{id}","features":{ROW}}}"#);
    writer.request(&mesh.topic("requests_in"), &plain("first"));
    assert_close(&results.result("first").json()["prediction"], ROW_V3, 1e-4);
    writer.request(&topic, &plain("second"));
    let result = results.result("second").json();
    assert_eq!((result["prediction"].as_f64(), &result["model"]), (Some(ROW_V1), &json!("other")), "{result}");

    // rows, one of which is refused
    let rows = |id: &str, rows: &[&str]| format!(r#"{{"request_id":"{id}","features":[{}]}}"#, rows.join(","));
    writer.request(&topic, &rows("rows", &[ROW, "[1,2]", ROW]));
    let mut answers: Vec<Value> =
        (0..3).map(|_| results.find(SOON, "a row", |it| it.json()["request_id"] == "rows").json()).collect();
    answers.sort_by_key(|answer| answer["row"].as_u64());
    let places: Vec<_> = answers.iter().map(|answer| answer["row"].as_u64()).collect();
    assert_eq!(places, [Some(0), Some(1), Some(2)], "{answers:?}");
    let predictions: Vec<_> = answers.iter().map(|answer| answer["prediction"].as_f64()).collect();
    assert_eq!(predictions, [Some(ROW_V1), None, Some(ROW_V1)]);
    assert_eq!(answers[1]["error"]["code"], "invalid_features");
    writer.request(&topic, &rows("four", &[ROW; 4]));
    let refused = results.result("four").json();
    assert_eq!(refused["error"]["code"], "payload_too_large", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("ingestion.max_record_rows"), "{refused}");

    // the same group, with columns in fields of their own
    services.pop().unwrap().stop();
    services.push(mesh.start_with("ingestion", &own(("FOREBAY__INGESTION__RECORD_COLUMNS", columns))));
    wait_all(&mut services);
    writer.request(&topic, &foreign("foreign"));
    let result = results.result("foreign").json();
    assert_eq!((result["prediction"].as_f64(), &result["model"]), (Some(ROW_V1), &json!("other")), "{result}");
    assert_eq!(Reader::from_start(&mesh.topic("dead_letters")).held(), 0);
    stop_all(services);
}
