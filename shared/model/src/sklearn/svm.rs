//! Support vector regression (libsvm).

use super::Estimator;
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::kernel_machine::{Kernel, KernelMachine};
use crate::output_transform::OutputTransform;

/// SVR and NuSVR with one of libsvm's kernels.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let gamma = || view.attr("_gamma")?.number();
    let coef0 = || view.attr("coef0")?.number();
    let kernel_view = view.attr("kernel")?;
    let kernel = match kernel_view.text()? {
        "linear" => Kernel::Linear,
        "rbf" => Kernel::Rbf { gamma: gamma()? },
        "poly" => {
            let degree = view.attr("degree")?.count(64)? as i32;
            Kernel::Polynomial { gamma: gamma()?, coef0: coef0()?, degree }
        }
        "sigmoid" => Kernel::Sigmoid { gamma: gamma()?, coef0: coef0()? },
        other => return Err(kernel_view.fault(format!("kernel {other:?} is not supported"))),
    };
    let vectors = view.attr("support_vectors_")?.finite()?;
    let weights = view.attr("_dual_coef_")?.finite()?;
    let intercept = view.attr("_intercept_")?.vector(1)?[0];
    let machine = KernelMachine::new(kernel, width, vectors, weights, intercept).map_err(|e| view.fault(e))?;
    Ok(Estimator { head: Head::KernelMachine(machine), transform: OutputTransform::Number, takes_missing: false })
}
