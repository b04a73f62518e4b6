//! Multi-layer perceptrons, computed in f64 as scikit-learn does.

use std::sync::Arc;

use burn::tensor::DType;

use super::{Estimator, forest};
use crate::artefact::View;
use crate::head::Head;
use crate::mlmodel::MAX_WIDTH;
use crate::net::{Activation, Dense, NetBuilder};
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label};

/// A perceptron. Its output function becomes the link of the output transform.
pub(super) fn perceptron(view: &View<'_>, width: usize, classifies: bool) -> Result<Estimator, Fault> {
    let activation = view.attr("activation")?;
    let hidden = match activation.word()? {
        "identity" => None,
        name => Some(Activation::named(name).ok_or_else(|| activation.fault(format!("{name:?} is not supported")))?),
    };
    let (coefs, biases) = (view.attr("coefs_")?.items()?, view.attr("intercepts_")?.items()?);
    if coefs.len() != biases.len() {
        return Err(view.fault(format!("{} weights and {} intercepts", coefs.len(), biases.len())));
    }
    let mut net = NetBuilder::new(width, DType::F64);
    for (i, (coef, bias)) in coefs.iter().zip(&biases).enumerate() {
        if let (Some(hidden), 1..) = (hidden, i) {
            net.activation(hidden);
        }
        let [inputs, outputs] = coef.array()?.shape[..] else { return Err(coef.fault("is not a matrix")) };
        if inputs.max(outputs) > MAX_WIDTH {
            return Err(coef.fault(format!("is {inputs} x {outputs}")));
        }
        let dense = Dense { inputs, outputs, weight: coef.finite()?, bias: bias.vector(outputs)? };
        net.linear(dense).map_err(|e| coef.fault(e))?;
    }
    let net = net.finish().map_err(|e| view.fault(e))?;
    let output = view.attr("out_activation_")?;
    let transform = match (output.text()?, classifies) {
        ("identity", false) => super::numbers(net.outputs()),
        ("exp", false) if net.outputs() == 1 => OutputTransform::Exp,
        ("logistic", true) if net.outputs() > 1 => {
            let labels: Arc<[Label]> = [Label::Integer(0), Label::Integer(1)].into();
            OutputTransform::Present(vec![(labels, Link::Logit { zero_wins: false }); net.outputs()])
        }
        ("logistic", true) => {
            OutputTransform::Classes { labels: forest::labels(view)?, link: Link::Logit { zero_wins: false } }
        }
        ("softmax", true) => OutputTransform::Classes { labels: forest::labels(view)?, link: Link::Softmax },
        (name, _) => return Err(output.fault(format!("{name:?} is not supported"))),
    };
    Ok(Estimator { head: Head::Net(net), transform, takes_missing: false })
}
