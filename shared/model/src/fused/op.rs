//! Fused layers as an operation of burn's flex backend.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};

use super::Fused;

/// Fused layers on a burn backend.
#[backend_extension(Flex)]
pub(crate) trait LayerOps: Backend {
    /// Rows `[n, width]` in, `[n, outputs]` out, both in the type that the layers were packed for.
    fn fused_layers(rows: FloatTensor<Self>, layers: Arc<Fused>) -> FloatTensor<Self>;
}

impl LayerOps for Flex {
    fn fused_layers(rows: FloatTensor<Self>, layers: Arc<Fused>) -> FloatTensor<Self> {
        let rows = rows.to_contiguous();
        let n = rows.shape()[0];
        let (taken, given) = (n * layers.width(), n * layers.outputs());
        let shape = Shape::new([n, layers.outputs()]);
        let data = match &*layers {
            Fused::Single(layers) => {
                let mut out = vec![0f32; given];
                layers.run(&rows.storage::<f32>()[..taken], &mut out);
                TensorData::new(out, shape)
            }
            Fused::Double(layers) => {
                let mut out = vec![0f64; given];
                layers.run(&rows.storage::<f64>()[..taken], &mut out);
                TensorData::new(out, shape)
            }
        };
        FloatTensor::<Self>::from_data(data)
    }
}

/// Runs `layers` over `rows`.
///
/// # Panics
/// When the type of the tensor is not that of the layers, or its backend does not have the operation; callers prevent
/// both.
pub(crate) fn fused_layers(rows: Tensor<2>, layers: Arc<Fused>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as LayerOps>::fused_layers(rows.into_dispatch(), layers))
}
