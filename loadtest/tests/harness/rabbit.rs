//! A RabbitMQ of the tests' own, started with `compose/native.sh`, and plain clients of it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_loadtest::mesh_under_test::RabbitClient;
use futures_util::StreamExt as _;
use lapin::BasicProperties;
use lapin::message::BasicGetMessage;
use lapin::options::QueueDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::Value;

use super::{native_with, row, variable};

/// The server, and the files of its certificate authority and of another one.
pub struct Server {
    pub port: u16,
    pub tls_port: u16,
    pub ca: PathBuf,
    pub other_ca: PathBuf,
    pub client_cert: PathBuf,
    pub client_key: PathBuf,
    extra: String,
}

/// The one server of this process; started at the first use, stopped by `real.sh`.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    fn start() -> Self {
        let folder = PathBuf::from(variable("FOREBAY_NATIVE_DIR")).join("rabbitmq-tls");
        std::fs::create_dir_all(&folder).unwrap();
        // names of their own: a certificate whose issuer has its own name is taken for one that signed itself
        let named = |parameters: &mut rcgen::CertificateParams, name: &str| {
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        };
        let authority = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
            named(&mut parameters, name);
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let certificate = parameters.self_signed(&key).unwrap();
            (certificate.pem(), rcgen::Issuer::new(parameters, key))
        };
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (ca, issuer) = authority("authority");
        let (other, _) = authority("another authority");
        let issue = |names: Vec<String>| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut parameters = rcgen::CertificateParams::new(names.clone()).unwrap();
            named(&mut parameters, &names[0]);
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            (certificate.pem(), key.serialize_pem())
        };
        let (certificate, key) = issue(vec!["localhost".into(), "127.0.0.1".into()]);
        let (client_certificate, client_key) = issue(vec!["forebay".into()]);
        let tls_port: u16 = variable("REAL_RABBITMQ_TLS").parse().unwrap();
        let ca = write("ca.pem", &ca);
        let extra = [
            format!("listeners.ssl.1 = 127.0.0.1:{tls_port}"),
            format!("ssl_options.cacertfile = {}", ca.display()),
            format!("ssl_options.certfile = {}", write("server.pem", &certificate).display()),
            format!("ssl_options.keyfile = {}", write("server.key", &key).display()),
            "ssl_options.verify = verify_peer".to_owned(),
            "ssl_options.fail_if_no_peer_cert = true".to_owned(),
        ];
        let server = Self {
            port: variable("RABBITMQ_PORT").parse().unwrap(),
            tls_port,
            ca,
            other_ca: write("other.pem", &other),
            client_cert: write("client.pem", &client_certificate),
            client_key: write("client.key", &client_key),
            extra: extra.join("\n"),
        };
        server.native(&["up", "rabbitmq"]);
        server
    }

    /// `native.sh ARGUMENTS`, with this server's configuration.
    #[track_caller]
    pub fn native(&self, arguments: &[&str]) -> String {
        native_with(arguments, &[("RABBITMQ_EXTRA", &self.extra)])
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }
}

/// A connection with one channel in confirm mode; every call is bounded.
pub struct Client(RabbitClient);

impl Deref for Client {
    type Target = RabbitClient;

    fn deref(&self) -> &RabbitClient {
        &self.0
    }
}

impl Client {
    #[track_caller]
    pub fn new() -> Self {
        Self::connect().unwrap()
    }

    pub fn connect() -> Result<Self, String> {
        RabbitClient::connect(&server().url()).map(Self)
    }

    /// A durable queue.
    #[track_caller]
    pub fn declare(&self, queue: &str) {
        self.declare_with(queue, &[]);
    }

    #[track_caller]
    pub fn declare_with(&self, queue: &str, arguments: &[(&str, i64)]) {
        let arguments: Vec<_> = arguments.iter().map(|(key, value)| (*key, AMQPValue::LongLongInt(*value))).collect();
        self.declare_any(queue, arguments);
    }

