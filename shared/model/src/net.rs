//! Feed-forward networks over burn tensors, built at run time.

use std::sync::Arc;

use burn::tensor::activation::{gelu, leaky_relu, relu, sigmoid, silu, softmax, tanh};
use burn::tensor::module::linear;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::fused::{DenseLayer, Fused, fused_layers};

/// The most weights that all layers together may have.
const MAX_WEIGHTS: usize = 1 << 28;

/// One layer.
#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Linear(Box<Linear>),
    Activation(Activation),
}

/// `x W + b` with a weight of shape `[in, out]`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
}

/// Element-wise functions, and softmax, which runs along the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    LeakyRelu,
    Tanh,
    Sigmoid,
    Gelu,
    Silu,
    Softmax,
}

impl Activation {
    /// The function with this name in an architecture, in any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "relu" => Self::Relu,
            "leaky_relu" => Self::LeakyRelu,
            "tanh" => Self::Tanh,
            "sigmoid" | "logistic" => Self::Sigmoid,
            "gelu" => Self::Gelu,
            "silu" => Self::Silu,
            "softmax" => Self::Softmax,
            _ => return None,
        })
    }

    fn apply(self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Relu => relu(x),
            Self::LeakyRelu => leaky_relu(x, 0.01),
            Self::Tanh => tanh(x),
            Self::Sigmoid => sigmoid(x),
            Self::Gelu => gelu(x),
            Self::Silu => silu(x),
            Self::Softmax => softmax(x, 1),
        }
    }
}

/// A checked sequence of layers.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    layers: Vec<Layer>,
    width: usize,
    outputs: usize,
    dtype: DType,
    /// All layers in one pass, if that is possible here.
    fused: Option<Arc<Fused>>,
}

/// The weights of a linear layer, as read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    pub inputs: usize,
    pub outputs: usize,
    /// Row-major `[inputs, outputs]`.
    pub weight: Vec<f64>,
    /// One per output, or empty.
    pub bias: Vec<f64>,
}

/// Builds a [`Net`] layer by layer.
#[derive(Debug)]
pub(crate) struct NetBuilder {
    layers: Vec<Layer>,
    width: usize,
    outputs: usize,
    dtype: DType,
    device: Device,
    weights: usize,
    /// The layers so far, while all of them can be fused.
    fusible: Option<Vec<DenseLayer>>,
}

impl NetBuilder {
    /// A net for rows of `width` values that computes in `dtype` (f32 or f64).
    pub(crate) fn new(width: usize, dtype: DType) -> Self {
        Self {
            layers: Vec::new(),
            width,
            outputs: width,
            dtype,
            device: Device::flex(),
            weights: 0,
            fusible: Some(Vec::new()),
        }
    }

    /// Adds a linear layer.
    ///
    /// # Errors
    /// When the shape does not match the previous layer, or a weight is not finite.
    pub(crate) fn linear(&mut self, dense: Dense) -> Result<(), String> {
        let Dense { inputs, outputs, weight, bias } = dense;
        let weights = inputs.checked_mul(outputs).filter(|n| *n > 0 && *n <= MAX_WEIGHTS);
        if weights != Some(weight.len()) || !(bias.is_empty() || bias.len() == outputs) {
            return Err(format!("{} weights and {} biases for {inputs} to {outputs}", weight.len(), bias.len()));
        }
        self.weights += weight.len();
        if self.weights > MAX_WEIGHTS {
            return Err(format!("more than {MAX_WEIGHTS} weights"));
        }
        if inputs != self.outputs {
            return Err(format!("takes {inputs} values, the previous layer gives {}", self.outputs));
        }
        if let Some(bad) = weight.iter().chain(&bias).find(|v| !self.holds(**v)) {
            return Err(format!("weight {bad} is not finite"));
        }
        if let Some(fusible) = &mut self.fusible {
            fusible.push(DenseLayer { inputs, outputs, weight: weight.clone(), bias: bias.clone(), rectified: false });
        }
        let weight = Tensor::from_data(self.data(weight, &[inputs, outputs]), (&self.device, self.dtype));
        let bias =
            (!bias.is_empty()).then(|| Tensor::from_data(self.data(bias, &[outputs]), (&self.device, self.dtype)));
        self.layers.push(Layer::Linear(Box::new(Linear { weight, bias })));
        self.outputs = outputs;
        Ok(())
    }

    /// Adds an activation.
    pub(crate) fn activation(&mut self, activation: Activation) {
        match (activation, self.fusible.as_mut().and_then(|fusible| fusible.last_mut())) {
            (Activation::Relu, Some(layer)) => layer.rectified = true,
            _ => self.fusible = None,
        }
        self.layers.push(Layer::Activation(activation));
    }

    /// Finishes the net.
    ///
    /// # Errors
    /// When there is no linear layer.
    pub(crate) fn finish(self) -> Result<Net, String> {
        let Self { layers, width, outputs, dtype, fusible, .. } = self;
        if !layers.iter().any(|l| matches!(l, Layer::Linear(_))) {
            return Err("has no linear layer".to_owned());
        }
        let fused = fusible.and_then(|fusible| Fused::new(&fusible, dtype)).map(Arc::new);
        Ok(Net { layers, width, outputs, dtype, fused })
    }

    fn holds(&self, v: f64) -> bool {
        if self.dtype == DType::F64 { v.is_finite() } else { (v as f32).is_finite() }
    }

    fn data(&self, values: Vec<f64>, shape: &[usize]) -> TensorData {
        let shape = shape.to_vec();
        match self.dtype {
            DType::F64 => TensorData::new(values, shape),
            _ => TensorData::new(values.into_iter().map(|v| v as f32).collect::<Vec<_>>(), shape),
        }
    }
}

impl Net {
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The element type that the net computes in.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// `[n, width]` to `[n, outputs]`, both in `dtype()`.
    pub(crate) fn forward(&self, rows: Tensor<2>) -> Tensor<2> {
        if let Some(fused) = &self.fused {
            return fused_layers(rows, fused.clone());
        }
        self.layers.iter().fold(rows, |x, layer| match layer {
            Layer::Linear(of) => linear(x, of.weight.clone(), of.bias.clone()),
            Layer::Activation(activation) => activation.apply(x),
        })
    }

    /// The names of the layers.
    pub(crate) fn ops(&self) -> Vec<String> {
        let name = |layer: &Layer| match layer {
            Layer::Linear(of) => format!("Linear({}x{})", of.weight.dims()[0], of.weight.dims()[1]),
            Layer::Activation(activation) => format!("{activation:?}"),
        };
        self.layers.iter().map(name).collect()
    }
}
