//! The standard `OTEL_` variables that Forebay reads itself. The exporter itself reads the others: headers, timeout,
//! compression (`OTEL_EXPORTER_OTLP_*`) and the batch sizes (`OTEL_BSP_*`).

use std::collections::BTreeMap;
use std::path::Path;

use super::TelemetryError;

/// Variables whose names begin with `OTEL_`; an empty one counts as unset, as the specification says.
#[derive(Debug, Clone, Default)]
pub struct OtelEnvironment {
    variables: BTreeMap<String, String>,
}

/// Protocol of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// The receiver of the spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) protocol: Protocol,
    /// The variable that named it, for messages.
    pub(super) variable: &'static str,
    /// Certificates for an https address.
    pub(super) tls: Option<Certificates>,
}

/// PEM texts for a connection over TLS.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Certificates {
    pub(super) authorities: Vec<u8>,
    /// The client's certificate and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("identity", &self.identity.is_some()).finish_non_exhaustive()
    }
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// What follows `OTEL_EXPORTER_OTLP_` or `OTEL_EXPORTER_OTLP_TRACES_` for certificates.
const AUTHORITIES: &str = "CERTIFICATE";
const CERTIFICATE: &str = "CLIENT_CERTIFICATE";
const KEY: &str = "CLIENT_KEY";
/// Where distributions keep the authorities that the machine trusts.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";

impl OtelEnvironment {
    /// The variables of the process.
    pub fn load() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(unicode))
    }

    /// Keeps those of the given variables that matter here.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.trim().is_empty();
        Self { variables: variables.into_iter().filter(ours).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim())
    }

    /// The endpoint of traces; `None` when the export is off.
    pub(super) fn traces_endpoint(&self) -> Result<Option<Endpoint>, TelemetryError> {
        let off = self.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if off || self.get("OTEL_TRACES_EXPORTER").is_some_and(|value| value.eq_ignore_ascii_case("none")) {
            return Ok(None);
        }
        let (variable, named) = match (self.get(TRACES_ENDPOINT), self.get(ENDPOINT)) {
            (Some(url), _) => (TRACES_ENDPOINT, url),
            (None, Some(url)) => (ENDPOINT, url),
            (None, None) => return Ok(None),
        };
        let protocol = self.protocol()?;
        let insecure = ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"];
        let insecure =
            insecure.iter().find_map(|name| self.get(name)).is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let mut url = match named.split_once("://") {
            Some(("http", _)) => named.to_owned(),
            None if insecure => format!("http://{named}"),
            Some(("https", _)) if protocol == Protocol::Grpc => named.to_owned(),
            Some(("https", _)) => {
                return Err(wrong(
                    variable,
                    "uses https with http/protobuf; over TLS spans are sent with grpc, set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
                ));
            }
            _ => {
                return Err(wrong(
                    variable,
                    &format!("is {named:?}, expected an address such as http://localhost:4317"),
                ));
            }
        };
        // The general variable is a base address for HTTP, the one for traces is the full address.
        if protocol == Protocol::Http && variable == ENDPOINT {
            url = format!("{}/v1/traces", url.trim_end_matches('/'));
        }
        let tls = if url.starts_with("https://") { Some(self.certificates()?) } else { None };
        Ok(Some(Endpoint { url, protocol, variable, tls }))
    }

    /// The certificates of a TLS connection; without a variable the machine's authorities are trusted.
    fn certificates(&self) -> Result<Certificates, TelemetryError> {
        let (mut authorities, variable) = self.pem(AUTHORITIES)?;
        if authorities.is_none() {
            authorities = SYSTEM_AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok());
        }
        let Some(authorities) = authorities else {
            return Err(wrong(&variable, "is not set, and this machine has no file of authorities to trust"));
        };
        let ((certificate, _), (key, key_variable)) = (self.pem(CERTIFICATE)?, self.pem(KEY)?);
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong(&key_variable, "and the variable of the client's certificate need each other")),
        };
        Ok(Certificates { authorities, identity })
    }

    /// The PEM file that a variable names, and the variable's name. The variable for traces comes first.
    fn pem(&self, kind: &str) -> Result<(Option<Vec<u8>>, String), TelemetryError> {
        let names = ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].map(|prefix| format!("{prefix}{kind}"));
        let [_, general] = &names;
        for name in &names {
            if let Some(path) = self.get(name) {
                crate::settings::check_pem(Path::new(path)).map_err(|text| wrong(name, &text))?;
                let bytes = std::fs::read(path).map_err(|error| wrong(name, &format!("{path}: {error}")))?;
                return Ok((Some(bytes), name.clone()));
            }
        }
        Ok((None, general.clone()))
    }

    /// `OTEL_RESOURCE_ATTRIBUTES`: `name=value` pairs; anything else is ignored.
    pub(super) fn resource_attributes(&self) -> Vec<(String, String)> {
        let list = self.get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let pairs = list.split(',').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
    }

    fn protocol(&self) -> Result<Protocol, TelemetryError> {
        for variable in [TRACES_PROTOCOL, PROTOCOL] {
            match self.get(variable) {
                None => {}
                Some("grpc") => return Ok(Protocol::Grpc),
                Some("http/protobuf") => return Ok(Protocol::Http),
                Some(other) => return Err(wrong(variable, &format!("is {other:?}, expected grpc or http/protobuf"))),
            }
        }
        Ok(Protocol::Grpc)
    }
}