    /// A queue that refuses every message.
    #[track_caller]
    pub fn declare_full(&self, queue: &str) {
        let refuses = ("x-overflow", AMQPValue::LongString("reject-publish".into()));
        self.declare_any(queue, vec![refuses, ("x-max-length", AMQPValue::LongLongInt(0))]);
    }

    /// A quorum queue that drops what comes back more than `limit` times.
    #[track_caller]
    pub fn declare_quorum(&self, queue: &str, limit: i64) {
        let kind = ("x-queue-type", AMQPValue::LongString("quorum".into()));
        self.declare_any(queue, vec![kind, ("x-delivery-limit", AMQPValue::LongLongInt(limit))]);
    }

    #[track_caller]
    fn declare_any(&self, queue: &str, arguments: Vec<(&str, AMQPValue)>) {
        let mut table = FieldTable::default();
        for (key, value) in arguments {
            table.insert(key.into(), value);
        }
        self.0.declare(queue, table).unwrap();
    }

    #[track_caller]
    pub fn bind(&self, queue: &str, exchange: &str, key: &str) {
        let (options, table) = (lapin::options::QueueBindOptions::default(), FieldTable::default());
        self.run(self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, table)).unwrap();
    }

    #[track_caller]
    pub fn delete(&self, queue: &str) {
        self.run(self.channel.queue_delete(queue.into(), QueueDeleteOptions::default())).unwrap();
    }

    /// Takes the next message off a queue, if there is one.
    pub fn get(&self, queue: &str) -> Result<Option<BasicGetMessage>, String> {
        self.0.get(queue, false)
    }

    /// Sends a request over direct reply-to, which needs no reply queue, and returns the answer.
    #[track_caller]
    pub fn request_directly(&self, queue: &str, body: &[u8]) -> Value {
        const DIRECT: &str = "amq.rabbitmq.reply-to";
        let options = lapin::options::BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consume = self.channel.basic_consume(DIRECT.into(), "direct".into(), options, FieldTable::default());
        let mut answers = self.run(consume).unwrap();
        self.publish(queue, body, BasicProperties::default().with_reply_to(DIRECT.into())).unwrap();
        let answer = self.run(async { answers.next().await.unwrap() }).unwrap();
        serde_json::from_slice(&answer.data).unwrap()
    }

    /// Waits for the next message.
    #[track_caller]
    pub fn wait(&self, queue: &str) -> (Value, BasicProperties) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(message) = self.get(queue).unwrap() {
                let json = serde_json::from_slice(&message.data)
                    .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&message.data).into_owned()));
                return (json, message.properties.clone());
            }
            assert!(Instant::now() < deadline, "nothing came to {queue}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub use forebay_loadtest::mesh_under_test::reply_properties as reply_to;

/// Requests at a steady rate, each published until the server has confirmed it, and their answers.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    publisher: Option<JoinHandle<()>>,
    collector: Option<JoinHandle<()>>,
    answers: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

/// What became of a load.
#[derive(Debug)]
pub struct Judged {
    pub sent: u64,
    pub lost: Vec<String>,
    /// Requests with more than one answer.
    pub repeated: usize,
    /// Repeats that do not carry the message id of the first: a client could not tell them from new answers.
    pub strange: Vec<String>,
}

impl Load {
    pub fn start(queue: &str, replies: &str, rate: f64) -> Self {
        let client = Client::new();
        client.declare(replies);
        let stop = Arc::new(AtomicBool::new(false));
        let (sent, answers) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(BTreeMap::new())));
        let publisher = std::thread::spawn({
            let (stop, sent, queue, replies) =
                (Arc::clone(&stop), Arc::clone(&sent), queue.to_owned(), replies.to_owned());
            move || publish(client, &stop, &sent, &queue, &replies, rate)
        });
        let collector = std::thread::spawn({
            let (stop, sent, answers, replies) =
                (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&answers), replies.to_owned());
            move || collect(&stop, &sent, &answers, &replies)
        });
        Self { stop, sent, publisher: Some(publisher), collector: Some(collector), answers }
    }

    pub fn answered(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Ends the load and waits for its answers, and a second more for those that should not come.
    pub fn judge(mut self, within: Duration) -> Judged {
        self.stop.store(true, Ordering::SeqCst);
        self.publisher.take().unwrap().join().unwrap();
        let sent = self.sent.load(Ordering::SeqCst);
        let deadline = Instant::now() + within;
        while Instant::now() < deadline && (self.answered() as u64) < sent {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(1));
        self.sent.store(u64::MAX, Ordering::SeqCst);
        self.collector.take().unwrap().join().unwrap();
        let answers = self.answers.lock().unwrap();
        let lost = (0..sent).map(|number| format!("r{number}")).filter(|id| !answers.contains_key(id)).collect();
        let strange = answers.iter().filter(|(_, ids)| ids.iter().any(|id| id != &ids[0]));
        Judged {
            sent,
            lost,
            repeated: answers.values().filter(|ids| ids.len() > 1).count(),
            strange: strange.map(|(id, ids)| format!("{id}: {ids:?}")).collect(),
        }
    }
}

