//! `post_transform`, the last operation of ai.onnx.ml's learners, as onnxruntime computes it.

use super::compile::Compiler;
use super::operation::{Function, Op};
use super::proto::NodeProto;

/// Applies `post` to `width` scores. Returns the slot of the result.
///
/// # Errors
/// When the transform is not known, or onnxruntime skips it for a single score while other runtimes apply it.
pub(super) fn scores(
    c: &mut Compiler,
    node: &NodeProto,
    slot: usize,
    width: usize,
    post: &str,
) -> Result<usize, String> {
    let op = match post {
        "NONE" => return Ok(slot),
        "PROBIT" => Op::Function(Function::Probit),
        "LOGISTIC" | "SOFTMAX" | "SOFTMAX_ZERO" if width == 1 => {
            return Err(format!("post_transform {post:?} of a single score is not supported, runtimes differ on it"));
        }
        "LOGISTIC" => Op::Function(Function::Sigmoid),
        "SOFTMAX" => Op::Function(Function::Softmax),
        "SOFTMAX_ZERO" => Op::SoftmaxZero,
        other => return Err(format!("post_transform {other:?} is not supported")),
    };
    Ok(c.inner(node, op, slot))
}
