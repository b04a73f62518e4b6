//! What ai.onnx.ml's learners do to their scores at the end: `post_transform`, as onnxruntime computes it.

use super::compile::Compiler;
use super::program::{Function, Op};
use super::proto::NodeProto;

/// Applies `post` to `width` scores; gives the slot of the result.
///
/// # Errors
/// A transformation that is not known, or one that onnxruntime leaves out for a single score while others apply it.
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
