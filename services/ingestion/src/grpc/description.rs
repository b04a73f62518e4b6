//! Configuration and statistics of a model as messages.

use super::proto::*;
use crate::http::ServedModel;
use crate::open_inference::{Datatype, ModelCounts, TensorDescription, describe_tensors};

/// The configuration of a model. The first dimension of every tensor is the batch and is left out of `dims`.
pub(super) fn config(model: &ServedModel, max_rows: usize) -> ModelConfig {
    let (inputs, outputs) = describe_tensors(model.format());
    let data_type = |datatype: Datatype| DataType::from_str_name(&datatype.config_name()).map_or(0, Into::into);
    // dims may not be empty
    let reshape = |shape: &[i64]| (shape.len() == 1).then(|| ModelTensorReshape { shape: Vec::new() });
    let dims = |shape: &[i64]| if shape.len() == 1 { vec![1] } else { shape[1..].to_vec() };
    let input = |TensorDescription { name, datatype, shape }| ModelInput {
        name,
        data_type: data_type(datatype),
        format: 0,
        dims: dims(&shape),
        reshape: reshape(&shape),
    };
    let output = |TensorDescription { name, datatype, shape }| ModelOutput {
        name,
        data_type: data_type(datatype),
        dims: dims(&shape),
        reshape: reshape(&shape),
    };
    let all = model_version_policy::PolicyChoice::All(model_version_policy::All {});
    ModelConfig {
        name: model.name().to_owned(),
        platform: model.flavor().to_owned(),
        backend: "forebay".to_owned(),
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(all) }),
        max_batch_size: i32::try_from(max_rows).unwrap_or(i32::MAX),
        input: inputs.into_iter().map(input).collect(),
        output: outputs.into_iter().map(output).collect(),
    }
}

/// The counts of one version at this replica.
pub(super) fn statistics(model: &ServedModel, counts: ModelCounts) -> ModelStatistics {
    let duration = |count, ns| Some(StatisticDuration { count, ns });
    ModelStatistics {
        name: model.name().to_owned(),
        version: model.version.to_string(),
        last_inference: counts.last_ms,
        inference_count: counts.inferences,
        execution_count: counts.executions,
        inference_stats: Some(InferStatistics {
            success: duration(counts.successes, counts.success_ns),
            fail: duration(counts.failures, counts.failure_ns),
            queue: duration(counts.successes, 0),
            compute_input: duration(counts.executions, 0),
            compute_infer: duration(counts.executions, counts.execution_ns),
            compute_output: duration(counts.executions, 0),
            cache_hit: duration(counts.cache_hits, 0),
            cache_miss: duration(counts.inferences, 0),
        }),
        ..ModelStatistics::default()
    }
}
