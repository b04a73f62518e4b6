//! The loss that a CatBoost model was trained with, its classes, and so what its outputs are.

use crate::Label;
use crate::booster::{Meaning, numbers};
use crate::document::Value;
use crate::output_transform::{Link, OutputTransform};

/// What the file says of the training.
#[derive(Debug, Default)]
pub(super) struct Info {
    /// The loss; empty if the file does not say.
    pub loss: String,
    /// The labels of all classes.
    labels: Vec<Label>,
    /// The class of each output; empty if they are the first classes.
    order: Vec<usize>,
    /// The log-odds above which the second of two classes is chosen.
    border: f64,
}

/// What happens to the raw outputs of the trees.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finish {
    Raw,
    Exp,
    /// A mean, and the logarithm of a standard deviation that is answered as a variance.
    Uncertainty,
    /// Outputs are placed among this many classes; those of other classes are minus infinity.
    Spread(Vec<usize>, usize),
}

impl Info {
    /// Reads the parameters of the training, those of the classes, and the probability of the border.
    pub(super) fn read(
        params: Option<&Value<'_>>,
        classes: Option<&Value<'_>>,
        threshold: Option<f64>,
    ) -> Result<Self, String> {
        let loss = params.and_then(|p| p.path(&["loss_function", "type"])).and_then(|l| l.text().ok());
        let mut info = Self { loss: loss.unwrap_or_default().to_owned(), ..Self::default() };
        if let Some(p) = threshold {
            if !(p > 0.0 && p < 1.0) {
                return Err(format!("binclass_probability_threshold is {p}"));
            }
            info.border = -(1.0 / p - 1.0).ln();
        }
        let Some(classes) = classes else { return Ok(info) };
        let integers = classes.get("class_label_type").and_then(|t| t.text().ok()) != Some("Float");
        let count = classes.get("classes_count").map_or(Ok(0), |c| c.count(super::MAX_OUTPUTS))?;
        info.labels = classes.get("class_names").map_or(Ok(Vec::new()), |names| labels(names, integers))?;
        // classes that the training data did not have
        info.labels.extend((info.labels.len()..count).map(|class| Label::Integer(class as i64)));
        if let Some(order) = classes.get("class_to_label") {
            let order: Vec<f64> = order.numbers()?;
            if info.labels.is_empty() {
                let label = |v: &f64| if integers { Label::Integer(*v as i64) } else { Label::Float(*v) };
                info.labels = order.iter().map(label).collect();
            } else {
                info.order = order.iter().map(|class| *class as usize).collect();
            }
        }
        Ok(info)
    }

    /// What the outputs of `dimension` numbers become.
    pub(super) fn transform(&self, dimension: usize, class: Option<&str>) -> Result<(Finish, OutputTransform), String> {
        let of_loss = if self.is_classification() { Meaning::Classifier } else { Meaning::Regressor };
        match class.map_or(of_loss, Meaning::of_class) {
            Meaning::Booster => Ok((Finish::Raw, numbers(dimension))),
            Meaning::Regressor => Ok(match self.loss.as_str() {
                "Poisson" | "Tweedie" => (Finish::Exp, numbers(dimension)),
                "RMSEWithUncertainty" if dimension == 2 => (Finish::Uncertainty, numbers(2)),
                _ => (Finish::Raw, numbers(dimension)),
            }),
            Meaning::Classifier => self.classifier(dimension),
        }
    }

    fn is_classification(&self) -> bool {
        let losses = [
            "Logloss",
            "CrossEntropy",
            "Focal",
            "MultiClass",
            "MultiClassOneVsAll",
            "MultiLogloss",
            "MultiCrossEntropy",
        ];
        losses.contains(&self.loss.as_str())
    }

    fn classifier(&self, dimension: usize) -> Result<(Finish, OutputTransform), String> {
        if self.loss == "MultiLogloss" || self.loss == "MultiCrossEntropy" {
            // several labels a row, each there or not
            let labels = [Label::Integer(0), Label::Integer(1)];
            let each = vec![(labels.into(), Link::LogitAbove(0.0)); dimension];
            return Ok((Finish::Raw, OutputTransform::Present(each)));
        }
        let count = if dimension == 1 { 2 } else { dimension };
        let labels =
            if self.labels.is_empty() { (0..count as i64).map(Label::Integer).collect() } else { self.labels.clone() };
        if labels.len() < count || (dimension == 1 && labels.len() != 2) {
            return Err(format!("{} labels for {count} classes", labels.len()));
        }
        let link = match (dimension, self.loss.as_str()) {
            (1, _) => Link::LogitAbove(self.border),
            (_, "MultiClassOneVsAll") => Link::Sigmoids,
            _ => Link::Softmax,
        };
        let straight = self.order.iter().enumerate().all(|(i, class)| i == *class) && labels.len() == count;
        let finish = if dimension == 1 || straight {
            Finish::Raw
        } else {
            let order: Vec<usize> = if self.order.is_empty() { (0..count).collect() } else { self.order.clone() };
            if order.len() != dimension || order.iter().any(|class| *class >= labels.len()) {
                return Err("class_to_label does not match the classes".to_owned());
            }
            Finish::Spread(order, labels.len())
        };
        Ok((finish, OutputTransform::Classes { labels: labels.into(), link }))
    }
}

impl Finish {
    /// The number of outputs that `dimension` numbers become.
    pub(super) fn outputs(&self, dimension: usize) -> usize {
        match self {
            Self::Spread(_, classes) => *classes,
            _ => dimension,
        }
    }

    /// Finishes raw outputs, row-major.
    pub(super) fn apply(&self, mut raw: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Raw => {}
            Self::Exp => raw.iter_mut().for_each(|v| *v = v.exp()),
            Self::Uncertainty => raw.chunks_exact_mut(2).for_each(|row| row[1] = (2.0 * row[1]).exp()),
            Self::Spread(order, classes) => {
                let mut out = vec![f64::NEG_INFINITY; raw.len() / order.len() * classes];
                for (row, out) in raw.chunks_exact(order.len()).zip(out.chunks_exact_mut(*classes)) {
                    order.iter().zip(row).for_each(|(class, v)| out[*class] = *v);
                }
                return out;
            }
        }
        raw
    }
}

/// Labels of one type.
fn labels(names: &Value<'_>, integers: bool) -> Result<Vec<Label>, String> {
    if let Value::List(items) = names {
        let label = |item: &Value<'_>| match item {
            Value::Text(text) => Ok(Label::Text((&**text).into())),
            Value::Bool(b) => Ok(Label::Boolean(*b)),
            _ => Err("class_names have something else than labels".to_owned()),
        };
        return items.iter().map(label).collect();
    }
    if let Value::Numbers(text) = names
        && text.contains("true") | text.contains("false")
    {
        return Ok(text.split(',').map(|t| Label::Boolean(t.trim() == "true")).collect());
    }
    Ok(if integers {
        names.numbers()?.into_iter().map(Label::Integer).collect()
    } else {
        names.numbers()?.into_iter().map(Label::Float).collect()
    })
}
