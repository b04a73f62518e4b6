//! The forest as an operation of burn's flex backend, so that trees and nets run in one tensor program.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};

use super::{Forest, program};

/// Tree ensembles on a burn backend. For a backend without a kernel, implement the trait with an empty body and name
/// the backend in the attribute: it runs the tensor program.
#[backend_extension(Flex)]
pub(crate) trait TreeOps: Backend {
    /// f64 rows `[n, width]` in, f64 `[n, outputs]` out.
    fn tree_ensemble(rows: FloatTensor<Self>, forest: Arc<Forest>) -> FloatTensor<Self> {
        program::run::<Self>(rows, &forest)
    }
}

impl TreeOps for Flex {
    fn tree_ensemble(rows: FloatTensor<Self>, forest: Arc<Forest>) -> FloatTensor<Self> {
        let rows = rows.to_contiguous();
        let n = rows.shape()[0];
        let mut out = vec![0f64; n * forest.outputs()];
        forest.predict(rows.storage::<f64>(), &mut out);
        FloatTensor::<Self>::from_data(TensorData::new(out, Shape::new([n, forest.outputs()])))
    }
}

/// Runs `forest` over `rows`: f64 `[n, width]` to f64 `[n, outputs]`.
///
/// # Panics
/// When the tensor is not f64 or its backend does not have the operation; the plan prevents both.
pub(crate) fn tree_ensemble(rows: Tensor<2>, forest: Arc<Forest>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as TreeOps>::tree_ensemble(rows.into_dispatch(), forest))
}
