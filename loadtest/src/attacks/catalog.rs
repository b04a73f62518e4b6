//! The attacks, in the order in which they are run.

use super::actions::{bodies, connections, files, issuers, messages, records, requests};
use super::attack_run::AttackRun;
use super::attacked_mesh::MeshForm;
use crate::error::LoadtestError;

/// Attacks, and says what was sent.
pub(crate) type Action = fn(&AttackRun<'_>) -> Result<String, LoadtestError>;

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) group: &'static str,
    pub(crate) form: MeshForm,
    pub(crate) action: Action,
}

const fn attack(group: &'static str, form: MeshForm, name: &'static str, action: Action) -> Attack {
    Attack { name, group, form, action }
}

use MeshForm::{Services, Up, UpTls};

/// All attacks.
#[rustfmt::skip]
pub(crate) const ATTACKS: &[Attack] = &[
    attack("files", Up, "yaml-aliases", files::yaml_aliases),
    attack("files", Up, "yaml-registry", files::yaml_registry),
    attack("files", Up, "npy-header", files::npy_header),
    attack("files", Up, "zip-bomb", files::zip_bomb),
    attack("files", Up, "onnx-messages", files::onnx_messages),
    attack("files", Up, "pickle-references", files::pickle_references),
    attack("files", Up, "pickle-nodes", files::pickle_nodes),
    attack("files", Up, "links", files::links),
    attack("callers", Up, "unknown-keys", requests::unknown_keys),
    attack("callers", Up, "idempotency-keys", requests::idempotency_keys),
    attack("callers", Up, "sampled-traces", requests::sampled_traces),
    attack("callers", Up, "priorities", requests::priorities),
    attack("callers", Up, "wide-rows", bodies::wide_rows),
    attack("callers", Up, "long-waits", requests::long_waits),
    attack("callers", Up, "huge-bodies", bodies::huge_bodies),
    attack("callers", Up, "deep-json", bodies::deep_json),
    attack("callers", Up, "request-id-arrays", bodies::request_id_arrays),
    attack("callers", Up, "compressed-bodies", bodies::compressed_bodies),
    attack("connections", Up, "slow-bodies", connections::slow_bodies),
    attack("connections", Up, "silent", connections::silent),
    attack("connections", Up, "large-heads", connections::large_heads),
    attack("connections", Up, "unread-answers", connections::unread_answers),
    attack("connections", Up, "http-frames", connections::http_frames),
    attack("connections", Up, "grpc-frames", connections::grpc_frames),
    attack("connections", UpTls, "silent-tls", connections::silent),
    attack("issuers", Up, "issuer-lies", issuers::lies),
    attack("issuers", Up, "unknown-key-ids", issuers::unknown_key_ids),
    attack("records", Services, "record-headers", records::headers),
    attack("records", Services, "record-bodies", records::bodies),
    attack("records", Services, "wide-records", records::wide_rows),
    attack("records", Services, "inner-records", records::inner),
    attack("messages", Services, "large-messages", messages::large),
    attack("messages", Services, "message-properties", messages::properties),
    attack("callers", Services, "wide-rows-services", bodies::wide_rows),
    attack("callers", Services, "idempotency-services", requests::idempotency_keys),
    attack("files", Services, "yaml-aliases-services", files::yaml_aliases),
    attack("files", Services, "npy-header-services", files::npy_header),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, attack) in ATTACKS.iter().enumerate() {
            assert!(ATTACKS[..at].iter().all(|other| other.name != attack.name), "{} twice", attack.name);
        }
    }
}
