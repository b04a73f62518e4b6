//! Compressed bodies: `gzip`, `deflate` (which is zlib) and `zstd`.

use std::io::{Read, Write};

use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue, VARY};
use actix_web::{HttpResponse, HttpResponseBuilder};
use forebay_contract::{ErrorCode, Problem};
use serde::Serialize;

/// The codings of requests that are read, as `Accept-Encoding` lists them.
pub(super) const ACCEPTED: &str = "gzip, deflate, zstd";
/// Answers below this size are compressed only for clients that name a single coding.
const LEAST: usize = 1024;
/// The greatest window of a zstd frame that is read is two to the power of this.
const MAX_ZSTD_WINDOW: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Zstd,
}

impl Coding {
    /// The name in headers.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The coding of a request's body; `None` if it is not compressed.
///
/// # Errors
/// `unsupported_media_type` for another coding, and for several of them.
pub(super) fn of_request(header: &HeaderValue) -> Result<Option<Coding>, Problem> {
    let name = header.to_str().unwrap_or_default().trim();
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Coding::parse(name).map(Some).ok_or_else(|| {
        let text = format!("Content-Encoding: expected one of {ACCEPTED}");
        Problem::new(ErrorCode::UnsupportedMediaType, text)
    })
}

/// The bytes of a compressed body.
///
/// # Errors
/// `payload_too_large` for more than `most` bytes, `invalid_request` for bytes that are not of the coding.
pub(super) fn decompress(coding: Coding, body: &[u8], most: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let limit = most as u64 + 1;
    let read = match coding {
        Coding::Gzip => flate2::read::MultiGzDecoder::new(body).take(limit).read_to_end(&mut bytes),
        // some clients send what zlib wraps without its wrapper
        Coding::Deflate if !is_zlib(body) => {
            flate2::read::DeflateDecoder::new(body).take(limit).read_to_end(&mut bytes)
        }
        Coding::Deflate => flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut bytes),
        Coding::Zstd => zstd::stream::read::Decoder::new(body)
            .and_then(|mut decoder| decoder.window_log_max(MAX_ZSTD_WINDOW).map(|()| decoder))
            .and_then(|decoder| decoder.take(limit).read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) if bytes.len() > most => {
            let text = format!("the body is larger than {most} bytes when it is decompressed (http.max_body)");
            Err(Problem::new(ErrorCode::PayloadTooLarge, text))
        }
        Ok(_) => Ok(bytes),
        Err(error) => {
            let text = format!("the body cannot be decompressed as {}: {error}", coding.name());
            Err(Problem::new(ErrorCode::InvalidRequest, text))
        }
    }
}

fn is_zlib(body: &[u8]) -> bool {
    let [method, flags, ..] = body else { return true };
    method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0
}

/// The coding of an answer of `length` bytes. A client that accepts a single coding wants it whatever the size; one that
/// lists what its library can read gets larger answers compressed.
pub(super) fn of_answer(request: &HeaderMap, length: usize) -> Option<Coding> {
    let accepted = request.get(ACCEPT_ENCODING)?.to_str().ok()?;
    let mut named = 0;
    let mut first = None;
    for entry in accepted.split(',') {
        let mut parts = entry.split(';');
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            let part: String = part.chars().filter(|it| !it.is_whitespace()).collect();
            part.strip_prefix("q=").is_some_and(|quality| quality.parse() == Ok(0.0))
        });
        named += 1;
        if !refused && first.is_none() {
            first = Coding::parse(name);
        }
    }
    first.filter(|_| named == 1 || length >= LEAST)
}

/// The answer with `body`, compressed if the client wants that. Errors do not come here: some clients read their text
/// without looking at the coding.
pub(super) fn send(mut response: HttpResponseBuilder, request: &HeaderMap, body: Vec<u8>) -> HttpResponse {
    let coding = of_answer(request, body.len());
    match coding.and_then(|coding| Some((coding, compress(coding, &body)?))) {
        Some((coding, bytes)) => {
            response.insert_header((CONTENT_ENCODING, coding.name())).insert_header((VARY, "accept-encoding"));
            response.body(bytes)
        }
        None => response.body(body),
    }
}

/// As [`send`], with `value` in JSON.
pub(super) fn send_json(
    mut response: HttpResponseBuilder,
    request: &HeaderMap,
    value: &impl Serialize,
) -> HttpResponse {
    match serde_json::to_vec(value) {
        Ok(json) => {
            response.content_type("application/json");
            send(response, request, json)
        }
        Err(error) => HttpResponse::from_error(actix_web::error::ErrorInternalServerError(error)),
    }
}

/// The compressed bytes, or `None` if that fails.
pub(super) fn compress(coding: Coding, body: &[u8]) -> Option<Vec<u8>> {
    let level = flate2::Compression::fast();
    let out = Vec::with_capacity(body.len() / 2);
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            encoder.write_all(body).and_then(|()| encoder.finish()).ok()
        }
        Coding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(out, level);
            encoder.write_all(body).and_then(|()| encoder.finish()).ok()
        }
        Coding::Zstd => zstd::stream::encode_all(body, 1).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepting(value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn bodies_read_back_and_bombs_are_refused() {
        let body = vec![b'7'; 100_000];
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let compressed = compress(coding, &body).unwrap();
            assert!(compressed.len() < 1_000, "{coding:?}");
            assert_eq!(decompress(coding, &compressed, body.len()).unwrap(), body);
            let bomb = decompress(coding, &compressed, body.len() - 1).unwrap_err();
            assert_eq!(bomb.code, ErrorCode::PayloadTooLarge);
            let cut = decompress(coding, &compressed[..compressed.len() / 2], body.len()).unwrap_err();
            assert_eq!(cut.code, ErrorCode::InvalidRequest, "{coding:?}");
            assert!(decompress(coding, b"{\"inputs\":[]}", 100).is_err(), "{coding:?}");
        }
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(&body).unwrap();
        assert_eq!(decompress(Coding::Deflate, &raw.finish().unwrap(), body.len()).unwrap(), body);
    }

    #[test]
    fn codings_are_chosen_by_header() {
        let request = |name| of_request(&HeaderValue::from_static(name));
        assert_eq!(request("identity"), Ok(None));
        assert_eq!(request("x-gzip"), Ok(Some(Coding::Gzip)));
        assert_eq!(request("br").unwrap_err().code, ErrorCode::UnsupportedMediaType);
        assert!(request("gzip, gzip").is_err());
        assert_eq!(of_answer(&accepting("gzip"), 10), Some(Coding::Gzip));
        assert_eq!(of_answer(&accepting("gzip, deflate, br"), 10), None);
        assert_eq!(of_answer(&accepting("br, zstd;q=0, deflate"), 2_000), Some(Coding::Deflate));
        assert_eq!(of_answer(&accepting("gzip;q=0"), 2_000), None);
        assert_eq!(of_answer(&HeaderMap::new(), 2_000), None);
    }
}
