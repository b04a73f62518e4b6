//! Why a broker rejects this client, as a message for operators. librdkafka reports the reason to the error callback
//! only; the call that waits for an answer just times out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// librdkafka repeats a reason that has not changed every 30 s; an older one says nothing about now.
const STALE: Duration = Duration::from_secs(90);

const HUNG_UP: &str =
    "the broker hangs up at the first request: does it want TLS or a login? (kafka.security_protocol)";

/// librdkafka alternates between several wordings of the same failure; the first one is kept for this long.
const STICKY: Duration = Duration::from_secs(60);

/// What is wrong, from the vaguest to the most specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    HungUp,
    Tls,
    Login,
}

#[derive(Debug)]
struct Known {
    kind: Kind,
    text: String,
    first: Instant,
    last: Instant,
}

/// The last failure that was reported to a client. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuthFailure(Arc<Mutex<Option<Known>>>);

impl AuthFailure {
    /// Records what the error callback reports. Returns the reason if it is about logins or certificates.
    pub(crate) fn record_error(&self, error: &KafkaError, reason: &str) -> Option<String> {
        let kind = kind_of(error.rdkafka_error_code()?, reason)?;
        let what = match kind {
            Kind::Login => "the broker refuses the login (kafka.username, kafka.password or EVENTHUB_CONNECTION)",
            Kind::Tls => "no TLS connection to the broker (kafka.ca_file, kafka.client_cert_file)",
            Kind::HungUp => "the broker hangs up (kafka.security_protocol)",
        };
        Some(self.keep(kind, || format!("{what}: {}", shortened(reason))))
    }

    /// Records what the log callback reports: a listener of another protocol is no error to librdkafka.
    pub(crate) fn record_log(&self, facility: &str, text: &str) -> Option<String> {
        let hung_up = facility == "FAIL" && text.contains("Disconnected") && text.contains("state APIVERSION_QUERY");
        hung_up.then(|| self.keep(Kind::HungUp, || HUNG_UP.to_owned()))
    }

    fn keep(&self, kind: Kind, text: impl FnOnce() -> String) -> String {
        let (mut known, now) = (self.0.lock(), Instant::now());
        match &mut *known {
            Some(old) if kind <= old.kind && old.first.elapsed() < STICKY => {
                old.last = now;
                old.text.clone()
            }
            _ => known.insert(Known { kind, text: text(), first: now, last: now }).text.clone(),
        }
    }

    /// The reason for `error` if one is known, otherwise the error itself.
    pub(crate) fn explain(&self, error: &KafkaError) -> String {
        let known = self.0.lock();
        match &*known {
            Some(known) if known.last.elapsed() < STALE => known.text.clone(),
            _ => error.to_string(),
        }
    }

    /// Whether the broker has given a reason for rejecting this client.
    pub(crate) fn is_known(&self) -> bool {
        self.0.lock().as_ref().is_some_and(|known| known.last.elapsed() < STALE)
    }

    /// Forgets the reason: the broker answers.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }
}

fn kind_of(code: RDKafkaErrorCode, reason: &str) -> Option<Kind> {
    use RDKafkaErrorCode::{
        Authentication, BrokerTransportFailure, IllegalSASLState, SSL, SaslAuthenticationFailed,
        UnsupportedSASLMechanism,
    };
    match code {
        Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism | IllegalSASLState => Some(Kind::Login),
        // hints of librdkafka at a listener that speaks something else
        SSL | BrokerTransportFailure
            if reason.contains("security.protocol") || reason.contains("PLAINTEXT broker listener") =>
        {
            Some(Kind::HungUp)
        }
        SSL => Some(Kind::Tls),
        // an alert of the broker comes after the handshake, as a broken connection
        BrokerTransportFailure if reason.contains("SSL routines") => Some(Kind::Tls),
        _ => None,
    }
}

