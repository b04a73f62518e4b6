//! The predictions of a model: numbers, and for classifiers labels and probabilities.

use std::sync::Arc;

use crate::Label;

/// The prediction of one row of a model with one output.
#[derive(Debug, Clone, PartialEq)]
pub struct RowScore {
    /// Regression: the prediction. Classification: the label if labels are numbers, otherwise the class index.
    pub value: f64,
    /// Classification: the predicted class.
    pub label: Option<Label>,
    /// Classification: one per class, in the order of `Signature::labels`; empty if the model has no probabilities.
    pub probabilities: Vec<f64>,
}

/// The predictions of a batch. Regression fills only `values`, so that a row costs no allocation.
#[derive(Debug, Clone)]
pub struct Scores {
    /// Row-major `len x outputs`; see [`RowScore::value`].
    pub values: Vec<f64>,
    /// The number of values in a row's prediction.
    pub outputs: usize,
    /// The class indices, as `values`; empty for regression.
    pub labels: Vec<u32>,
    /// Row-major, for each row the probabilities of each output's classes, or only of the second one of each
    /// ([`Scores::of_present`]); empty if the model has no probabilities.
    pub probabilities: Vec<f64>,
    /// Row-major, the numbers of `decision_function` or `score_samples`; empty unless they were asked for.
    pub decision: Vec<f64>,
    classes: Classes,
    /// Whether each output has one probability, that of its second class.
    present: bool,
}

/// The labels of the classes.
#[derive(Debug, Clone, Default)]
enum Classes {
    #[default]
    None,
    /// The classes of the only output.
    One(Arc<[Label]>),
    /// The classes of each output.
    Each(Arc<[Arc<[Label]>]>),
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            outputs: 1,
            labels: Vec::new(),
            probabilities: Vec::new(),
            decision: Vec::new(),
            classes: Classes::None,
            present: false,
        }
    }
}

impl Scores {
    /// The predictions of a regressor, one per row.
    pub fn regression(values: Vec<f64>) -> Self {
        Self { values, ..Self::default() }
    }

    /// The predictions of a regressor with several outputs, row-major `len x outputs`.
    pub fn several(outputs: usize, values: Vec<f64>) -> Self {
        debug_assert!(outputs > 0 && values.len().is_multiple_of(outputs));
        Self { values, outputs, ..Self::default() }
    }

    /// The predictions of a classifier.
    ///
    /// `labels[i]` is an index into `classes`; `probabilities` is row-major `len x classes.len()`, or empty.
    /// If all classes are numbers, the number is the row's value, as in scikit-learn's `predict`.
    pub fn classification(classes: Arc<[Label]>, labels: Vec<u32>, probabilities: Vec<f64>) -> Self {
        let numbers = classes.iter().all(|class| class.number().is_some());
        let values = labels.iter().map(|&label| value(&classes, numbers, label)).collect();
        Self { values, labels, probabilities, classes: Classes::One(classes), ..Self::default() }
    }

    /// The predictions of a classifier with several outputs, each with classes of its own.
    ///
    /// `labels` is row-major `len x classes.len()`, with indices into the classes of the output; `probabilities` has for
    /// each row the probabilities of the first output's classes, then the second's, and so on, or is empty.
    pub fn multi_label(classes: Arc<[Arc<[Label]>]>, labels: Vec<u32>, probabilities: Vec<f64>) -> Self {
        debug_assert!(!classes.is_empty() && labels.len().is_multiple_of(classes.len()));
        let numbers: Vec<bool> = classes.iter().map(|of| of.iter().all(|class| class.number().is_some())).collect();
        let of = |(at, &label): (usize, &u32)| {
            let output = at % classes.len();
            value(&classes[output], numbers[output], label)
        };
        let values = labels.iter().enumerate().map(of).collect();
        let outputs = classes.len();
        Self { values, outputs, labels, probabilities, classes: Classes::Each(classes), ..Self::default() }
    }

    /// Keeps of each output's two probabilities the second: that the row has the label. It is what `predict_proba` of
    /// classifiers of several labels answers.
    pub fn of_present(mut self) -> Self {
        self.probabilities = self.probabilities.chunks_exact(2).map(|pair| pair[1]).collect();
        self.present = true;
        self
    }

