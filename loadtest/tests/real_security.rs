//! TLS and logins of the backing services, with the right and with the wrong credentials: Kafka by SCRAM and by
//! certificates, Redis by certificates and as an ACL user with no more rights than docs/connections.md requires.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use harness::topic::{Reader, Writer};
use harness::{
    Mesh, ROW, ROW_V3, Service, assert_close, http, native_secure, row, use_secure_broker, variable, wait_until,
};

fn tls(file: &str) -> String {
    format!("{}/{file}.pem", variable("REAL_TLS"))
}

/// Topics of its own, made over the open listener, and settings for SCRAM over TLS.
fn scram(name: &str, user: &str, password: &str) -> Mesh {
    use_secure_broker();
    let mut mesh = Mesh::named(name);
    mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", "30s");
    mesh.create_topics();
    mesh.set("FOREBAY__KAFKA__BROKERS", variable("REAL_SECURE_SASL"));
    mesh.set("FOREBAY__KAFKA__SECURITY_PROTOCOL", "sasl_ssl");
    mesh.set("FOREBAY__KAFKA__SASL_MECHANISM", "SCRAM-SHA-512");
    mesh.set("FOREBAY__KAFKA__USERNAME", user);
    let file = mesh.folder().join("password");
    std::fs::write(&file, format!("{password}\n")).unwrap();
    mesh.set("FOREBAY__KAFKA__PASSWORD_FILE", file.display().to_string());
    mesh.set("FOREBAY__KAFKA__CA_FILE", tls("ca"));
    mesh
}

/// Waits until the service is unready for this reason, and lives.
#[track_caller]
fn unready_because(service: &Service, message: &str) {
    wait_until(Duration::from_secs(15), message, || {
        service.health().is_some_and(|(status, body)| status == 503 && body.to_string().contains(message))
    });
    assert!(service.is_live());
}

