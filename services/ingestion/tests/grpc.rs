//! The gRPC server against a fake mesh: limits while calls arrive, deadlines, what callers learn of models, and its end.
#![cfg(test)]

mod mesh;

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_contract::{LoadState, ModelView, RowFormat, VersionState, ViewVersion};
use forebay_ingestion::auth::ApiKey;
use forebay_ingestion::system::GrpcListener;
use http_body::Frame;
use mesh::{LIMIT, Mesh, sum, until, within};
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// `ModelInferRequest` and its parts, as far as these tests use them; the fields of an answer are among them.
#[derive(Clone, PartialEq, Message)]
struct Infer {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
    #[prost(message, optional, tag = "5")]
    contents: Option<Contents>,
}

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(double, repeated, tag = "7")]
    fp64: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(map = "string, string", tag = "99")]
    unused: HashMap<String, String>,
}

fn infer(model: &str, values: &[f64]) -> Infer {
    let contents = Some(Contents { fp64: values.to_vec() });
    let shape = vec![values.len() as i64 / 2, 2];
    Infer { model: model.into(), inputs: vec![Tensor { name: "x".into(), datatype: "FP64".into(), shape, contents }] }
}

/// A mesh with version 3 of the model `m`, which has two columns, and its gRPC server.
fn serving(flags: &[&str]) -> (Mesh, GrpcListener) {
    let mut all = vec!["models.name=m", "grpc.listen=127.0.0.1:0"];
    all.extend(flags);
    let mesh = Mesh::start(&all);
    let version = ViewVersion { version: 3, stage: "Production".into(), ..ViewVersion::default() };
    mesh.directory.publish_view(ModelView { model: "m".into(), versions: vec![version], ..ModelView::default() });
    mesh.directory.describe("m", 3, RowFormat { features: vec!["a".into(), "b".into()], ..RowFormat::default() });
    let ready = VersionState { version: 3, state: LoadState::Ready.into(), ..VersionState::default() };
    mesh.directory.report("m", Some(3), vec![ready]);
    let grpc = mesh.serve_grpc();
    (mesh, grpc)
}

/// A file of keys, removed with its folder, and the setting that names it.
fn keys_file(lines: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, lines).unwrap();
    (folder, format!("auth.keys_file={}", file.display()))
}

async fn channel(grpc: &GrpcListener) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", grpc.address)).unwrap();
    within(endpoint.connect()).await.unwrap()
}

async fn call(channel: &Channel, request: Request<Infer>) -> Result<Answer, Status> {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<Infer, Answer>::default();
    Ok(within(client.unary(request, INFER.parse().unwrap(), codec)).await?.into_inner())
}

/// A body whose parts come from a channel.
struct Parts(UnboundedReceiver<Vec<u8>>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx).map(|part| part.map(|bytes| Ok(Frame::data(bytes.into()))))
    }
}

type InParts = (UnboundedSender<Vec<u8>>, tokio::task::JoinHandle<(String, String)>);

/// A call whose body is sent in parts; its `grpc-status` and `grpc-message` once the head of the answer is there.
fn in_parts(channel: &Channel, path: &str) -> InParts {
    in_parts_with(channel, path, &[])
}

fn in_parts_with(channel: &Channel, path: &str, headers: &[(&str, &str)]) -> InParts {
    use tower_service::Service as _;
    let (sender, parts) = unbounded_channel();
    let mut channel = channel.clone();
    let mut request = http::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::new(Parts(parts))).unwrap();
    let answered = tokio::spawn(async move {
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let response = channel.call(request).await.unwrap();
        let field = |name| response.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        (field("grpc-status"), field("grpc-message"))
    });
    (sender, answered)
}

fn framed(message: &Infer) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [&[0][..], &u32::try_from(bytes.len()).unwrap().to_be_bytes(), &bytes].concat()
}

