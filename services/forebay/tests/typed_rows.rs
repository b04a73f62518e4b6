//! The table of conversions in `docs/typed-rows.md`, filled at every entrance: HTTP, a Kafka record, a RabbitMQ message, a
//! JSON line and a CSV cell.
#![cfg(test)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use forebay_bus::amqp::AmqpMessage;
use forebay_bus::kafka::RawRecord;
use forebay_bus::{Ack, ModelDirectory};
use forebay_contract::wire::value::Kind;
use forebay_contract::{ColumnKind as WireKind, Lane, LoadState, Request, RowFormat, Value, VersionState};
use forebay_ingestion::admission::Timeouts;
use forebay_ingestion::amqp::AmqpIngress;
use forebay_ingestion::inbound::Inbound;
use forebay_ingestion::kafka::KafkaIngress;
use forebay_ingestion::parse::{parse_http, parse_line};
use forebay_ingestion::{ModelRows, RecordReader};
use forebay_preprocessing::{CheckedRow, RowRules, RowShape, Settings, convert_cell};
use forebay_registry::ColumnKind;
use forebay_runtime::StageTracer;
use forebay_testkit::settings;

const KINDS: [ColumnKind; 4] = [ColumnKind::Float, ColumnKind::Integer, ColumnKind::Boolean, ColumnKind::Text];

/// The lines of the table: a value of JSON, and what it becomes in each kind of column.
fn table() -> Result<Vec<(String, Vec<String>)>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/typed-rows.md");
    let page = std::fs::read_to_string(page)?;
    let begin = page.find("<!-- conversions -->").context("no table")?;
    let end = page[begin..].find("<!-- end -->").context("no end")? + begin;
    let lines = page[begin..end].lines().filter(|line| line.starts_with("| `"));
    let cells = |line: &str| {
        let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let (value, kinds) = cells.split_first().context("no cells")?;
        Ok((value.trim_matches('`').to_owned(), kinds.to_vec()))
    };
    lines.map(cells).collect()
}

/// A directory that knows the model `m` to have a column of text.
fn model_rows() -> ModelRows {
    let directory = ModelDirectory::new("here");
    let format = RowFormat { features: vec!["x".into()], kinds: vec![WireKind::Text.into()], ..RowFormat::default() };
    directory.describe("m", 1, format);
    let ready = VersionState { version: 1, state: LoadState::Ready.into(), ..VersionState::default() };
    directory.report("m", Some(1), vec![ready]);
    ModelRows::new(directory, "m", 0)
}

fn kafka(json: &str) -> Option<Request> {
    let ingress = KafkaIngress {
        propagation: forebay_ingestion::Propagation::default(),
        topics: Lane::ALL.map(|lane| lane.topic("in").into()),
        group: "g".into(),
        partitions: 1,
        timeouts: timeouts(),
        request_id_is_identity: false,
        model_rows: model_rows(),
        reader: RecordReader::default(),
        tracer: StageTracer::disabled(),
    };
    let payload = Bytes::copy_from_slice(json.as_bytes());
    let record = RawRecord { payload, key: None, partition: 0, offset: 0, timestamp_ms: 5, headers: vec![] };
    accepted(ingress.accept(record, Lane::Normal, 0, Duration::ZERO))
}

fn rabbitmq(json: &str) -> Option<Request> {
    let ingress = AmqpIngress {
        cache_scopes: forebay_ingestion::auth::CacheScopes::default(),
        queue: "in".into(),
        partitions: 1,
        batch_partition: Arc::new(AtomicU32::new(0)),
        timeouts: timeouts(),
        model_rows: model_rows(),
        tracer: StageTracer::disabled(),
    };
    accepted(ingress.accept(&AmqpMessage::new(Bytes::copy_from_slice(json.as_bytes()), Ack::none()), 0))
}

fn timeouts() -> Timeouts {
    Timeouts { default: Duration::from_secs(60), max: Duration::from_secs(300) }
}

