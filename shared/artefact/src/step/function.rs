//! Functions of single values: FunctionTransformer with one of NumPy's functions, Binarizer.

use super::{Missing, Transform};
use crate::Frame;
use crate::matrix::Matrix;
use crate::{RowRefusal, Value};

/// A function of one value. The list is fixed; no code of a file is run.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    name: &'static str,
    of: fn(f64) -> f64,
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Rounds half to even, as NumPy does.
fn rint(x: f64) -> f64 {
    x.round_ties_even()
}

fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else if x == 0.0 {
        0.0
    } else {
        x
    }
}

fn nan_to_num(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x.clamp(f64::MIN, f64::MAX) }
}

/// The logistic function, which is the inverse of `logit`.
fn expit(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// NumPy's functions of one number by name, with those of SciPy that are used for targets.
const FUNCTIONS: &[Function] = &[
    Function { name: "log", of: f64::ln },
    Function { name: "log1p", of: f64::ln_1p },
    Function { name: "log2", of: f64::log2 },
    Function { name: "log10", of: f64::log10 },
    Function { name: "exp", of: f64::exp },
    Function { name: "expm1", of: f64::exp_m1 },
    Function { name: "exp2", of: f64::exp2 },
    Function { name: "sqrt", of: f64::sqrt },
    Function { name: "cbrt", of: f64::cbrt },
    Function { name: "square", of: |x| x * x },
    Function { name: "absolute", of: f64::abs },
    Function { name: "abs", of: f64::abs },
    Function { name: "fabs", of: f64::abs },
    Function { name: "sign", of: sign },
    Function { name: "negative", of: |x| -x },
    Function { name: "positive", of: |x| x },
    Function { name: "reciprocal", of: |x| 1.0 / x },
    Function { name: "sin", of: f64::sin },
    Function { name: "cos", of: f64::cos },
    Function { name: "tan", of: f64::tan },
    Function { name: "arcsin", of: f64::asin },
    Function { name: "arccos", of: f64::acos },
    Function { name: "arctan", of: f64::atan },
    Function { name: "asin", of: f64::asin },
    Function { name: "acos", of: f64::acos },
    Function { name: "atan", of: f64::atan },
    Function { name: "sinh", of: f64::sinh },
    Function { name: "cosh", of: f64::cosh },
    Function { name: "tanh", of: f64::tanh },
    Function { name: "arcsinh", of: f64::asinh },
    Function { name: "arccosh", of: f64::acosh },
    Function { name: "arctanh", of: f64::atanh },
    Function { name: "asinh", of: f64::asinh },
    Function { name: "acosh", of: f64::acosh },
    Function { name: "atanh", of: f64::atanh },
    Function { name: "deg2rad", of: f64::to_radians },
    Function { name: "radians", of: f64::to_radians },
    Function { name: "rad2deg", of: f64::to_degrees },
    Function { name: "degrees", of: f64::to_degrees },
    Function { name: "floor", of: f64::floor },
    Function { name: "ceil", of: f64::ceil },
    Function { name: "trunc", of: f64::trunc },
    Function { name: "fix", of: f64::trunc },
    Function { name: "rint", of: rint },
    Function { name: "round", of: rint },
    Function { name: "around", of: rint },
    Function { name: "isnan", of: |x| truth(x.is_nan()) },
    Function { name: "isinf", of: |x| truth(x.is_infinite()) },
    Function { name: "isfinite", of: |x| truth(x.is_finite()) },
    Function { name: "signbit", of: |x| truth(x.is_sign_negative()) },
    Function { name: "logical_not", of: |x| truth(x == 0.0) },
    Function { name: "nan_to_num", of: nan_to_num },
    Function { name: "expit", of: expit },
    Function { name: "logit", of: |x| (x / (1.0 - x)).ln() },
];

impl Function {
    /// The function of a class path such as `numpy.log1p`; `None` when it is none of those on the list.
    pub fn named(path: &str) -> Option<Self> {
        let (module, name) = path.rsplit_once('.')?;
        let known = match module.split('.').next()? {
            "numpy" => !matches!(name, "expit" | "logit"),
            "scipy" => matches!(name, "expit" | "logit"),
            _ => false,
        };
        FUNCTIONS.iter().find(|f| known && f.name == name).copied()
    }

    /// Whether a finite number may have a value that is not finite.
    fn is_partial(self) -> bool {
        const PARTIAL: &[&str] = &[
            "log",
            "log1p",
            "log2",
            "log10",
            "exp",
            "expm1",
            "exp2",
            "sqrt",
            "square",
            "reciprocal",
            "arcsin",
            "arccos",
            "asin",
            "acos",
            "sinh",
            "cosh",
            "arccosh",
            "acosh",
            "arctanh",
            "atanh",
            "rad2deg",
            "degrees",
            "logit",
        ];
        PARTIAL.contains(&self.name)
    }

    /// The value of the function.
    pub fn of(self, x: f64) -> f64 {
        (self.of)(x)
    }
}

/// Applies one function to every value.
#[derive(Debug, Clone)]
pub struct EachValue {
    pub rule: Rule,
    pub width: usize,
    pub missing: Missing,
}

/// What happens to a value.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    Function(Function),
    /// 1 above the threshold, otherwise 0: Binarizer.
    Above(f64),
    /// NumPy's `clip`.
    Clip(f64, f64),
}

impl Rule {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Function(function) => function.of(x),
            Self::Above(threshold) => truth(x > threshold),
            Self::Clip(low, high) if !x.is_nan() => x.max(low).min(high),
            Self::Clip(..) => x,
        }
    }
}

impl Transform for EachValue {
    fn width(&self) -> usize {
        self.width
    }

    fn name(&self) -> String {
        match self.rule {
            Rule::Function(function) => format!("Function({})", function.name),
            Rule::Above(threshold) => format!("Binarize({threshold})"),
            Rule::Clip(low, high) => format!("Clip({low}, {high})"),
        }
    }

    fn missing(&self) -> Missing {
        self.missing
    }

    fn is_partial(&self) -> bool {
        matches!(self.rule, Rule::Function(function) if function.is_partial())
    }

    fn sample(&self) -> Vec<Option<Value>> {
        let Rule::Function(function) = self.rule else { return Vec::new() };
        let defined = [0.0, 0.5, 1.0].into_iter().find(|x| function.of(*x).is_finite());
        if function.is_partial() { vec![defined.map(Value::from); self.width] } else { Vec::new() }
    }

    fn source(&self, column: usize) -> Option<usize> {
        Some(column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.data.iter_mut().for_each(|x| *x = self.rule.of(*x));
        Ok(())
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        match frame {
            Frame::Sparse(mut sparse) if self.rule.of(0.0) == 0.0 => {
                sparse.values.iter_mut().for_each(|x| *x = self.rule.of(*x));
                if matches!(self.rule, Rule::Above(_)) {
                    sparse.drop_zeros();
                }
                Ok(Frame::Sparse(sparse))
            }
            frame => {
                let mut m = frame.into_numbers()?;
                self.apply(&mut m)?;
                Ok(Frame::Numbers(m))
            }
        }
    }

    fn sparse_after(&self, sparse: bool) -> bool {
        sparse
    }
}
