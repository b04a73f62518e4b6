//! What a request for inference says.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use forebay_contract::Problem;

use super::{Collected, Datatype, Value, invalid, unsuitable};
use crate::parse::repeated;
use crate::request::DEFAULT_PRIORITY;

/// A request for inference.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct InferRequest {
    /// The id that the client chose, echoed in the answer.
    pub id: Option<String>,
    pub parameters: Parameters,
    pub inputs: Vec<InputTensor>,
    /// The outputs that the client wants; none for `predict`.
    pub outputs: Vec<RequestedOutput>,
}

/// One tensor of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InputTensor {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub elements: Collected,
}

/// An output that the client wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RequestedOutput {
    pub name: String,
    /// As raw bytes behind the JSON; `None` for what the request says for all outputs.
    pub binary: Option<bool>,
    /// The number of classes to name, best first; 0 for the plain output.
    pub classification: usize,
}

/// The outputs, each wanted once.
///
/// # Errors
/// `invalid_request` for one that is named twice.
pub(crate) fn distinct(outputs: Vec<RequestedOutput>) -> Result<Vec<RequestedOutput>, Problem> {
    match repeated(outputs.iter().map(|output| output.name.as_str())) {
        Some(twice) => Err(invalid(format!("output '{twice}' is given twice"))),
        None => Ok(outputs),
    }
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ParameterValue {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

/// The parameters of a request. Those that mean nothing here, nor to the model, are ignored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameters {
    /// Lower numbers go first.
    pub priority: i32,
    pub timeout: Option<Duration>,
    /// Outputs leave as raw bytes unless they say otherwise.
    pub binary_output: bool,
    /// A stream's client wants an answer that marks the end of each request's answers.
    pub final_response: bool,
    /// Those that only a model may know.
    pub others: Vec<(String, ParameterValue)>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            priority: DEFAULT_PRIORITY,
            timeout: None,
            binary_output: false,
            final_response: false,
            others: Vec::new(),
        }
    }
}

impl Parameters {
    /// Takes one parameter of a request.
    ///
    /// # Errors
    /// `invalid_request` for a wrong type and for sequences of requests.
    pub(crate) fn set(&mut self, name: &str, value: &ParameterValue) -> Result<(), Problem> {
        match (name, value) {
            // 0 is the default, then 1 goes first: the lanes of the mesh are below 1, 1 and above
            ("priority", ParameterValue::Integer(priority @ 0..)) => {
                self.priority = match priority {
                    0 => DEFAULT_PRIORITY,
                    urgent => i32::try_from(urgent - 1).unwrap_or(i32::MAX),
                };
            }
            ("timeout", ParameterValue::Integer(0)) => self.timeout = None,
            ("timeout", ParameterValue::Integer(us @ 1..)) => {
                self.timeout = Some(Duration::from_micros(us.unsigned_abs()))
            }
            ("priority" | "timeout", _) => {
                return Err(invalid(format!("parameters.{name}: expected an integer of at least 0")));
            }
            ("sequence_id", ParameterValue::Integer(0)) => {}
            ("sequence_id", ParameterValue::Text(id)) if id.is_empty() => {}
            ("sequence_start" | "sequence_end", ParameterValue::Boolean(false)) => {}
            ("sequence_id" | "sequence_start" | "sequence_end", _) => {
                return Err(invalid(format!(
                    "parameters.{name}: models here keep no state between the requests of a sequence"
                )));
            }
            ("binary_data_output", ParameterValue::Boolean(binary)) => self.binary_output = *binary,
            ("triton_enable_empty_final_response", ParameterValue::Boolean(wanted)) => self.final_response = *wanted,
            _ => self.others.push((name.to_owned(), value.clone())),
        }
        Ok(())
    }

    /// The parameters that the signature of the model has (`known`).
    pub(crate) fn of_model(&self, known: &[String]) -> BTreeMap<String, forebay_contract::Value> {
        let mut given = BTreeMap::new();
        for (name, value) in self.others.iter().filter(|(name, _)| known.contains(name)) {
            let value = match value {
                ParameterValue::Boolean(value) => forebay_contract::Value::boolean(*value),
                ParameterValue::Integer(value) => forebay_contract::Value::integer(*value),
                ParameterValue::Float(value) => forebay_contract::Value::float(*value),
                ParameterValue::Text(value) => forebay_contract::Value::text(value),
            };
            given.insert(name.clone(), value);
        }
        given
    }
}

/// The elements of an input whose `content_type` says that its texts are base64, decoded; as they are for other types.
///
/// # Errors
/// `invalid_features` for an element that is no base64 of UTF-8.
pub(crate) fn decode_content(
    elements: Collected,
    content_type: Option<&str>,
    datatype: Datatype,
    name: &str,
) -> Result<Collected, Problem> {
    if content_type != Some("base64") || datatype != Datatype::Bytes {
        return Ok(elements);
    }
    let decode = |at: usize| match elements.value(at) {
        Value::Text(text) => {
            let bytes = BASE64_STANDARD.decode(text.as_bytes()).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let wrong = || unsuitable(format!("input '{name}': element {at} is not the base64 of a text in UTF-8"));
            Ok(Value::Text(text.ok_or_else(wrong)?.into()))
        }
        other => Ok(other),
    };
    (0..elements.len()).map(decode).collect()
}