/// Without the broker's address and the times, which differ between reports of the same failure: it keeps the same text
/// and is logged once.
fn shortened(reason: &str) -> &str {
    let reason = match reason.split_once(": ") {
        Some((address, rest)) if address.contains('/') && !address.contains(' ') => rest,
        _ => reason,
    };
    reason.split(" (after ").next().unwrap_or(reason).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = "sasl_ssl://localhost:9093/bootstrap: SASL authentication error: Authentication failed: \
                         Invalid username or password (after 104ms in state AUTH_REQ)";

    fn global(code: rdkafka::types::RDKafkaErrorCode) -> KafkaError {
        KafkaError::Global(code)
    }

    #[test]
    fn a_rejected_login_is_reported_with_the_same_text_each_time() {
        let auth_failure = AuthFailure::default();
        let timeout = global(RDKafkaErrorCode::BrokerTransportFailure);
        assert_eq!(auth_failure.explain(&timeout), timeout.to_string());
        let first = auth_failure.record_error(&global(RDKafkaErrorCode::Authentication), LOGIN).unwrap();
        assert!(first.ends_with("SASL authentication error: Authentication failed: Invalid username or password"));
        let other = LOGIN.replace("bootstrap", "2").replace("104ms", "99ms, 3 identical error(s) suppressed");
        assert_eq!(auth_failure.record_error(&global(RDKafkaErrorCode::Authentication), &other), Some(first.clone()));
        assert_eq!(auth_failure.explain(&timeout), first);
        // a vaguer one does not take its place, nor another wording of the same: each change would be a line in the log
        let code = global(RDKafkaErrorCode::Authentication);
        assert_eq!(
            auth_failure.record_error(&code, "sasl_ssl://x/1: SASL PLAIN mechanism handshake failed"),
            Some(first.clone())
        );
        assert_eq!(auth_failure.record_error(&global(RDKafkaErrorCode::SSL), "ssl://x/1: closed"), Some(first.clone()));
        assert_eq!(auth_failure.explain(&timeout), first);
        auth_failure.clear();
        assert_eq!(auth_failure.explain(&timeout), timeout.to_string());
    }

    #[test]
    fn a_broker_that_is_away_is_no_refusal() {
        let auth_failure = AuthFailure::default();
        let reason = "localhost:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)";
        assert_eq!(auth_failure.record_error(&global(RDKafkaErrorCode::BrokerTransportFailure), reason), None);
        let wrong = "localhost:9093/bootstrap: Disconnected: requesting ApiVersion: might be caused by incorrect \
                     security.protocol configuration (connecting to a SSL listener?)";
        let text = auth_failure.record_error(&global(RDKafkaErrorCode::BrokerTransportFailure), wrong).unwrap();
        assert!(text.starts_with("the broker hangs up (kafka.security_protocol): Disconnected: requesting"), "{text}");
        let log = "[thrd:localhost:9093/bootstrap]: localhost:9093/bootstrap: Disconnected: connection closed by peer: \
                   receive 0 after POLLIN (after 0ms in state APIVERSION_QUERY)";
        assert_eq!(auth_failure.record_log("FAIL", log), Some(text), "the first wording stays");
        auth_failure.clear();
        assert_eq!(auth_failure.record_log("FAIL", log).as_deref(), Some(HUNG_UP));
        assert_eq!(
            auth_failure.record_log("FAIL", &log.replace("APIVERSION_QUERY", "UP")),
            None,
            "a broker that goes away"
        );
    }

    #[test]
    fn a_broker_that_wants_a_certificate_says_so_in_an_alert() {
        let reason = "ssl://localhost:9094/bootstrap: Receive failed: ssl/record/rec_layer_s3.c:918:ssl3_read_bytes \
                      error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42 (after 1ms in state X)";
        let text =
            AuthFailure::default().record_error(&global(RDKafkaErrorCode::BrokerTransportFailure), reason).unwrap();
        assert!(text.contains("kafka.client_cert_file") && text.ends_with("SSL alert number 42"), "{text}");
    }
}
