//! How visitors refuse what they do not take.

use serde::de::Unexpected;

/// Refuses every type that a visitor does not take, naming the place.
macro_rules! refuse {
    (@one $seed:ident, $method:ident($type:ty), $show:expr) => {
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            let $seed = self;
            Err($seed.refused($show(value)))
        }
    };
    (scalars) => {
        refuse!(@one seed, visit_bool(bool), serde::de::Unexpected::Bool);
        refuse!(@one seed, visit_i64(i64), serde::de::Unexpected::Signed);
        refuse!(@one seed, visit_u64(u64), serde::de::Unexpected::Unsigned);
        refuse!(@one seed, visit_f64(f64), serde::de::Unexpected::Float);
        refuse!(texts);
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Err(self.refused(serde::de::Unexpected::Unit))
        }
    };
    (texts) => {
        fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
            let short = $crate::parse::watch::Short(value).to_string();
            Err(self.refused(serde::de::Unexpected::Str(&short)))
        }
    };
}
pub(super) use refuse;

/// How an error calls what it got.
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
