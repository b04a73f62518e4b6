//! The standard `OTEL_` variables that Forebay reads itself. The exporter reads the rest of its own: headers, timeout,
//! compression (`OTEL_EXPORTER_OTLP_*`) and the batch sizes (`OTEL_BSP_*`).

use std::collections::BTreeMap;

use super::TelemetryError;

/// Variables whose names begin with `OTEL_`; an empty one counts as not set, as the specification says.
#[derive(Debug, Clone, Default)]
pub struct OtelEnvironment {
    variables: BTreeMap<String, String>,
}

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) protocol: Protocol,
    /// The variable that named it, for messages.
    pub(super) variable: &'static str,
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";

impl OtelEnvironment {
    /// From the process.
    pub fn load() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(unicode))
    }

    /// From given variables.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |(name, value): &(String, String)| name.starts_with("OTEL_") && !value.trim().is_empty();
        Self { variables: variables.into_iter().filter(ours).collect() }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim())
    }

    /// The endpoint of traces, none when export is off.
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
            Some(("https", _)) => {
                return Err(wrong(
                    variable,
                    "uses https, and this program is built without TLS; send to a collector nearby with http://",
                ));
            }
            _ => {
                return Err(wrong(
                    variable,
                    &format!("is {named:?}, expected an address such as http://localhost:4317"),
                ));
            }
        };
        // The general variable is a base address for HTTP, the one for traces is taken as it is.
        if protocol == Protocol::Http && variable == ENDPOINT {
            url = format!("{}/v1/traces", url.trim_end_matches('/'));
        }
        Ok(Some(Endpoint { url, protocol, variable }))
    }

    /// `OTEL_RESOURCE_ATTRIBUTES`: `name=value` pairs; what is no pair is left out.
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
    fn the_variable_for_traces_wins_and_is_taken_as_it_is() {
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
        let secure = of(&[(ENDPOINT, "https://c:4317")]).traces_endpoint().unwrap_err();
        assert_eq!(secure.variable, ENDPOINT);
        let json = of(&[(ENDPOINT, "http://c"), (PROTOCOL, "http/json")]).traces_endpoint().unwrap_err();
        assert_eq!(json.to_string(), "OTEL_EXPORTER_OTLP_PROTOCOL: is \"http/json\", expected grpc or http/protobuf");
        assert!(of(&[(TRACES_ENDPOINT, "collector:4317")]).traces_endpoint().is_err());
    }
}