fn publish(first: Client, stop: &AtomicBool, sent: &AtomicU64, queue: &str, replies: &str, rate: f64) {
    let mut client = Some(first);
    let began = Instant::now();
    let mut number = 0u64;
    while !stop.load(Ordering::SeqCst) {
        let id = format!("r{number}");
        let body = format!(r#"{{"request_id":"{id}","features":{}}}"#, row(number as usize));
        // the same message again, under the same id, until it is confirmed: what a careful client does
        let gave_up = Instant::now() + Duration::from_secs(180);
        loop {
            assert!(Instant::now() < gave_up, "the server took nothing for three minutes");
            let Some(open) = client.take().or_else(|| Client::connect().ok()) else {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            if open.publish(queue, body.as_bytes(), reply_to(replies, &id)).is_ok() {
                client = Some(open);
                break;
            }
        }
        number += 1;
        sent.store(number, Ordering::SeqCst);
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Until `sent` is the largest number there is.
fn collect(_: &AtomicBool, sent: &AtomicU64, answers: &Mutex<BTreeMap<String, Vec<String>>>, replies: &str) {
    let mut client: Option<Client> = None;
    while sent.load(Ordering::SeqCst) != u64::MAX {
        let Some(open) = client.take().or_else(|| Client::connect().ok()) else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        match open.peek(replies) {
            Ok(Some((label, id, redelivered))) => {
                let mut answers = answers.lock().unwrap();
                let ids = answers.entry(label).or_default();
                // taken before on a connection that broke, and so given to us again
                if !(redelivered && ids.contains(&id)) {
                    ids.push(id);
                }
                client = Some(open);
            }
            Ok(None) => {
                std::thread::sleep(Duration::from_millis(3));
                client = Some(open);
            }
            Err(_) => {}
        }
    }
}

impl Client {
    /// The next answer's label, message id and whether it was given before; acknowledged after it was read.
    fn peek(&self, queue: &str) -> Result<Option<(String, String, bool)>, String> {
        let Some(message) = self.0.get(queue, true)? else { return Ok(None) };
        let text = |it: &Option<lapin::types::ShortString>| it.as_ref().map(|it| it.as_str().to_owned());
        let (label, id) = (text(message.properties.correlation_id()), text(message.properties.message_id()));
        let found = (label.unwrap_or_default(), id.unwrap_or_default(), message.redelivered);
        let body: Value = serde_json::from_slice(&message.data).map_err(|error| error.to_string())?;
        assert!(body["prediction"].is_number(), "{body}");
        // an acknowledgement that is lost brings the message again, marked as redelivered
        let _ = self.run(message.ack(lapin::options::BasicAckOptions::default()));
        Ok(Some(found))
    }
}
