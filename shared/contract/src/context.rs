//! What an item carries from ingestion to its answer.

use bytes::Bytes;
use prost::Message;

use crate::wire::{self, RequestContext, request_context::Origin};
use crate::{ItemId, RequestId};

/// The context of one item, read-only after ingestion. The encoded form is kept and passed on byte for byte, so that
/// fields of a newer schema survive an older stage.
#[derive(Clone, Debug)]
pub struct Context {
    encoded: Bytes,
    fields: RequestContext,
}

/// What ingestion knows about an item; [`Context::new`] encodes it.
#[derive(Clone, Debug)]
pub struct ContextFields {
    /// Identity of the request.
    pub request_id: RequestId,
    /// Number of the row in the request, from 0.
    pub row: u32,
    /// Number of rows in the request.
    pub rows: u32,
    /// The client's label.
    pub client_request_id: Option<String>,
    /// W3C trace id.
    pub trace_id: [u8; 16],
    /// W3C trace flags; 1 is sampled.
    pub trace_flags: u8,
    /// When the request was accepted, in Unix microseconds.
    pub accepted_us: u64,
    /// Until when an answer is useful, in Unix microseconds.
    pub deadline_us: u64,
    /// Priority; lower numbers are processed first.
    pub priority: i32,
    /// Partition of the results topic.
    pub result_partition: u32,
    /// Where the answer goes.
    pub origin: Origin,
    /// First 16 bytes of the BLAKE3 of the payload, for a request with an `Idempotency-Key`.
    pub idempotent: Option<[u8; 16]>,
}

impl Context {
    /// Encodes the context once, in ingestion.
    pub fn new(fields: ContextFields) -> Self {
        Self::of_caller(fields, 0)
    }

    /// As [`Context::new`], for a request whose caller is known by a number other than 0.
    pub fn of_caller(fields: ContextFields, caller: u32) -> Self {
        let wire_fields = RequestContext {
            request_id: Bytes::copy_from_slice(&fields.request_id.0),
            row: fields.row,
            rows: fields.rows,
            client_request_id: fields.client_request_id,
            trace_id: Bytes::copy_from_slice(&fields.trace_id),
            trace_flags: u32::from(fields.trace_flags),
            accepted_us: fields.accepted_us,
            deadline_us: fields.deadline_us,
            priority: fields.priority,
            result_partition: fields.result_partition,
            idempotent: fields.idempotent.is_some(),
            payload_digest: fields.idempotent.map(|digest| Bytes::copy_from_slice(&digest)).unwrap_or_default(),
            origin: Some(fields.origin),
            caller,
        };
        Self { encoded: wire_fields.encode_to_vec().into(), fields: wire_fields }
    }

    /// Reads a context that came over an edge.
    ///
    /// # Errors
    /// When the bytes are not a context, or its request id or trace id has the wrong length.
    pub fn decode(encoded: Bytes) -> Result<Self, prost::DecodeError> {
        let fields = RequestContext::decode(encoded.clone())?;
        let sound = fields.request_id.len() == 16 && fields.trace_id.len() == 16 && fields.row < fields.rows.max(1);
        if !sound {
            #[allow(deprecated, reason = "prost offers no other public constructor")]
            return Err(prost::DecodeError::new(
                "context without a 16-byte request id, a 16-byte trace id or a row in range",
            ));
        }
        Ok(Self { encoded, fields })
    }

    /// The encoded bytes, as they are sent.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Identity of the request.
    pub fn request_id(&self) -> RequestId {
        RequestId::from_slice(&self.fields.request_id).unwrap_or(RequestId([0; 16]))
    }

    /// What is answered exactly once.
    pub fn item(&self) -> ItemId {
        ItemId { request_id: self.request_id(), row: self.fields.row }
    }

    /// Number of the row in the request, from 0.
    pub fn row(&self) -> u32 {
        self.fields.row
    }

    /// Number of rows in the request.
    pub fn rows(&self) -> u32 {
        self.fields.rows.max(1)
    }

    /// The client's label.
    pub fn client_request_id(&self) -> Option<&str> {
        self.fields.client_request_id.as_deref()
    }

    /// W3C trace id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.fields.trace_id.as_ref().try_into().unwrap_or_default()
    }

    /// W3C trace flags.
    pub fn trace_flags(&self) -> u8 {
        self.fields.trace_flags as u8
    }

    /// Whether spans are written for this item. Check it before any tracing work.
    pub fn sampled(&self) -> bool {
        self.fields.trace_flags & 1 == 1
    }

    /// When the request was accepted, in Unix microseconds.
    pub fn accepted_us(&self) -> u64 {
        self.fields.accepted_us
    }

    /// Until when an answer is useful, in Unix microseconds.
    pub fn deadline_us(&self) -> u64 {
        self.fields.deadline_us
    }

    /// Whether the deadline has passed at `now_us`.
    pub fn expired(&self, now_us: u64) -> bool {
        now_us >= self.fields.deadline_us
    }

    /// Priority; lower numbers are processed first.
    pub fn priority(&self) -> i32 {
        self.fields.priority
    }

    /// Partition of the results topic.
    pub fn result_partition(&self) -> u32 {
        self.fields.result_partition
    }

    /// Where the answer goes; `None` for an origin this build does not know.
    pub fn origin(&self) -> Option<&Origin> {
        self.fields.origin.as_ref()
    }

    /// Partition of the replies topic, for requests whose caller waits on a connection.
    pub fn reply_partition(&self) -> Option<u32> {
        match self.origin() {
            Some(Origin::Http(wire::HttpOrigin { reply_partition, .. })) => Some(*reply_partition),
            _ => None,
        }
    }

    /// Tells the callers of idempotent requests apart; 0 for callers without credentials.
    pub fn caller(&self) -> u32 {
        self.fields.caller
    }

    /// Digest of the payload of a request with an `Idempotency-Key`.
    pub fn payload_digest(&self) -> Option<[u8; 16]> {
        if self.fields.idempotent { self.fields.payload_digest.as_ref().try_into().ok() } else { None }
    }
}
