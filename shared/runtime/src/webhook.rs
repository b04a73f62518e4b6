//! `POST /webhooks/mlflow` on the admin endpoint: an MLflow server says that its registry has changed, and the
//! watchers of the registry read it at once. The notice only says that there is a change, its content is not used.
//!
//! Signed as MLflow signs (`mlflow/webhooks/delivery.py` and `constants.py` of MLflow 3.17, after the Standard Webhooks
//! convention): `X-MLflow-Signature: v1,<base64 of HMAC-SHA-256(secret, "<delivery id>.<timestamp>.<body>")>`, with the
//! delivery id in `X-MLflow-Delivery-Id` and the Unix time of sending, in seconds, in `X-MLflow-Timestamp`.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::HeaderMap;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::notifier::Notifier;
use crate::settings::Secret;

pub(crate) const ROUTE: &str = "/webhooks/mlflow";
const SIGNATURE: &str = "X-MLflow-Signature";
const TIMESTAMP: &str = "X-MLflow-Timestamp";
const DELIVERY: &str = "X-MLflow-Delivery-Id";
/// Clocks may differ by so much, and a notice may be so late, that it still counts.
const TOLERANCE: Duration = Duration::from_secs(300);
/// MLflow's notices have a few hundred bytes and whatever people wrote into descriptions and tags.
const LARGEST: usize = 256 * 1024;
const BODY_TIME: Duration = Duration::from_secs(10);

/// Takes notices of a model registry.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    notifier: Notifier,
    secret: Secret,
}

/// Why a notice is not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {TIMESTAMP} is not a time within {} minutes of this machine's clock", TOLERANCE.as_secs() / 60)]
    Stale,
    #[error("the signature is not made with this mesh's secret (models.webhook_secret)")]
    Forged,
}

/// What of the body is worth a log line.
#[derive(Debug, Default, Deserialize)]
struct Notice {
    #[serde(default)]
    entity: String,
    #[serde(default)]
    action: String,
}

impl Webhook {
    /// Notices wake the listeners of `wake`; with a `secret` only signed ones do.
    pub(crate) fn new(notifier: Notifier, secret: Secret) -> Self {
        Self { notifier, secret }
    }

    fn check(&self, headers: &HeaderMap, body: &[u8], now_s: u64) -> Result<(), Refusal> {
        if self.secret.is_empty() {
            return Ok(());
        }
        let header =
            |name: &'static str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Refusal::Missing(name));
        let (signatures, timestamp, delivery) = (header(SIGNATURE)?, header(TIMESTAMP)?, header(DELIVERY)?);
        let sent: u64 = timestamp.parse().map_err(|_| Refusal::Stale)?;
        if sent.abs_diff(now_s) > TOLERANCE.as_secs() {
            return Err(Refusal::Stale);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose().as_bytes()).map_err(|_| Refusal::Forged)?;
        for part in [delivery.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        // several, separated by spaces, while a secret is changed; compared in constant time
        let ours = |signature: &str| {
            let bytes = signature.strip_prefix("v1,").and_then(|text| BASE64_STANDARD.decode(text).ok());
            bytes.is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
        };
        if signatures.split_ascii_whitespace().any(ours) { Ok(()) } else { Err(Refusal::Forged) }
    }
}

/// The handler.
pub(crate) async fn notified(request: HttpRequest, payload: Payload, webhook: Data<Webhook>) -> HttpResponse {
    if !webhook.notifier.has_subscribers() {
        return answer(StatusCode::NOT_FOUND, "nothing in this process watches a model registry");
    }
    let body = match actix_rt::time::timeout(BODY_TIME, payload.to_bytes_limited(LARGEST)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return answer(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Ok(Err(_)) => return answer(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 256 KiB"),
        Err(_) => return answer(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    if let Err(refusal) = webhook.check(request.headers(), &body, crate::now_us() / 1_000_000) {
        tracing::warn!(reason = %refusal, peer = request.peer_addr().map(tracing::field::display), "registry webhook refused");
        return answer(StatusCode::UNAUTHORIZED, &refusal.to_string());
    }
    let notice: Notice = serde_json::from_slice(&body).unwrap_or_default();
    let short = |text: &str| text.chars().take(64).collect::<String>();
    tracing::info!(entity = short(&notice.entity), action = short(&notice.action), "registry webhook");
    webhook.notifier.notify();
    HttpResponse::Accepted().json(json!({ "status": "accepted" }))
}

fn answer(status: StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "error": why }))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    const BODY: &[u8] = br#"{"entity": "model_version_alias", "action": "created"}"#;
    const NOW: u64 = 1_764_000_000;
    /// Made with Python's hmac and base64 modules from the secret `s3cret`, delivery `d-1`, this time and this body.
    const SIGNED: &str = "v1,4wwBo/F2hjcU7H+clGWF5TC60P3m9XhIbj9sepEQd38=";

    fn headers(signature: &'static str, timestamp: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(SIGNATURE, signature), (TIMESTAMP, timestamp), (DELIVERY, "d-1")] {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
        }
        headers
    }

    fn webhook(secret: &str) -> Webhook {
        Webhook::new(Notifier::new(), Secret::new(secret.to_owned()))
    }

    #[test]
    fn what_mlflow_signs_is_believed_and_nothing_else() {
        let good = headers(SIGNED, "1764000000");
        assert_eq!(webhook("s3cret").check(&good, BODY, NOW), Ok(()));
        assert_eq!(webhook("s3cret").check(&good, BODY, NOW + 300), Ok(()));
        assert_eq!(webhook("s3cret").check(&good, BODY, NOW + 301), Err(Refusal::Stale), "a replay");
        assert_eq!(webhook("s3cret").check(&good, BODY, NOW - 301), Err(Refusal::Stale));
        assert_eq!(webhook("other").check(&good, BODY, NOW), Err(Refusal::Forged));
        assert_eq!(webhook("s3cret").check(&good, b"{}", NOW), Err(Refusal::Forged), "another body");
        assert_eq!(webhook("s3cret").check(&headers(SIGNED, "1764000001"), BODY, NOW), Err(Refusal::Forged));
        assert_eq!(webhook("s3cret").check(&headers("v2,AAAA", "1764000000"), BODY, NOW), Err(Refusal::Forged));
        assert_eq!(webhook("s3cret").check(&headers(SIGNED, "soon"), BODY, NOW), Err(Refusal::Stale));
        assert_eq!(webhook("s3cret").check(&HeaderMap::new(), BODY, NOW), Err(Refusal::Missing(SIGNATURE)));
    }

    #[test]
    fn one_of_several_signatures_is_enough_and_without_a_secret_none_is_needed() {
        let mut several = headers(SIGNED, "1764000000");
        let both = HeaderValue::from_str(&format!("v1,AAAA {SIGNED}")).unwrap();
        several.insert(HeaderName::try_from(SIGNATURE).unwrap(), both);
        assert_eq!(webhook("s3cret").check(&several, BODY, NOW), Ok(()));
        assert_eq!(webhook("").check(&HeaderMap::new(), BODY, NOW), Ok(()));
    }
}
