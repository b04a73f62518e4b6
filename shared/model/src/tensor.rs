//! Runs a tensor program over rows.

use std::sync::LazyLock;

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::ModelError;
use crate::matrix::Matrix;

/// The CPU backend. It is kept for the whole process, because looking it up costs time in every call.
static DEVICE: LazyLock<Device> = LazyLock::new(Device::flex);

/// Runs `program` over the rows as a tensor of `dtype`, which is f64 or else f32. Returns the result as f64.
pub(crate) fn run(
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