#[actix_rt::test]
async fn a_message_has_permits_and_a_deadline_while_it_arrives() {
    let flags = ["http.max_body=4KiB", "http.body_memory=10KiB", "http.body_timeout=600ms"];
    let (mut mesh, grpc) = serving(&flags);
    mesh.answer_all();
    let channel = channel(&grpc).await;
    let large = framed(&infer("m", &[0.5; 480]));
    let ((first, answered), (second, _)) = (in_parts(&channel, INFER), in_parts(&channel, INFER));
    for call in [&first, &second] {
        call.send(large[..3800].to_vec()).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    // the third message has no room beside the others, though none has arrived whole
    let (third, refused) = in_parts(&channel, INFER);
    third.send(large[..3800].to_vec()).unwrap();
    let (code, message) = within(refused).await.unwrap();
    assert_eq!((code.as_str(), message.contains("http.body_memory")), ("8", true), "{message}");
    let (code, message) = within(answered).await.unwrap();
    assert_eq!((code.as_str(), message.contains("600%20ms")), ("4", true), "{message}");
    // nothing is held any more
    until("the memory to be free", async || call(&channel, Request::new(infer("m", &[0.5; 480]))).await.is_ok()).await;
    assert!(mesh.metric(r#"forebay_stage_failed_total{stage="ingestion",code="overloaded"}"#) >= Some(1.0));
}

#[actix_rt::test]
async fn a_stream_may_pause_between_messages_and_not_inside_one() {
    let (mut mesh, grpc) = serving(&["http.body_timeout=300ms"]);
    mesh.answer_all();
    let channel = channel(&grpc).await;
    let (messages, head) = in_parts(&channel, STREAM);
    messages.send(framed(&infer("m", &[1.0, 2.0]))).unwrap();
    assert_eq!(within(head).await.unwrap().0, "", "the stream is open");
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let (sender, receiver) = unbounded_channel::<Infer>();
    let requests = futures_util::stream::unfold(receiver, async |mut it| Some((it.recv().await?, it)));
    let codec = ProstCodec::<Infer, Answer>::default();
    let answers = client.streaming(Request::new(requests), STREAM.parse().unwrap(), codec);
    let mut answers = within(answers).await.unwrap().into_inner();
    for _ in 0..2 {
        sender.send(infer("m", &[1.0, 2.0])).unwrap();
        assert!(within(answers.message()).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drop(messages);
}

#[actix_rt::test]
async fn a_stream_needs_credentials_before_its_first_message() {
    let key = ApiKey::generate().unwrap();
    let (_folder, keys) = keys_file(&format!("ann {}\n", key.hash()));
    let (_mesh, grpc) = serving(&[&keys, "grpc.max_streams=1"]);
    let channel = channel(&grpc).await;
    // neither holds the only stream, nor waits for a message
    for path in [STREAM, STREAM, INFER, "/inference.GRPCInferenceService/ModelMetadata"] {
        let (messages, head) = in_parts(&channel, path);
        assert_eq!(within(head).await.unwrap().0, "16", "{path}");
        drop(messages);
    }
    let (_messages, head) = in_parts_with(&channel, STREAM, &[("x-api-key", key.expose())]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (_second, refused) = in_parts_with(&channel, STREAM, &[("x-api-key", key.expose())]);
    let (code, message) = within(refused).await.unwrap();
    assert_eq!((code.as_str(), message.contains("grpc.max_streams")), ("8", true), "{message}");
    assert_eq!(within(head).await.unwrap().0, "", "the first one is open");
}

#[actix_rt::test]
async fn streams_are_counted_and_end_when_nothing_comes() {
    let (_mesh, grpc) = serving(&["grpc.max_streams=2", "grpc.stream_idle=600ms"]);
    let channel = channel(&grpc).await;
    let open = [in_parts(&channel, STREAM), in_parts(&channel, STREAM)];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (_third, refused) = in_parts(&channel, STREAM);
    assert_eq!(within(refused).await.unwrap().0, "8");
    let mut client = Grpc::new(channel.clone());
    until("a stream to be free", async || {
        client.ready().await.unwrap();
        let requests = futures_util::stream::pending::<Infer>();
        let codec = ProstCodec::<Infer, Answer>::default();
        let Ok(answers) = within(client.streaming(Request::new(requests), STREAM.parse().unwrap(), codec)).await else {
            return false;
        };
        let status = within(answers.into_inner().message()).await.unwrap_err();
        assert_eq!((status.code(), status.message().contains("grpc.stream_idle")), (Code::DeadlineExceeded, true));
        true
    })
    .await;
    drop(open);
}

#[actix_rt::test]
async fn a_message_that_is_too_long_is_refused_by_its_length() {
    let (_mesh, grpc) = serving(&["http.max_body=4KiB"]);
    let channel = channel(&grpc).await;
    let (message, refused) = in_parts(&channel, INFER);
    message.send(framed(&infer("m", &[0.5; 600]))[..100].to_vec()).unwrap();
    let (code, text) = within(refused).await.unwrap();
    assert_eq!((code.as_str(), text.contains("http.max_body")), ("8", true), "{text}");
    let (message, refused) = in_parts(&channel, "/grpc.health.v1.Health/Check");
    message.send([&[0, 0, 1, 0, 1][..], &[0; 100]].concat()).unwrap();
    assert_eq!(within(refused).await.unwrap().0, "8", "65,537 bytes");
}

#[actix_rt::test]
async fn answers_are_compressed_for_clients_that_compress() {
    use tower_service::Service as _;
    let (mut mesh, grpc) = serving(&[]);
    mesh.answer_all();
    let mut channel = channel(&grpc).await;
    for (own, expected) in [(None, None), (Some("identity"), None), (Some("gzip"), Some("gzip"))] {
        let mut request =
            http::Request::post(INFER).header("content-type", "application/grpc").header("te", "trailers");
        request = request.header("grpc-accept-encoding", "identity, deflate, gzip");
        if let Some(own) = own {
            request = request.header("grpc-encoding", own);
        }
        let (sender, parts) = unbounded_channel();
        sender.send(framed(&infer("m", &[1.0, 2.0]))).unwrap();
        drop(sender);
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let response = within(channel.call(request.body(Body::new(Parts(parts))).unwrap())).await.unwrap();
        let coding = response.headers().get("grpc-encoding").map(|it| it.to_str().unwrap());
        assert_eq!(coding, expected, "{own:?}: {response:?}");
    }
}

#[actix_rt::test]
async fn a_late_answer_is_a_deadline_exceeded() {
    let (_mesh, grpc) = serving(&[]);
    let (mut client, connection) =
        h2::client::handshake(TcpStream::connect(grpc.address).await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    for millis in [1, 2, 5, 20, 400] {
        let request = http::Request::post(format!("http://{}{INFER}", grpc.address));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let request = request.header("grpc-timeout", format!("{millis}m")).body(()).unwrap();
        let started = Instant::now();
        client = within(client.ready()).await.unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(framed(&infer("m", &[millis as f64, 2.0])).into(), true).unwrap();
        let response = within(response).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "4", "{response:?}");
        let took = started.elapsed();
        assert!((Duration::from_millis(millis / 2)..LIMIT / 2).contains(&took), "{took:?}");
    }
}

#[actix_rt::test]
async fn a_connection_that_sends_no_preface_is_closed() {
    let (_mesh, grpc) = serving(&["http.head_timeout=200ms"]);
    for start in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut stream = within(TcpStream::connect(grpc.address)).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut bytes = Vec::new();
        drop(within(stream.read_to_end(&mut bytes)).await);
    }
    let channel = channel(&grpc).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let status = call(&channel, Request::new(infer("absent", &[1.0, 2.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "a client that has sent it stays: {status:?}");
}

#[actix_rt::test]
async fn a_caller_learns_nothing_of_models_that_it_may_not_use() {
    let key = ApiKey::generate().unwrap();
    let (_folder, keys) = keys_file(&format!("ann {} models=other\n", key.hash()));
    let (_mesh, grpc) = serving(&[&keys]);
    let channel = channel(&grpc).await;
    let mut seen = Vec::new();
    for (model, values) in [("m", &[1.0, 2.0][..]), ("m", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), ("absent", &[1.0, 2.0])] {
        let mut request = Request::new(infer(model, values));
        request.metadata_mut().insert("x-api-key", key.expose().parse().unwrap());
        let status = call(&channel, request).await.unwrap_err();
        seen.push((status.code(), status.message().replace(&format!("{model:?}"), "?")));
    }
    assert!(
        seen.iter().all(|it| *it == (Code::PermissionDenied, "ann is not allowed to use model ?".to_owned())),
        "{seen:?}"
    );
}

#[actix_rt::test]
async fn a_call_that_is_under_way_is_answered_while_the_process_drains() {
    let (mut mesh, grpc) = serving(&[]);
    let channel = channel(&grpc).await;
    let waiting = {
        let channel = channel.clone();
        tokio::spawn(async move { call(&channel, Request::new(infer("m", &[1.0, 2.0]))).await })
    };
    let items = mesh.items(1).await;
    mesh.host.lifecycle().shutdown("test");
    let closed = tokio::spawn(grpc.close(LIMIT));
    // longer than the last answers may take once no caller waits
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!waiting.is_finished() && !closed.is_finished());
    mesh.reply(items.into_iter().map(sum).collect());
    within(waiting).await.unwrap().unwrap();
    within(closed).await.unwrap();
}

/// A call for the description of the model, whose answer has more than one byte.
fn metadata_call(grpc: &GrpcListener) -> http::Request<()> {
    let uri = format!("http://{}/inference.GRPCInferenceService/ServerMetadata", grpc.address);
    let request = http::Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    request.body(()).unwrap()
}

#[actix_rt::test]
async fn a_client_that_takes_no_answer_loses_its_connection_and_gives_its_calls_back() {
    let (_mesh, grpc) = serving(&["http.body_timeout=2s", "http.max_requests=2"]);
    let stream = within(TcpStream::connect(grpc.address)).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (mut client, connection) = within(builder.initial_window_size(0).handshake::<_, Bytes>(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..2 {
        client = within(client.ready()).await.unwrap();
        let (response, mut body) = client.send_request(metadata_call(&grpc), false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        answers.push(within(response).await.unwrap());
    }
    let channel = channel(&grpc).await;
    let status = call(&channel, Request::new(infer("absent", &[1.0, 2.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "their answers are not taken: {status:?}");
    // the client stays, and says so when it is pinged
    drop(within(connection).await);
    let status = call(&channel, Request::new(infer("absent", &[1.0, 2.0]))).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    drop(answers);
}

#[actix_rt::test]
async fn a_connection_without_calls_ends_and_a_stream_that_waits_keeps_its_own() {
    let (mut mesh, grpc) = serving(&["grpc.connection_idle=400ms", "http.body_timeout=200ms"]);
    mesh.answer_all();
    let began = Instant::now();
    let (client, connection) = h2::client::handshake(TcpStream::connect(grpc.address).await.unwrap()).await.unwrap();
    drop(within(tokio::spawn(connection)).await);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    drop(client);
    let channel = channel(&grpc).await;
    let (sender, receiver) = unbounded_channel::<Infer>();
    let requests = futures_util::stream::unfold(receiver, async |mut it| Some((it.recv().await?, it)));
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = ProstCodec::<Infer, Answer>::default();
    let answers = client.streaming(Request::new(requests), STREAM.parse().unwrap(), codec);
    let mut answers = within(answers).await.unwrap().into_inner();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.send(infer("m", &[1.0, 2.0])).unwrap();
        assert!(within(answers.message()).await.unwrap().is_some());
    }
    // and a client that comes back is connected again
    drop((sender, answers));
    tokio::time::sleep(Duration::from_secs(1)).await;
    call(&channel, Request::new(infer("m", &[1.0, 2.0]))).await.unwrap();
}

#[actix_rt::test]
async fn a_connection_without_a_call_that_its_client_may_make_ends_soon() {
    let key = ApiKey::generate().unwrap();
    let (_folder, keys) = keys_file(&format!("ann {}\n", key.hash()));
    let (_mesh, grpc) = serving(&[&keys, "http.head_timeout=300ms"]);
    let connect = async || {
        let stream = TcpStream::connect(grpc.address).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        (client, tokio::spawn(connection))
    };
    let call = |path: &str, key: Option<&str>| {
        let request = http::Request::post(format!("http://{}{path}", grpc.address));
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        match key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
        .body(())
        .unwrap()
    };
    // neither what needs no credentials nor what is refused for want of them counts
    for path in ["/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ModelMetadata"] {
        let (client, connection) = connect().await;
        let mut client = client.ready().await.unwrap();
        let (answer, mut body) = client.send_request(call(path, None), false).unwrap();
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        drop(within(answer).await.unwrap());
        drop(within(connection).await);
    }
    let (client, connection) = connect().await;
    let mut client = client.ready().await.unwrap();
    let path = "/inference.GRPCInferenceService/ModelMetadata";
    let (answer, mut body) = client.send_request(call(path, Some(key.expose())), false).unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
    drop(within(answer).await.unwrap());
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!connection.is_finished(), "it may be idle for grpc.connection_idle");
}

#[actix_rt::test]
async fn a_message_of_very_many_tensors_is_refused_before_it_is_read() {
    let (_mesh, grpc) = serving(&["http.max_body=64KiB"]);
    let channel = channel(&grpc).await;
    let many = [&[0][..], &(60_000_u32).to_be_bytes(), &b"\x2a\x00".repeat(30_000)].concat();
    let (message, refused) = in_parts(&channel, INFER);
    message.send(many).unwrap();
    drop(message);
    let (code, text) = within(refused).await.unwrap();
    assert_eq!((code.as_str(), text.contains("tensors")), ("8", true), "{text}");
}

#[actix_rt::test]
async fn compressed_messages_that_never_come_hold_no_more_than_their_bytes() {
    let (mut mesh, grpc) = serving(&["http.max_body=4KiB", "http.body_memory=16KiB"]);
    mesh.answer_all();
    let channel = channel(&grpc).await;
    let begun: Vec<_> = (0..40).map(|_| in_parts_with(&channel, INFER, &[("grpc-encoding", "gzip")])).collect();
    for (message, _) in &begun {
        message.send(vec![1, 0, 0, 3, 232, 0x1f]).unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    call(&channel, Request::new(infer("m", &[1.0, 2.0]))).await.unwrap();
}

#[actix_rt::test]
async fn messages_that_never_come_take_no_more_than_their_callers_share() {
    let [ann, bob] = [(); 2].map(|()| ApiKey::generate().unwrap());
    let (_folder, keys) = keys_file(&format!("ann {}\nbob {}\n", ann.hash(), bob.hash()));
    let (mut mesh, grpc) = serving(&[&keys, "http.max_body=4KiB", "http.body_memory=64KiB"]);
    mesh.answer_all();
    let channel = channel(&grpc).await;
    let large = framed(&infer("m", &[0.5; 480]));
    let of_ann = [("x-api-key", ann.expose())];
    let begun: Vec<_> = (0..20).map(|_| in_parts_with(&channel, INFER, &of_ann)).collect();
    begun.iter().for_each(|(message, _)| message.send(large[..3800].to_vec()).unwrap());
    // a quarter has room for four of them, and they are more than all of it
    let mut refused = 0;
    for (_message, answered) in begun {
        if let Ok(Ok((code, text))) = tokio::time::timeout(Duration::from_millis(300), answered).await {
            assert_eq!((code.as_str(), text.contains("ann%20may%20have%20in%20flight")), ("8", true), "{text}");
            refused += 1;
        }
    }
    assert_eq!(refused, 16);
    let mut request = Request::new(infer("m", &[1.0, 2.0]));
    request.metadata_mut().insert("x-api-key", bob.expose().parse().unwrap());
    call(&channel, request).await.unwrap();
}
