//! Reads the kernel that an estimator or a feature map was fitted with.

use crate::Fault;
use crate::python::View;
use crate::step::Kernel;

/// The kernel at the parameters `kernel`, `gamma`, `coef0` and `degree`. `gamma` overrides the parameter of that name.
///
/// # Errors
/// A [`Fault`] that names a kernel that is not supported, such as a function.
pub fn read(view: &View<'_>, width: usize, gamma: Option<f64>) -> Result<Kernel, Fault> {
    let given = |name: &str| {
        let in_params = view.opt("kernel_params").and_then(|p| p.opt(name));
        view.opt(name).or(in_params).map(|v| v.number()).transpose()
    };
    let own = match gamma {
        Some(gamma) => gamma,
        None => given("gamma")?.unwrap_or(1.0 / width as f64),
    };
    let coef0 = || Ok::<f64, Fault>(given("coef0")?.unwrap_or(1.0));
    let kernel = view.attr("kernel")?;
    Ok(match kernel.word()? {
        "linear" => Kernel::Linear,
        "rbf" => Kernel::Rbf { gamma: own },
        "laplacian" => Kernel::Laplacian { gamma: own },
        "poly" | "polynomial" => {
            Kernel::Polynomial { gamma: own, coef0: coef0()?, degree: given("degree")?.unwrap_or(3.0) }
        }
        "sigmoid" => Kernel::Sigmoid { gamma: own, coef0: coef0()? },
        "cosine" => Kernel::Cosine,
        "chi2" => Kernel::Chi2 { gamma: gamma.or(given("gamma")?).unwrap_or(1.0) },
        "additive_chi2" => Kernel::AdditiveChi2,
        other => return Err(kernel.fault(format!("kernel {other:?} is not supported"))),
    })
}
