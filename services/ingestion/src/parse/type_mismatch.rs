//! Errors for values of the wrong type.

use serde::de::Unexpected;

/// Implements the `visit_*` methods for the types that a visitor rejects, with an error that names the path.
macro_rules! type_mismatch {
    (@one $seed:ident, $method:ident($type:ty), $show:expr) => {
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            let $seed = self;
            Err($seed.mismatch($show(value)))
        }
    };
    (scalars) => {
        type_mismatch!(@one seed, visit_bool(bool), serde::de::Unexpected::Bool);
        type_mismatch!(@one seed, visit_i64(i64), serde::de::Unexpected::Signed);
        type_mismatch!(@one seed, visit_u64(u64), serde::de::Unexpected::Unsigned);
        type_mismatch!(@one seed, visit_f64(f64), serde::de::Unexpected::Float);
        type_mismatch!(texts);
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(self.mismatch(serde::de::Unexpected::Unit))
        }
    };
    (texts) => {
        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            let short = $crate::parse::error_context::Excerpt(value).to_string();
            Err(self.mismatch(serde::de::Unexpected::Str(&short)))
        }
    };
}
pub(super) use type_mismatch;

/// How an error message names the value that was found.
pub(super) fn name(got: Unexpected<'_>) -> String {
    match got {
        Unexpected::Bool(value) => format!("{value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the string {text:?}"),
        Unexpected::Unit => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}
