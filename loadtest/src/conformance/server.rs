//! The server, and the tensor that its model takes.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::mesh_under_test::http_client::{HttpReply, request_within};

const TIMEOUT: Duration = Duration::from_secs(20);
/// The header of a body in JSON.
pub(super) const JSON: (&str, &str) = ("content-type", "application/json");
/// Length of the JSON before raw tensors.
pub(super) const JSON_LENGTH: &str = "inference-header-content-length";

/// A server with a model that takes one tensor of floats.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    pub model: String,
    /// Name of the tensor.
    pub input: String,
    /// `FP32` or `FP64`
    pub datatype: String,
    /// Values of a row.
    pub width: usize,
}

impl Server {
    /// Reads the metadata of the model.
    ///
    /// # Errors
    /// If there is no such server, or no such model.
    pub(super) fn open(url: &str, model: &str) -> Result<Self, String> {
        let host = url.strip_prefix("http://").ok_or("expected http://HOST:PORT")?.trim_end_matches('/');
        let mut found = host.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        let address = found.next().ok_or_else(|| format!("{host} has no address"))?;
        let server = Self { address, model: model.to_owned(), input: String::new(), datatype: String::new(), width: 0 };
        let described = server.get(&format!("/v2/models/{model}"))?;
        let metadata = described.json();
        let input = &metadata["inputs"][0];
        let datatype = input["datatype"].as_str().filter(|datatype| matches!(*datatype, "FP32" | "FP64"));
        let width = input["shape"].as_array().and_then(|shape| shape.last()?.as_u64());
        match (input["name"].as_str(), datatype, width) {
            (Some(name), Some(datatype), Some(width)) if described.status == 200 && width > 0 => Ok(Self {
                input: name.to_owned(),
                datatype: datatype.to_owned(),
                width: usize::try_from(width).map_err(|error| error.to_string())?,
                ..server
            }),
            _ => Err(format!("model {model}: no tensor of floats with a width: {}", described.text())),
        }
    }

    pub(super) fn get(&self, path: &str) -> Result<HttpReply, String> {
        self.send("GET", path, &[], b"")
    }

    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<HttpReply, String> {
        request_within(self.address, method, path, headers, body, TIMEOUT).map_err(|error| error.to_string())
    }

    /// The path of the model with this end.
    pub(super) fn path(&self, end: &str) -> String {
        format!("/v2/models/{}{end}", self.model)
    }

    /// Two rows of values.
    pub(super) fn rows(&self) -> Vec<f64> {
        // exact in single precision
        (0..2 * self.width).map(|at| (at % 7) as f64 / 64.0).collect()
    }

    /// A request for two rows in JSON.
    pub(super) fn document(&self) -> Value {
        let tensor = json!({
            "name": self.input, "shape": [2, self.width], "datatype": self.datatype, "data": self.rows(),
        });
        json!({ "inputs": [tensor] })
    }

    /// A request with its rows as bytes behind the JSON, and the length of the JSON.
    pub(super) fn raw_request(&self) -> (Vec<u8>, String) {
        let bytes: Vec<u8> = match self.datatype.as_str() {
            "FP32" => self.rows().iter().flat_map(|value| (*value as f32).to_le_bytes()).collect(),
            _ => self.rows().iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        let mut document = self.document();
        if let Some(tensor) = document["inputs"][0].as_object_mut() {
            tensor.remove("data");
            tensor.insert("parameters".to_owned(), json!({ "binary_data_size": bytes.len() }));
        }
        let json = document.to_string().into_bytes();
        let length = json.len().to_string();
        ([json, bytes].concat(), length)
    }

    /// Asks for an inference in JSON.
    pub(super) fn infer(&self, document: &Value) -> Result<HttpReply, String> {
        self.send("POST", &self.path("/infer"), &[JSON], document.to_string().as_bytes())
    }

    /// The data of the first output of an answer for two rows.
    ///
    /// # Errors
    /// If it is no such answer.
    pub(super) fn data(&self, reply: &HttpReply) -> Result<Vec<Value>, String> {
        if reply.status != 200 {
            return Err(format!("status {}: {}", reply.status, reply.text()));
        }
        let answer = reply.json();
        let output = &answer["outputs"][0];
        let data = output["data"].as_array().ok_or_else(|| format!("no data in the output: {answer}"))?;
        match (answer["model_name"].as_str(), output["name"].is_string(), output["shape"][0].as_u64()) {
            (Some(name), true, Some(2)) if name == self.model => Ok(data.clone()),
            _ => Err(format!("the answer has no model_name, name or shape: {answer}")),
        }
    }

    /// What the model answers to the two rows.
    pub(super) fn expected(&self) -> Result<Vec<Value>, String> {
        self.data(&self.infer(&self.document())?)
    }
}

/// Checks a condition.
pub(super) fn check(holds: bool, reply: &HttpReply) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("status {}: {}", reply.status, reply.text().chars().take(120).collect::<String>()))
    }
}