/// The number of elements of a tensor.
///
/// # Errors
/// `invalid_request` for negative sizes and for products that overflow.
pub(crate) fn shape_of(name: &str, sizes: &[i64]) -> Result<(Vec<usize>, usize), Problem> {
    let mut shape = Vec::with_capacity(sizes.len());
    let mut elements = 1_usize;
    for size in sizes {
        let size = usize::try_from(*size)
            .map_err(|_| invalid(format!("input '{name}': shape {sizes:?} has a negative size")))?;
        elements = elements
            .checked_mul(size)
            .filter(|elements| isize::try_from(*elements).is_ok())
            .ok_or_else(|| invalid(format!("input '{name}': shape {sizes:?} has too many elements")))?;
        shape.push(size);
    }
    if shape.is_empty() {
        return Err(invalid(format!("input '{name}': the shape is empty")));
    }
    Ok((shape, elements))
}

impl InputTensor {
    /// A tensor whose elements are as many as its shape says.
    ///
    /// # Errors
    /// `invalid_features` if they are not.
    pub(crate) fn new(name: String, datatype: Datatype, sizes: &[i64], elements: Collected) -> Result<Self, Problem> {
        let (shape, count) = shape_of(&name, sizes)?;
        if elements.len() != count {
            let given = elements.len();
            return Err(unsuitable(format!(
                "input '{name}': shape {shape:?} has {count} elements, but {given} were sent"
            )));
        }
        Ok(Self { name, datatype, shape, elements })
    }

    /// The tensor with values of its datatype, for values that came as JSON.
    ///
    /// # Errors
    /// `invalid_features`, with the index of the first value that is wrong.
    pub(crate) fn checked(self) -> Result<Self, Problem> {
        let elements = self.elements.checked(self.datatype, &self.name)?;
        Ok(Self { elements, ..self })
    }
}

/// The datatype of a tensor by its name.
///
/// # Errors
/// `invalid_request` for a name that the protocol does not have.
pub(crate) fn datatype_of(tensor: &str, name: &str) -> Result<Datatype, Problem> {
    Datatype::parse(name).ok_or_else(|| {
        let known = Datatype::ALL.map(Datatype::name).join(", ");
        invalid(format!("input '{tensor}': unknown datatype '{}', expected one of {known}", excerpt(name)))
    })
}

/// The start of a client's text, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    let mut start: String = text.chars().take(40).map(|it| if it.is_control() { '\u{fffd}' } else { it }).collect();
    if text.chars().nth(40).is_some() {
        start.push_str("...");
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_model_are_passed_on_and_others_ignored() {
        let mut parameters = Parameters::default();
        for (name, value) in [
            ("threshold", ParameterValue::Float(0.5)),
            ("top_k", ParameterValue::Integer(3)),
            ("headers", ParameterValue::Text("x".to_owned())),
            ("priority", ParameterValue::Integer(1)),
        ] {
            parameters.set(name, &value).unwrap();
        }
        let given = parameters.of_model(&["threshold", "top_k", "mode"].map(str::to_owned));
        let expected = [
            ("threshold".to_owned(), forebay_contract::Value::float(0.5)),
            ("top_k".to_owned(), forebay_contract::Value::integer(3)),
        ];
        assert_eq!((given, parameters.priority), (BTreeMap::from(expected), 0));
        assert!(parameters.of_model(&[]).is_empty());
    }

    #[test]
    fn shapes_are_bounded() {
        assert_eq!(shape_of("x", &[2, 3]).unwrap(), (vec![2, 3], 6));
        assert_eq!(shape_of("x", &[0, 3]).unwrap().1, 0);
        for wrong in [&[-1, 3][..], &[i64::MAX, 3], &[1 << 32, 1 << 32], &[]] {
            assert!(shape_of("x", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parameters_have_their_meaning() {
        use ParameterValue::{Boolean, Integer, Text};
        let mut parameters = Parameters::default();
        parameters.set("anything", &Text("goes".into())).unwrap();
        let unchanged = Parameters { others: parameters.others.clone(), ..Parameters::default() };
        assert_eq!(parameters, unchanged);
        for (given, meant) in [(0, DEFAULT_PRIORITY), (1, 0), (2, 1), (3, 2), (i64::MAX, i32::MAX)] {
            parameters.set("priority", &Integer(given)).unwrap();
            assert_eq!(parameters.priority, meant);
        }
        parameters.set("timeout", &Integer(2_500)).unwrap();
        assert_eq!(parameters.timeout, Some(Duration::from_micros(2_500)));
        for (name, value) in [("sequence_id", Integer(0)), ("sequence_start", Boolean(false))] {
            parameters.set(name, &value).unwrap();
        }
        for (name, value) in [
            ("sequence_id", Integer(7)),
            ("sequence_start", Boolean(true)),
            ("priority", Integer(-1)),
            ("timeout", Text("soon".into())),
        ] {
            assert!(parameters.set(name, &value).is_err(), "{name}");
        }
    }
}