    /// Adds the numbers of `decision_function` or `score_samples`, row-major, as many in each row.
    pub fn with_decision(mut self, decision: Vec<f64>) -> Self {
        self.decision = decision;
        self
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        if self.outputs == 1 { self.values.len() } else { self.values.len() / self.outputs.max(1) }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The values of row `i`, one for each output.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.outputs..(i + 1) * self.outputs]
    }

    /// The predicted class of row `i`, if the model is a classifier; of the first output if there are several.
    pub fn label(&self, i: usize) -> Option<&Label> {
        self.label_of(i, 0)
    }

    /// The predicted class of row `i` for output `output`, if the model is a classifier.
    pub fn label_of(&self, i: usize, output: usize) -> Option<&Label> {
        self.classes(output).get(*self.labels.get(i * self.outputs + output)? as usize)
    }

    /// The labels of the classes of `output`, in the order of its probabilities; empty for regression.
    pub fn classes(&self, output: usize) -> &[Label] {
        match &self.classes {
            Classes::None => &[],
            Classes::One(classes) => classes,
            Classes::Each(outputs) => outputs.get(output).map_or(&[], |classes| classes),
        }
    }

    /// The classes that the probabilities of a row are of, in order.
    pub fn probability_classes(&self) -> impl Iterator<Item = &Label> {
        let skipped = usize::from(self.present);
        (0..self.outputs).flat_map(move |output| self.classes(output).iter().skip(skipped))
    }

    /// The class probabilities of row `i`, those of several outputs one after the other; empty if the model has none.
    pub fn probabilities(&self, i: usize) -> &[f64] {
        let width = match &self.classes {
            Classes::None => 0,
            Classes::Each(outputs) if self.present => outputs.len(),
            Classes::One(classes) => classes.len(),
            Classes::Each(outputs) => outputs.iter().map(|classes| classes.len()).sum(),
        };
        self.probabilities.get(i * width..(i + 1) * width).unwrap_or(&[])
    }

    /// The numbers of `decision_function` or `score_samples` of row `i`; empty unless they were asked for.
    pub fn decision(&self, i: usize) -> &[f64] {
        let width = self.decision.len().checked_div(self.len()).unwrap_or(0);
        self.decision.get(i * width..(i + 1) * width).unwrap_or(&[])
    }

    /// The prediction of row `i` of a model with one output.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn score(&self, i: usize) -> RowScore {
        RowScore { value: self.row(i)[0], label: self.label(i).cloned(), probabilities: self.probabilities(i).to_vec() }
    }
}

/// The value of a class: its number if all are numbers, else its index.
fn value(classes: &[Label], numbers: bool, label: u32) -> f64 {
    let number = if numbers { classes.get(label as usize).and_then(Label::number) } else { None };
    number.unwrap_or(f64::from(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_a_label_and_a_value() {
        let numbers: Arc<[Label]> = [Label::Integer(10), Label::Integer(20)].into();
        let scores = Scores::classification(numbers, vec![1, 0], vec![0.25, 0.75, 0.5, 0.5]);
        assert_eq!((scores.len(), scores.values.as_slice()), (2, [20.0, 10.0].as_slice()));
        assert_eq!((scores.label(0), scores.probabilities(1)), (Some(&Label::Integer(20)), [0.5, 0.5].as_slice()));
        let texts: Arc<[Label]> = ["ham".into(), Label::Integer(7)].into();
        let scores = Scores::classification(texts, vec![1], Vec::new());
        assert_eq!(scores.values, [1.0], "an index, because not every label is a number");
        assert_eq!(scores.score(0), RowScore { value: 1.0, label: Some(7.into()), probabilities: Vec::new() });
    }

    #[test]
    fn several_outputs_stand_row_by_row() {
        let scores = Scores::several(2, vec![1.0, 2.0, 3.0, 4.0]).with_decision(vec![0.5; 6]);
        assert_eq!((scores.len(), scores.row(1), scores.label(0)), (2, [3.0, 4.0].as_slice(), None));
        assert_eq!(scores.decision(1), [0.5; 3]);
        let classes: Arc<[Arc<[Label]>]> =
            [[Label::Integer(0), Label::Integer(1)].into(), ["low".into(), "middle".into(), "high".into()].into()]
                .into();
        let probabilities = vec![0.1, 0.9, 0.2, 0.3, 0.5, 0.6, 0.4, 0.0, 1.0, 0.0];
        let scores = Scores::multi_label(classes, vec![1, 2, 0, 1], probabilities);
        assert_eq!(scores.row(0), [1.0, 2.0]);
        assert_eq!((scores.label_of(0, 1), scores.label_of(1, 0)), (Some(&"high".into()), Some(&0.into())));
        assert_eq!(scores.probabilities(1), [0.6, 0.4, 0.0, 1.0, 0.0]);
        assert_eq!((scores.classes(1).len(), scores.classes(2).len()), (3, 0));
        let labels: Arc<[Arc<[Label]>]> = vec![[Label::Integer(0), Label::Integer(1)].into(); 2].into();
        let present = Scores::multi_label(labels, vec![1, 0], vec![0.1, 0.9, 0.75, 0.25]).of_present();
        assert_eq!((present.probabilities(0), present.row(0)), ([0.9, 0.25].as_slice(), [1.0, 0.0].as_slice()));
        assert_eq!(present.probability_classes().cloned().collect::<Vec<_>>(), [Label::Integer(1), Label::Integer(1)]);
        assert!(Scores::default().is_empty() && Scores::default().decision(0).is_empty());
    }
}
