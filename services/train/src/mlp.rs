//! The net, trained by burn-train: Adam on mini-batches, weights decaying.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::AdamConfig;
use burn::optim::decay::WeightDecayConfig;
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::metric::LossMetric;
use burn::train::{InferenceStep, Interrupter, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep};
use forebay_model::Dense;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::loss_log::{EpochLoss, LossLog, QuietRenderer};
use crate::network::Network;
use crate::progress::TrainingProgress;
use crate::samples::Samples;
use crate::training_arguments::FittingArgs;

/// One row as the loader holds it.
#[derive(Clone, Debug)]
struct SampleRow {
    x: Vec<f32>,
    y: Vec<f32>,
}

/// `x` is `[rows, width]`, `y` `[rows, outputs]`.
#[derive(Clone, Debug)]
struct SampleBatch {
    x: Tensor<2>,
    y: Tensor<2>,
}

#[derive(Clone)]
struct Stack;

impl Batcher<SampleRow, SampleBatch> for Stack {
    fn batch(&self, rows: Vec<SampleRow>, device: &Device) -> SampleBatch {
        let stack = |pick: fn(&SampleRow) -> &Vec<f32>| {
            let width = rows.first().map_or(0, |r| pick(r).len());
            let values: Vec<f32> = rows.iter().flat_map(|r| pick(r).iter().copied()).collect();
            Tensor::from_data(TensorData::new(values, [rows.len(), width]), device)
        };
        SampleBatch { x: stack(|r| &r.x), y: stack(|r| &r.y) }
    }
}

/// Linear layers with relu between them.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
    classes: bool,
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(if i > 0 { relu(x) } else { x });
        }
        x
    }

    /// Mean squared error, or cross-entropy against one-hot rows.
    fn judge(&self, batch: SampleBatch) -> RegressionOutput {
        let output = self.forward(batch.x);
        let loss = if self.classes {
            (log_softmax(output.clone(), 1) * batch.y.clone()).sum_dim(1).mean().neg()
        } else {
            (output.clone() - batch.y.clone()).powf_scalar(2.0).mean()
        };
        RegressionOutput { loss, output, targets: batch.y }
    }
}

impl TrainStep for Mlp {
    type Input = SampleBatch;
    type Output = RegressionOutput;

    fn step(&self, batch: SampleBatch) -> TrainOutput<RegressionOutput> {
        let judged = self.judge(batch);
        TrainOutput::new(self, judged.loss.backward(), judged)
    }
}

impl InferenceStep for Mlp {
    type Input = SampleBatch;
    type Output = RegressionOutput;

    fn step(&self, batch: SampleBatch) -> RegressionOutput {
        self.judge(batch)
    }
}

/// Why there is no net.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FitError {
    #[error("stopped")]
    Stopped,
    #[error("training diverged: the weights are no longer finite; try a smaller --learning-rate")]
    Diverged,
    #[error("training failed: {0}")]
    Failed(String),
}

/// Fits a net on `train`; `valid` is only watched, and without it the losses have no `valid`.
///
/// Nothing here depends on the clock, the number of threads or burn's global generator: initial weights (uniform within
/// `1 / sqrt(inputs)`) and the order of the rows come from `seed`.
///
/// # Errors
/// [`FitError`] when stopped from outside, diverged, or failed in the backend.
pub(crate) fn fit(
    train: &Samples,
    valid: Option<&Samples>,
    fitting: &FittingArgs,
    seed: u64,
    progress: &TrainingProgress,
    stop: &Interrupter,
) -> Result<(Network, Vec<EpochLoss>), FitError> {
    let failed = |e: &dyn std::fmt::Display| FitError::Failed(e.to_string());
    let device = Device::flex();
    let learning = device.clone().autodiff();
    let losses = LossLog::default();
    // nothing is written there: no checkpoints, no file loggers
    let folder = std::env::temp_dir();
    let batch = fitting.batch as usize;
    let watched = valid.map_or_else(|| rows(train, batch), |v| rows(v, usize::MAX));
    let result = SupervisedTraining::new(
        folder,
        loader(rows(train, usize::MAX), batch, Some(seed), &learning),
        loader(watched, batch, None, &device),
    )
    .with_application_logger(None)
    .with_metric_logger(losses.clone())
    .metric_train_numeric(LossMetric::new())
    .metric_valid_numeric(LossMetric::new())
    .renderer(Box::new(QuietRenderer { progress: progress.clone() }))
    .with_interrupter(stop.clone())
    .num_epochs(fitting.epochs as usize)
    .launch(Learner::new(
        initial(train, fitting, seed, &learning),
        AdamConfig::new().with_weight_decay(Some(WeightDecayConfig::new(fitting.weight_decay as f32))).init(),
        fitting.learning_rate,
    ));
    if let Some(error) = result.error {
        return Err(failed(&error));
    }
    if result.interrupted.is_some() {
        return Err(FitError::Stopped);
    }
    let dense = result.model.layers.iter().map(|layer| {
        let [inputs, outputs] = layer.weight.dims();
        let weight = layer.weight.val().try_into_data().map_err(|e| failed(&e))?;
        let bias = layer.bias.as_ref().map(|b| b.val().try_into_data()).transpose().map_err(|e| failed(&e))?;
        let floats = |data: TensorData| -> Result<Vec<f64>, FitError> {
            let values: Vec<f32> = data.try_into_vec().map_err(|e| failed(&e))?;
            Ok(values.into_iter().map(f64::from).collect())
        };
        Ok(Dense { inputs, outputs, weight: floats(weight)?, bias: bias.map_or_else(|| Ok(Vec::new()), floats)? })
    });
    let network = Network { layers: dense.collect::<Result<_, FitError>>()? };
    if !network.is_finite() {
        return Err(FitError::Diverged);
    }
    Ok((network, losses.epochs(valid.is_some())))
}

fn initial(samples: &Samples, fitting: &FittingArgs, seed: u64, device: &Device) -> Mlp {
    let mut rng = StdRng::seed_from_u64(seed);
    let hidden = fitting.hidden.iter().map(|n| usize::from(*n));
    let sizes: Vec<usize> = [samples.width].into_iter().chain(hidden).chain([samples.classes]).collect();
    let layers = sizes.windows(2).map(|pair| {
        let (inputs, outputs) = (pair[0], pair[1]);
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-bound..bound)).collect::<Vec<f32>>();
        Linear {
            weight: Param::from_data(TensorData::new(uniform(inputs * outputs), [inputs, outputs]), device),
            bias: Some(Param::from_data(TensorData::new(uniform(outputs), [outputs]), device)),
        }
    });
    Mlp { layers: layers.collect(), classes: samples.classes > 1 }
}

fn rows(samples: &Samples, most: usize) -> Vec<SampleRow> {
    let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
    (0..samples.len().min(most))
        .map(|i| SampleRow { x: single(samples.input(i)), y: single(samples.output(i)) })
        .collect()
}

/// In this thread: a loader thread would gain nothing on rows in memory.
fn loader(
    rows: Vec<SampleRow>,
    batch: usize,
    shuffle: Option<u64>,
    device: &Device,
) -> Arc<dyn DataLoader<SampleBatch>> {
    let builder = DataLoaderBuilder::new(Stack).batch_size(batch).num_workers(0).set_device(device.clone());
    let builder = match shuffle {
        Some(seed) => builder.shuffle(seed),
        None => builder,
    };
    builder.build(InMemDataset::new(rows))
}