fn accepted(inbound: Inbound) -> Option<Request> {
    match inbound {
        Inbound::Accepted(mut rows, _) => rows.pop().map(|item| item.payload),
        _ => None,
    }
}

/// The row as each entrance passes it on; `None` for one that does not take it.
fn entrances(value: &str) -> Vec<(&'static str, Option<Request>)> {
    let body = format!(r#"{{"features":{{"x":{value}}}}}"#);
    let http = parse_http(body.as_bytes(), 1).ok().and_then(|request| request.into_requests(true).next());
    let row = parse_line(format!(r#"{{"x":{value}}}"#).as_bytes()).ok().map(|line| line.row.into_exact());
    let line =
        row.map(|row| Request { features: row.values, values: row.mixed, names: row.names, ..Request::default() });
    vec![("http", http), ("kafka", kafka(&body)), ("rabbitmq", rabbitmq(&body)), ("score", line)]
}

fn shape(kind: ColumnKind) -> RowShape {
    let settings = settings(&[forebay_preprocessing::DEFAULTS]).read(Settings::read).expect("the defaults are sound");
    RowShape::new("m", vec!["x".into()], false, &RowRules::from(&settings)).with_columns(vec![kind], vec![true])
}

/// What the row becomes, as the table writes it.
fn converted(kind: ColumnKind, request: Request) -> String {
    let Request { features, values, names, .. } = request;
    match shape(kind).check_row(features, values, &names) {
        Err(_) => "error".to_owned(),
        Ok(CheckedRow::Values(row)) => shown(&row[0]),
        Ok(CheckedRow::Numbers(row)) => match kind {
            _ if row[0].is_nan() => "missing".to_owned(),
            ColumnKind::Integer => format!("{}", row[0]),
            ColumnKind::Boolean => (row[0] == 1.0).to_string(),
            ColumnKind::Float | ColumnKind::Text => format!("{:?}", row[0]),
        },
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        None => "missing".to_owned(),
        Some(Kind::Float(value)) => format!("{value:?}"),
        Some(Kind::Integer(value)) => value.to_string(),
        Some(Kind::Boolean(value)) => value.to_string(),
        Some(Kind::Text(text)) => format!("\"{text}\""),
    }
}

#[test]
fn every_entrance_converts_as_the_table_says() -> Result<()> {
    let table = table()?;
    ensure!(table.len() >= 12, "{} lines", table.len());
    let mut pairs = 0;
    for (value, expected) in &table {
        ensure!(expected.len() == KINDS.len(), "{value}: {expected:?}");
        for (entrance, request) in entrances(value) {
            for (kind, expected) in KINDS.iter().zip(expected) {
                let got = request.clone().map_or_else(|| "error".to_owned(), |request| converted(*kind, request));
                ensure!(got == *expected, "{entrance}: {value} in {kind:?} is {got}, the table says {expected}");
                pairs += 1;
            }
        }
    }
    ensure!(pairs == table.len() * 16);
    Ok(())
}

#[test]
fn a_cell_is_what_its_text_says_in_json() -> Result<()> {
    for (value, expected) in table()? {
        // a cell has no quotes, and says nothing about text that looks like a number
        let (cell, text) = match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
            Some(text) => (text.to_owned(), true),
            None => (value.clone(), false),
        };
        if value.starts_with(['[', '{']) || value == "null" || (text && cell.parse::<f64>().is_ok()) {
            continue;
        }
        for (kind, expected) in KINDS.iter().zip(&expected) {
            let got = convert_cell(*kind, &cell).map_or_else(|_| "error".to_owned(), |value| shown(&value));
            let expected = if *kind == ColumnKind::Text { format!("\"{cell}\"") } else { expected.clone() };
            ensure!(got == expected, "{cell:?} in {kind:?} is {got}, not {expected}");
        }
    }
    Ok(())
}
