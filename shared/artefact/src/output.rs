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

    /// What the answers of a version hold when a request does not say: what its tag says, else its `own` output. A blank
    /// tag says nothing.
    ///
    /// # Errors
    /// A tag that is no output.
    pub fn of_tag(tag: Option<&str>, own: Result<Self, UnknownOutput>) -> Result<Self, UnknownOutput> {
        tag.map(str::trim).filter(|tag| !tag.is_empty()).map_or(own, str::parse)
    }

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

/// The names, separated by commas.
impl fmt::Display for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Output::ALL.into_iter().filter(|output| self.has(*output)).map(Output::name);
        f.write_str(&names.collect::<Vec<_>>().join(", "))
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
        assert_eq!(outputs.to_string(), "predict, decision_function");
    }

    #[test]
    fn the_tag_comes_before_the_version_s_own_output() {
        let of = |tag| Output::of_tag(tag, Ok(Output::DecisionFunction));
        assert_eq!(of(Some(" predict_proba ")), Ok(Output::PredictProba));
        assert_eq!((of(None), of(Some(" "))), (Ok(Output::DecisionFunction), Ok(Output::DecisionFunction)));
        assert_eq!(of(Some("probs")), Err(UnknownOutput("probs".to_owned())));
    }
}