#[track_caller]
fn answers(mesh: &Mesh, id: &str) {
    let results = Reader::from_now(&mesh.topic("results_out"));
    Writer::new().request(&mesh.topic("requests_in"), &format!(r#"{{"request_id":"{id}","features":{ROW}}}"#));
    assert_close(&results.result(id).json()["prediction"], ROW_V3, 1e-4);
}

#[test]
fn kafka_by_scram_right_wrong_and_put_right() {
    native_secure(&["scram", "forebay", "correct horse"]);
    let mesh = scram("scram", "forebay", "correct horse");
    let mut up = mesh.launch("forebay", &["up", "--kafka"], &[]);
    up.wait_ready();
    answers(&mesh, "scram-1");
    assert!(!up.output().contains("correct horse"));
    up.stop();

    let wrong = scram("scram-wrong", "forebay", "battery staple");
    let mut up = wrong.launch("forebay", &["up", "--kafka"], &[]);
    unready_because(&up, "refuses the login");
    std::thread::sleep(Duration::from_secs(3));
    let log = up.output();
    let lines = log.lines().filter(|line| line.contains("refuses the login")).count();
    assert!((1..=6).contains(&lines), "once for each component: {lines}\n{log}");
    assert!(!log.contains("battery staple"));
    // the broker gets the password that the service has: the service logs in without a restart
    native_secure(&["scram", "forebay", "battery staple"]);
    up.wait_ready_within(Duration::from_secs(40));
    answers(&wrong, "scram-2");
    up.stop();
}

#[test]
fn rights_that_are_given_late_are_enough() {
    native_secure(&["scram", "late", "late password"]);
    let mesh = scram("late", "late", "late password");
    let topics = mesh.topic("requests").trim_end_matches("requests").to_owned();
    let rights = |user: &str| {
        let user = format!("User:{user}");
        let add = ["acls", "--add", "--allow-principal", &user, "--operation", "All", "--topic", &topics];
        native_secure(&[&add[..], &["--resource-pattern-type", "prefixed"]].concat());
    };
    // a user who is not named has no rights any more
    rights("somebody-else");
    let mut services = [mesh.start("ingestion"), mesh.start("caching")];
    unready_because(&services[0], "uthorization");
    unready_because(&services[0], &format!("kafka reader of {}", mesh.topic("replies")));
    unready_because(&services[1], "no right to read topic");
    rights("late");
    for service in &mut services {
        let waited = std::time::Instant::now();
        service.wait_ready_within(Duration::from_secs(45));
        println!("{} is ready {:.1?} after it got its rights", service.name, waited.elapsed());
        service.stop();
    }
    // no request finds a replica whose report is not on the topic
    let models = mesh.topic("models");
    let denial = ["--deny-principal", "User:late", "--operation", "Write", "--topic", &models];
    native_secure(&[&["acls", "--add"][..], &denial].concat());
    let mut prediction = mesh.start("prediction");
    unready_because(&prediction, &format!("topic {models}: the broker does not take what is loaded here"));
    native_secure(&[&["acls", "--remove", "--force"][..], &denial].concat());
    prediction.wait_ready_within(Duration::from_secs(45));
    prediction.stop();
}

#[test]
fn kafka_by_certificates_and_what_goes_wrong_with_them() {
    let mut mesh = scram("mtls", "unused", "unused");
    for name in ["SASL_MECHANISM", "USERNAME", "PASSWORD_FILE"] {
        mesh.unset_one(&format!("FOREBAY__KAFKA__{name}"));
    }
    mesh.set("FOREBAY__KAFKA__BROKERS", variable("REAL_SECURE_MTLS"));
    mesh.set("FOREBAY__KAFKA__SECURITY_PROTOCOL", "ssl");
    let shown =
        [("FOREBAY__KAFKA__CLIENT_CERT_FILE", tls("client")), ("FOREBAY__KAFKA__CLIENT_KEY_FILE", tls("client-key"))];
    let shown = shown.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut up = mesh.launch("forebay", &["up", "--kafka"], &shown);
    up.wait_ready();
    answers(&mesh, "mtls-1");
    up.stop();
    for (more, message) in [
        // no certificate to show
        (vec![], "alert"),
        (vec![shown[0], shown[1], ("FOREBAY__KAFKA__CA_FILE", &tls("other-ca"))], "certificate verify failed"),
        // the listener wants TLS, and this is none
        (vec![("FOREBAY__KAFKA__SECURITY_PROTOCOL", "plaintext"), ("FOREBAY__KAFKA__CA_FILE", "")], "hangs up"),
    ] {
        let mut service = mesh.start_with("publishing", &more);
        unready_because(&service, message);
        service.stop();
    }
}

/// One command to Redis, over its open port, as its administrator.
fn redis(words: &str) -> String {
    let mut stream = TcpStream::connect(variable("REAL_SECURE_REDIS")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "{words}\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

fn stored(service: &Service) -> f64 {
    service.metric("forebay_cache_stored_total", &["level=\"redis\""])
}

/// Sends requests with new rows until Redis has stored something, or `within` is over.
fn predict_until_stored(service: &Service, from: usize, within: Duration) -> bool {
    let deadline = std::time::Instant::now() + within;
    let mut number = from;
    while stored(service) == 0.0 && std::time::Instant::now() < deadline {
        let reply = http::predict(service.http, &[], format!(r#"{{"features":{}}}"#, row(number))).unwrap();
        assert_eq!(reply.status, 200, "no request fails without Redis: {}", reply.text());
        number += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    stored(service) > 0.0
}

#[test]
fn redis_by_certificate_and_as_a_user_with_few_rights() {
    // the line of docs/connections.md
    let rights = "resetkeys ~forebay:* resetchannels -@all +mget +set +ping";
    assert_eq!(redis(&format!("ACL SETUSER forebay reset on >secret-1 {rights}")), "+OK");
    let url = format!("rediss://{}", variable("REAL_SECURE_REDIS_TLS"));
    let right = [
        ("FOREBAY__REDIS__URL", url.as_str()),
        ("FOREBAY__REDIS__USERNAME", "forebay"),
        ("FOREBAY__REDIS__PASSWORD", "secret-1"),
        ("FOREBAY__REDIS__CA_FILE", &tls("ca")),
        ("FOREBAY__REDIS__BREAKER_OPEN", "500ms"),
        ("FOREBAY__REDIS__TIMEOUT", "200ms"),
        ("FOREBAY__LOG__FORMAT", "json"),
    ];
    let mesh = Mesh::unset("redis-tls");
    let with = |name: &str, value: &str| -> Vec<(String, String)> {
        let kept = right.iter().filter(|(known, _)| *known != name);
        kept.map(|(name, value)| ((*name).into(), (*value).into())).chain([(name.into(), value.into())]).collect()
    };
    let start = |environment: Vec<(String, String)>| {
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut up = mesh.launch("forebay", &["up"], &environment);
        up.wait_ready();
        up
    };
    let mut up = start(with("FOREBAY__LOG__LEVEL", "info"));
    assert!(predict_until_stored(&up, 1_000, Duration::from_secs(10)), "{}", up.tail(20));
    assert_eq!(up.metric("forebay_cache_bypassed_total", &[]), 0.0, "{}", up.tail(20));
    assert!(!up.output().contains("NOPERM") && !up.output().contains("secret-1"), "{}", up.tail(20));
    up.stop();

    for (name, value, message) in [
        ("FOREBAY__REDIS__PASSWORD", "secret-2", "authentication failed"),
        ("FOREBAY__REDIS__CA_FILE", tls("other-ca").as_str(), "invalid peer certificate"),
        ("FOREBAY__REDIS__PREFIX", "elsewhere:", "no permissions"),
    ] {
        let mut up = start(with(name, value));
        assert!(!predict_until_stored(&up, 2_000, Duration::from_secs(3)), "{name} = {value}");
        let log = up.output();
        let lines = log.lines().filter(|line| line.contains(message)).count();
        assert!((1..=3).contains(&lines), "{message} in {lines} lines: {log}");
        assert!(!log.contains("secret-"), "{log}");
        assert!(up.is_ready(), "a cache is no reason to be unready");
        if name == "FOREBAY__REDIS__PASSWORD" {
            assert_eq!(redis("ACL SETUSER forebay >secret-2"), "+OK");
            assert!(
                predict_until_stored(&up, 3_000, Duration::from_secs(15)),
                "the password was put right: {}",
                up.tail(20)
            );
        }
        up.stop();
    }

    // and where the server wants to see a certificate
    assert_eq!(redis("CONFIG SET tls-auth-clients yes"), "+OK");
    let mut up = start(with("FOREBAY__LOG__LEVEL", "info"));
    assert!(!predict_until_stored(&up, 4_000, Duration::from_secs(2)), "without a certificate");
    up.stop();
    let mut shown = with("FOREBAY__REDIS__CLIENT_CERT_FILE", &tls("client"));
    shown.push(("FOREBAY__REDIS__CLIENT_KEY_FILE".into(), tls("client-key")));
    let mut up = start(shown);
    assert!(predict_until_stored(&up, 5_000, Duration::from_secs(10)), "{}", up.tail(20));
    up.stop();
    assert_eq!(redis("CONFIG SET tls-auth-clients optional"), "+OK");
}
