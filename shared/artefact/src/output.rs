//! The outputs of a model that a request can choose, under scikit-learn's names.

use std::fmt;
use std::str::FromStr;

/// What the prediction of an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Output {
    /// A number, or the label of a class.
    #[default]
    Predict,
    /// The probability of each class.
    PredictProba,
    /// The scores from which a classifier or an outlier detector decides.
    DecisionFunction,
    /// The density or normality of a row.
    ScoreSamples,
}

/// A name that is no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an output; outputs are predict, predict_proba, decision_function and score_samples")]
pub struct UnknownOutput(pub String);

impl Output {
    /// All outputs.
    pub const ALL: [Self; 4] = [Self::Predict, Self::PredictProba, Self::DecisionFunction, Self::ScoreSamples];

    /// The name of the estimator's method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::PredictProba => "predict_proba",
            Self::DecisionFunction => "decision_function",
            Self::ScoreSamples => "score_samples",
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Output {
    type Err = UnknownOutput;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|output| output.name() == name).ok_or_else(|| UnknownOutput(name.to_owned()))
    }
}

/// The outputs that a model has besides `predict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    pub predict_proba: bool,
    pub decision_function: bool,
    pub score_samples: bool,
}

impl Outputs {
    /// Whether the model has `output`.
    pub fn has(self, output: Output) -> bool {
        match output {
            Output::Predict => true,
            Output::PredictProba => self.predict_proba,
            Output::DecisionFunction => self.decision_function,
            Output::ScoreSamples => self.score_samples,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_the_names_of_the_methods() {
        for output in Output::ALL {
            assert_eq!(output.name().parse(), Ok(output));
        }
        assert!("predict_log_proba".parse::<Output>().unwrap_err().to_string().contains("outputs are predict,"));
        let outputs = Outputs { decision_function: true, ..Outputs::default() };
        assert_eq!(Output::ALL.map(|output| outputs.has(output)), [true, false, true, false]);
    }
}
