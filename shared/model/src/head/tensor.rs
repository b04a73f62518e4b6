//! From rows to burn tensors and back.

use std::sync::LazyLock;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::ModelError;
use crate::matrix::Matrix;

/// The CPU backend; one value for the process, so that a call does not look it up.
static DEVICE: LazyLock<Device> = LazyLock::new(Device::flex);

/// Runs `program` on the rows as a tensor of `dtype` (f64, else f32); gives its values as f64.
pub(super) fn run(
    m: Matrix,
    dtype: DType,
    program: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Result<Vec<f64>, ModelError> {
    let shape = [m.rows(), m.width];
    let data = match dtype {
        DType::F64 => TensorData::new(m.data, shape),
        _ => TensorData::new(m.data.iter().map(|v| *v as f32).collect::<Vec<_>>(), shape),
    };
    let out = program(Tensor::from_data(data, (&*DEVICE, dtype)));
    let failed = |e: &dyn std::fmt::Display| ModelError::Execution(e.to_string());
    let data = out.try_into_data().map_err(|e| failed(&e))?;
    match data.dtype() {
        DType::F64 => data.try_into_vec().map_err(|e| failed(&e)),
        _ => {
            let single: Vec<f32> = data.try_into_vec().map_err(|e| failed(&e))?;
            Ok(single.into_iter().map(f64::from).collect())
        }
    }
}