pub(super) fn wrong(variable: &str, text: &str) -> TelemetryError {
    TelemetryError { variable: variable.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> OtelEnvironment {
        OtelEnvironment::of(pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())))
    }

    #[test]
    fn without_an_endpoint_nothing_is_exported() {
        assert_eq!(of(&[]).traces_endpoint(), Ok(None));
        assert_eq!(of(&[(ENDPOINT, " ")]).traces_endpoint(), Ok(None));
        assert_eq!(of(&[(ENDPOINT, "http://c:4317"), ("OTEL_SDK_DISABLED", "true")]).traces_endpoint(), Ok(None));
        assert_eq!(of(&[(ENDPOINT, "http://c:4317"), ("OTEL_TRACES_EXPORTER", "none")]).traces_endpoint(), Ok(None));
    }

    #[test]
    fn the_variable_for_traces_wins_and_is_the_full_address() {
        let http = (PROTOCOL, "http/protobuf");
        let general = of(&[(ENDPOINT, "http://c:4318/"), http]).traces_endpoint().unwrap().unwrap();
        assert_eq!((general.url.as_str(), general.protocol), ("http://c:4318/v1/traces", Protocol::Http));
        let special = of(&[(ENDPOINT, "http://c:4318"), (TRACES_ENDPOINT, "http://d/x"), http]);
        assert_eq!(special.traces_endpoint().unwrap().unwrap().url, "http://d/x");
        let grpc = of(&[(ENDPOINT, "c:4317"), ("OTEL_EXPORTER_OTLP_INSECURE", "true")]);
        assert_eq!(grpc.traces_endpoint().unwrap().unwrap().url, "http://c:4317");
    }

    #[test]
    fn what_cannot_work_is_named() {
        let secure = [(ENDPOINT, "https://c:4318"), (PROTOCOL, "http/protobuf")];
        assert!(of(&secure).traces_endpoint().unwrap_err().text.contains("grpc"));
        let file = [(ENDPOINT, "https://c:4317"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist")];
        let message = of(&file).traces_endpoint().unwrap_err().to_string();
        assert!(message.contains("OTEL_EXPORTER_OTLP_CERTIFICATE") && message.contains("/does/not/exist"), "{message}");
        let json = of(&[(ENDPOINT, "http://c"), (PROTOCOL, "http/json")]).traces_endpoint().unwrap_err();
        assert_eq!(json.to_string(), "OTEL_EXPORTER_OTLP_PROTOCOL: is \"http/json\", expected grpc or http/protobuf");
        assert!(of(&[(TRACES_ENDPOINT, "collector:4317")]).traces_endpoint().is_err());
    }
}
