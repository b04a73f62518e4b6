//! `POST /webhooks/mlflow` on the admin endpoint: an MLflow server reports that its registry has changed, and every
//! watcher in this process reads the registry at once. The content of the notification is logged and otherwise ignored.
//!
//! Notifications are signed as MLflow does it (`mlflow/webhooks/delivery.py` and `constants.py` of MLflow 3.17, after
//! the Standard Webhooks convention): `X-MLflow-Signature: v1,<base64 of HMAC-SHA-256(secret, "<delivery
//! id>.<timestamp>.<body>")>`, with the delivery id in `X-MLflow-Delivery-Id` and the Unix time of sending, in seconds,
//! in `X-MLflow-Timestamp`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use forebay_runtime::{Host, Notifier, PostRequest, PostResponse, Secret};
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::ModelSettings;

/// Path of the route.
pub const ROUTE: &str = "/webhooks/mlflow";
const SIGNATURE: &str = "X-MLflow-Signature";
const TIMESTAMP: &str = "X-MLflow-Timestamp";
const DELIVERY: &str = "X-MLflow-Delivery-Id";
/// Largest accepted difference between the time of sending and this machine's clock.
const TOLERANCE: Duration = Duration::from_secs(300);

/// Adds the webhook to the admin endpoint of `host`: notifications wake the listeners of [`Host::registry_notifier`].
/// With a secret in `models`, only signed notifications do. Without one, none do where other machines can reach the endpoint.
pub fn serve(host: &Host, models: &ModelSettings) {
    let webhook = Webhook {
        notifier: host.registry_notifier().clone(),
        secret: models.webhook_secret.clone(),
        exposed: !host.settings().admin.listen.ip().to_canonical().is_loopback(),
    };
    let now_s = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    host.admin_routes().post(ROUTE, move |request| webhook.notified(request, now_s()));
}

/// Receives the notifications of an MLflow server.
#[derive(Clone, Debug)]
struct Webhook {
    notifier: Notifier,
    secret: Secret,
    /// Whether other machines can reach the endpoint.
    exposed: bool,
}

/// Why a notification is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Rejection {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {TIMESTAMP} is not a time within {} minutes of this machine's clock", TOLERANCE.as_secs() / 60)]
    Stale,
    #[error("notifications have to be signed here: set models.webhook_secret")]
    NoSecret,
    #[error("the signature is not made with this mesh's secret (models.webhook_secret)")]
    Forged,
}

/// The part of the body that is logged.
#[derive(Debug, Default, Deserialize)]
struct Notification {
    #[serde(default)]
    entity: String,
    #[serde(default)]
    action: String,
}

impl Webhook {
    fn check(&self, request: &PostRequest<'_>, now_s: u64) -> Result<(), Rejection> {
        if self.secret.is_empty() {
            return if self.exposed { Err(Rejection::NoSecret) } else { Ok(()) };
        }
        let header = |name: &'static str| request.header(name).ok_or(Rejection::Missing(name));
        let (signatures, timestamp, delivery) = (header(SIGNATURE)?, header(TIMESTAMP)?, header(DELIVERY)?);
        let sent: u64 = timestamp.parse().map_err(|_| Rejection::Stale)?;
        if sent.abs_diff(now_s) > TOLERANCE.as_secs() {
            return Err(Rejection::Stale);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose().as_bytes()).map_err(|_| Rejection::Forged)?;
        for part in [delivery.as_bytes(), b".", timestamp.as_bytes(), b".", request.body] {
            mac.update(part);
        }
        // the header has several signatures, separated by spaces, while a secret is rotated; they are compared in
        // constant time
        let ours = |signature: &str| {
            let bytes = signature.strip_prefix("v1,").and_then(|text| BASE64_STANDARD.decode(text).ok());
            bytes.is_some_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
        };
        if signatures.split_ascii_whitespace().any(ours) { Ok(()) } else { Err(Rejection::Forged) }
    }

    fn notified(&self, request: &PostRequest<'_>, now_s: u64) -> PostResponse {
        if !self.notifier.has_subscribers() {
            return refused(404, "nothing in this process watches a model registry");
        }
        if let Err(rejection) = self.check(request, now_s) {
            let peer = request.peer.map(tracing::field::display);
            tracing::warn!(reason = %rejection, peer, "registry webhook rejected");
            return refused(401, &rejection.to_string());
        }
        let notification: Notification = serde_json::from_slice(request.body).unwrap_or_default();
        let short = |text: &str| text.chars().take(64).collect::<String>();
        tracing::info!(
            entity = short(&notification.entity),
            action = short(&notification.action),
            "registry webhook received"
        );
        self.notifier.notify();
        PostResponse { status: 202, body: json!({ "status": "accepted" }) }
    }
}

