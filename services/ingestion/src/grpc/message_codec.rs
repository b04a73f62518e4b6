//! The codec of the service: protobuf, with what a message consists of counted before it is decoded. An empty tensor takes
//! two bytes on the wire and hundreds in memory.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::proto::ModelInferRequest;

/// Most tensors, parameters and other parts of a message, each of which takes up to about 300 bytes.
const MAX_PARTS: usize = 16 << 10;
/// Most texts of a message, each of which takes about 30 bytes beside its own.
const MAX_TEXTS: usize = 128 << 10;

/// Field numbers of `ModelInferRequest`, of its tensors, and of their contents.
const INPUTS: u32 = 5;
const PARAMETERS_OF_INPUT: u32 = 4;
const CONTENTS: u32 = 5;
const TEXTS: u32 = 8;
const OUTPUTS: u32 = 6;
const PARAMETERS_OF_OUTPUT: u32 = 2;

/// Writes answers of type `T`, and reads requests of type `U`.
#[derive(Debug)]
pub(super) struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for MessageCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

/// Decodes messages of type `U` that have not too many parts.
#[derive(Debug)]
pub(super) struct CountingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // the whole message stands in one piece, as the reader of a body collects it
        let mut parts = Parts::default();
        parts.count(bytes::Buf::chunk(source), TypeId::of::<U>() == TypeId::of::<ModelInferRequest>())?;
        self.0.decode(source)
    }
}

/// What a message consists of.
#[derive(Debug, Default)]
struct Parts {
    parts: usize,
    texts: usize,
}

impl Parts {
    /// Counts the parts of a message, of those that every message has, and those of the tensors of an inference.
    fn count(&mut self, message: &[u8], inference: bool) -> Result<(), Status> {
        for_each_field(message, &mut |field, value| {
            self.part()?;
            match field {
                INPUTS if inference => self.count_input(value),
                OUTPUTS if inference => for_each_field(value, &mut |field, _| match field {
                    PARAMETERS_OF_OUTPUT => self.part(),
                    _ => Ok(()),
                }),
                _ => Ok(()),
            }
        })
    }

    fn count_input(&mut self, input: &[u8]) -> Result<(), Status> {
        for_each_field(input, &mut |field, value| match field {
            PARAMETERS_OF_INPUT => self.part(),
            CONTENTS => for_each_field(value, &mut |field, _| match field {
                TEXTS => self.text(),
                _ => Ok(()),
            }),
            _ => Ok(()),
        })
    }

    fn part(&mut self) -> Result<(), Status> {
        self.parts += 1;
        check(self.parts, MAX_PARTS, "tensors and parameters")
    }

    fn text(&mut self) -> Result<(), Status> {
        self.texts += 1;
        check(self.texts, MAX_TEXTS, "texts")
    }
}

fn check(count: usize, limit: usize, what: &str) -> Result<(), Status> {
    if count <= limit {
        return Ok(());
    }
    Err(Status::new(Code::ResourceExhausted, format!("the message has more than {limit} {what}")))
}

/// What is done with the number and the value of a field.
type SeeField<'a> = dyn FnMut(u32, &[u8]) -> Result<(), Status> + 'a;

/// Calls `see` for each field that has a length.
fn for_each_field(mut message: &[u8], see: &mut SeeField<'_>) -> Result<(), Status> {
    let invalid = |error: DecodeError| Status::new(Code::Internal, error.to_string());
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message).map_err(invalid)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, field, &mut message, DecodeContext::default()).map_err(invalid)?;
            continue;
        }
        let length = decode_varint(&mut message).map_err(invalid)?;
        let split = usize::try_from(length).ok().and_then(|length| message.split_at_checked(length));
        let (value, rest) = split.ok_or_else(|| Status::new(Code::Internal, "a field ends behind its message"))?;
        see(field, value)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;

    use super::super::proto::model_infer_request::InferInputTensor;
    use super::super::proto::{InferTensorContents, ModelInferRequest};
    use super::*;

    fn counted(request: &ModelInferRequest) -> Result<(), String> {
        Parts::default().count(&request.encode_to_vec(), true).map_err(|status| status.message().to_owned())
    }

    fn of_inputs(inputs: Vec<InferInputTensor>) -> ModelInferRequest {
        ModelInferRequest { inputs, ..ModelInferRequest::default() }
    }

    #[test]
    fn messages_of_many_parts_are_refused_and_others_are_not() {
        let empty = |count| of_inputs(vec![InferInputTensor::default(); count]);
        assert_eq!(counted(&empty(MAX_PARTS)), Ok(()));
        let many = Err(format!("the message has more than {MAX_PARTS} tensors and parameters"));
        assert_eq!(counted(&empty(MAX_PARTS + 1)), many);
        let raw = vec![Bytes::new(); MAX_PARTS + 1];
        assert_eq!(counted(&ModelInferRequest { raw_input_contents: raw, ..ModelInferRequest::default() }), many);
        let parameters = (0..=MAX_PARTS).map(|number| (number.to_string(), Default::default())).collect();
        assert_eq!(counted(&of_inputs(vec![InferInputTensor { parameters, ..Default::default() }])), many);
        let texts = |count| {
            let contents = InferTensorContents { bytes_contents: vec![Bytes::new(); count], ..Default::default() };
            of_inputs(vec![InferInputTensor { contents: Some(contents), ..Default::default() }])
        };
        assert_eq!(counted(&texts(MAX_TEXTS)), Ok(()));
        assert_eq!(counted(&texts(MAX_TEXTS + 1)), Err(format!("the message has more than {MAX_TEXTS} texts")));
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for bytes in [&b"\x2a\xff"[..], b"\x2a\x05\x00", b"\xff", b"\x2a\x02\x2a\x05", b"\x0c"] {
            assert!(Parts::default().count(bytes, true).is_err(), "{bytes:?}");
        }
    }
}
