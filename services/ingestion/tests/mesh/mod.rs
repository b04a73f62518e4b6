//! A mesh of one stage: ingestion with probes where its neighbours would be, and a plain HTTP client.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot continue should stop")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_rt::Arbiter;
use forebay_bus::kafka::DeadLetters;
use forebay_bus::{Ack, Delivery, EdgeEvents, ModelDirectory};
use forebay_contract::{Answer, Batch, ErrorCode, Item, Outcome, Problem, Request, Score};
use forebay_ingestion::DEFAULTS;
use forebay_ingestion::Settings;
use forebay_ingestion::settings::GrpcSettings;
use forebay_ingestion::system::{GrpcListener, HttpListener, IngestionStage, Outlets, StagePlacement, stage};
use forebay_runtime::Host;
use forebay_testkit::{probe, settings, wait_until_async};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Upper bound of every wait in these tests.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Counts dead letters.
#[derive(Default)]
pub struct DeadLetterCount(pub AtomicUsize);

impl EdgeEvents for DeadLetterCount {
    fn dead_letter(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Mesh {
    pub host: Host,
    pub stage: IngestionStage,
    pub requests: UnboundedReceiver<(Batch<Request>, Ack)>,
    pub results: UnboundedReceiver<(Batch<Outcome>, Ack)>,
    pub dead_letters: Arc<DeadLetterCount>,
    pub directory: ModelDirectory,
    grpc: GrpcSettings,
    arbiter: Arbiter,
}

impl Mesh {
    pub fn start(flags: &[&str]) -> Self {
        Self::try_start(flags).unwrap()
    }

    /// Why these settings do not start.
    pub fn refused(flags: &[&str]) -> String {
        Self::try_start(flags).map(drop).unwrap_err()
    }

    pub fn try_start(flags: &[&str]) -> Result<Self, String> {
        let mut all = vec!["http.listen=127.0.0.1:0", "http.workers=1"];
        let cooldown = "auth.jwt.cooldown="; // not a setting, but a test cannot wait for the real one
        all.extend(flags.iter().filter(|flag| !flag.starts_with(cooldown)));
        let sources = settings(&[forebay_redis::DEFAULTS, DEFAULTS]).flags(&all);
        let mut settings = sources.read(Settings::read).map_err(|problems| problems.to_string())?;
        if let Some(time) = flags.iter().find_map(|flag| flag.strip_prefix(cooldown)?.strip_suffix("ms")) {
            settings.auth.jwt.cooldown = Duration::from_millis(time.parse().unwrap());
        }
        let host = sources.host();
        let (requests_out, requests) = probe::async_outlet();
        let (results_out, results) = probe::async_outlet();
        let dead_letters = Arc::new(DeadLetterCount::default());
        let outlets = Outlets {
            requests: requests_out,
            results: results_out,
            dead_letters: DeadLetters::logged("ingestion", Arc::clone(&dead_letters) as Arc<dyn EdgeEvents>),
        };
        let arbiter = Arbiter::new();
        let placement = StagePlacement::replica(4, settings.ingestion.batch_interval);
        let directory = ModelDirectory::new("test");
        let stage = stage(&settings, &sources.bus(), &host, &arbiter.handle(), outlets, placement, &directory);
        let stage = stage.map_err(|error| error.to_string())?;
        Ok(Self { host, stage, requests, results, dead_letters, directory, grpc: settings.grpc, arbiter })
    }

    pub fn serve(&self) -> HttpListener {
        self.stage.serve_http(&self.host).unwrap()
    }

    pub fn serve_grpc(&self) -> GrpcListener {
        self.stage.serve_grpc(&self.grpc, &self.host).unwrap().expect("the address is free")
    }

    /// Blocks the arbiter of the actors until the sender is dropped.
    pub fn block(&self) -> std::sync::mpsc::Sender<()> {
        let (open, gate) = std::sync::mpsc::channel();
        self.arbiter.spawn_fn(move || _ = gate.recv());
        open
    }

    /// From now on every request is answered with its sum; nothing arrives at the test any more.
    pub fn answer_all(&mut self) {
        let (_, empty) = unbounded_channel();
        let (mut requests, replies) = (std::mem::replace(&mut self.requests, empty), self.stage.replies.clone());
        actix_rt::spawn(async move {
            while let Some((batch, ack)) = requests.recv().await {
                ack.ack();
                let payload =
                    Batch { batch_partition: 0, stages: vec![], items: batch.items.into_iter().map(sum).collect() };
                replies.deliver(Delivery { payload, ack: Ack::none() });
            }
        });
    }

    /// The value of a metric, as `name{label="value"} 1` would show it.
    pub fn metric(&self, series: &str) -> Option<f64> {
        let text = self.host.metrics().encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    pub async fn arrived(&mut self) -> (Batch<Request>, Ack) {
        within(self.requests.recv()).await.unwrap()
    }

    /// Receives `count` items, however they are batched, and acknowledges them.
    pub async fn items(&mut self, count: usize) -> Vec<Item<Request>> {
        let mut items = Vec::new();
        while items.len() < count {
            let (batch, ack) = self.arrived().await;
            assert!((1..=256).contains(&batch.items.len()));
            items.extend(batch.items);
            ack.ack();
        }
        items
    }

    pub fn reply(&self, items: Vec<Item<Outcome>>) {
        let payload = Batch { batch_partition: 0, stages: vec![], items };
        self.stage.replies.deliver(Delivery { payload, ack: Ack::none() });
    }
}

/// Predicts the sum; a row whose first value is negative fails.
pub fn sum(item: Item<Request>) -> Item<Outcome> {
    let value: f64 = item.payload.features.iter().sum();
    if item.payload.features[0] < 0.0 {
        return item.with(Problem::new(ErrorCode::InvalidFeatures, "negative").into());
    }
    let label = if item.payload.version.is_empty() { "v3".to_owned() } else { item.payload.version.clone() };
    let score = Some(Score { value, ..Score::default() });
    item.with(Answer { score, model: "m".into(), label, ..Answer::default() }.into())
}

/// Waits until `true`.
pub async fn until(what: &str, holds: impl AsyncFnMut() -> bool) {
    wait_until_async(LIMIT, what, holds).await;
}

/// Repeats the request until a limit rejects it, because a slow machine may let the first ones through.
pub async fn shed(request: impl AsyncFn() -> Response) -> Response {
    for _ in 0..100 {
        let reply = request().await;
        if reply.status == 429 {
            return reply;
        }
    }
    panic!("nothing was refused");
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("took too long")
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split(':').next().is_some_and(|key| key.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }

    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends a request and leaves the connection open for the answer.
pub async fn send(address: SocketAddr, head: &str, body: &[u8]) -> TcpStream {
    let mut stream = within(TcpStream::connect(address)).await.unwrap();
    let head = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    // a server that refuses by the head alone may hang up before all of the body is sent
    drop(stream.write_all(body).await);
    stream
}

pub async fn receive(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    within(async {
        let mut chunk = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            bytes.extend_from_slice(&chunk[..read]);
        }
    })
    .await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = body.to_owned();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = body.split("\r\n").skip(1).step_by(2).collect();
    }
    Response { status, head: head.to_owned(), body }
}

pub async fn call(address: SocketAddr, head: &str, body: &[u8]) -> Response {
    receive(send(address, head, body).await).await
}

pub async fn predict(address: SocketAddr, body: &str) -> Response {
    call(address, "POST /v1/predict HTTP/1.1", body.as_bytes()).await
}