fn refused(status: u16, why: &str) -> PostResponse {
    PostResponse { status, body: json!({ "error": why }) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const BODY: &[u8] = br#"{"entity": "model_version_alias", "action": "created"}"#;
    const NOW: u64 = 1_764_000_000;
    /// Signature that Python's `hmac` and `base64` compute for the secret `s3cret`, delivery `d-1`, this time and this
    /// body.
    const SIGNED: &str = "v1,4wwBo/F2hjcU7H+clGWF5TC60P3m9XhIbj9sepEQd38=";

    fn headers<'h>(signature: &'h str, timestamp: &'h str) -> [(&'h str, &'h str); 3] {
        [(SIGNATURE, signature), ("x-mlflow-timestamp", timestamp), (DELIVERY, "d-1")]
    }

    fn request<'r>(headers: &'r [(&'r str, &'r str)], body: &'r [u8]) -> PostRequest<'r> {
        PostRequest { headers, body, peer: None }
    }

    fn webhook(secret: &str) -> Webhook {
        Webhook { notifier: Notifier::new(), secret: Secret::new(secret.to_owned()), exposed: false }
    }

    #[test]
    fn only_the_signatures_of_mlflow_are_accepted() {
        let check = |secret: &str, headers: &[(&str, &str)], body: &[u8], now: u64| {
            webhook(secret).check(&request(headers, body), now)
        };
        let good = headers(SIGNED, "1764000000");
        assert_eq!(check("s3cret", &good, BODY, NOW), Ok(()));
        assert_eq!(check("s3cret", &good, BODY, NOW + 300), Ok(()));
        assert_eq!(check("s3cret", &good, BODY, NOW + 301), Err(Rejection::Stale), "a replay");
        assert_eq!(check("s3cret", &good, BODY, NOW - 301), Err(Rejection::Stale));
        assert_eq!(check("other", &good, BODY, NOW), Err(Rejection::Forged));
        assert_eq!(check("s3cret", &good, b"{}", NOW), Err(Rejection::Forged), "another body");
        assert_eq!(check("s3cret", &headers(SIGNED, "1764000001"), BODY, NOW), Err(Rejection::Forged));
        assert_eq!(check("s3cret", &headers("v2,AAAA", "1764000000"), BODY, NOW), Err(Rejection::Forged));
        assert_eq!(check("s3cret", &headers(SIGNED, "soon"), BODY, NOW), Err(Rejection::Stale));
        assert_eq!(check("s3cret", &[], BODY, NOW), Err(Rejection::Missing(SIGNATURE)));
    }

    #[test]
    fn one_of_several_signatures_is_enough_and_without_a_secret_none_is_needed() {
        let both = format!("v1,AAAA {SIGNED}");
        let several = headers(&both, "1764000000");
        assert_eq!(webhook("s3cret").check(&request(&several, BODY), NOW), Ok(()));
        assert_eq!(webhook("").check(&request(&[], BODY), NOW), Ok(()));
    }

    #[test]
    fn where_other_machines_can_reach_it_a_secret_is_required() {
        let open = Webhook { exposed: true, ..webhook("") };
        let count = counted(&open.notifier);
        let refused = open.notified(&request(&[], BODY), NOW);
        assert!(refused.status == 401 && refused.body.to_string().contains("models.webhook_secret"), "{refused:?}");
        assert_eq!(count.load(Ordering::SeqCst), 0);
        let signed = Webhook { exposed: true, ..webhook("s3cret") };
        assert_eq!(signed.check(&request(&headers(SIGNED, "1764000000"), BODY), NOW), Ok(()));
    }

    /// Counts the notifications.
    fn counted(notifier: &Notifier) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        notifier.on_notify(move || _ = counter.fetch_add(1, Ordering::SeqCst));
        count
    }

    #[test]
    fn a_webhook_wakes_the_watchers_of_the_registry() {
        let webhook = webhook("");
        assert_eq!(webhook.notified(&request(&[], BODY), NOW).status, 404, "there is no watcher");
        let count = counted(&webhook.notifier);
        assert_eq!(webhook.notified(&request(&[], BODY), NOW).status, 202);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(webhook.notified(&request(&[], b"{not json"), NOW).status, 202, "its content does not matter");
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn with_a_secret_unsigned_webhooks_are_refused() {
        let webhook = webhook("s3cret");
        let count = counted(&webhook.notifier);
        let unsigned = webhook.notified(&request(&[], b"{}"), NOW);
        assert!(unsigned.status == 401 && unsigned.body.to_string().contains("X-MLflow-Signature"), "{unsigned:?}");
        let forged = [(SIGNATURE, "v1,AAAA"), (TIMESTAMP, "1"), (DELIVERY, "d")];
        let forged = webhook.notified(&request(&forged, b"{}"), NOW);
        assert!(forged.status == 401 && forged.body.to_string().contains("X-MLflow-Timestamp"), "{forged:?}");
        assert_eq!(count.load(Ordering::SeqCst), 0);
    }
}
