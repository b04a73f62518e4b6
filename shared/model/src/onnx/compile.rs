//! Compiles a decoded graph to a program: finds the output that is the prediction and the nodes that it depends on.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use burn::tensor::DType;
use forebay_artefact::{Allowance, LoadBudget};
use prost::Message;

use super::attributes::Constant;
use super::nodes;
use super::operation::Op;
use super::program::{Instruction, Program, Shape};
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfo, element};
use super::wire;
use crate::mlmodel::MAX_WIDTH;
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label};

/// The most nodes of a graph.
const MAX_NODES: usize = 100_000;
/// Bytes that a node may take for each number of a constant that it reads: a tensor, and fused layers.
const CONSTANT_BYTES: usize = 24;
/// The most values that one row may need over all nodes.
const MAX_SIZE: usize = 1 << 23;

/// A value during compilation: a constant, or a slot with its width.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Shared by all names that it has.
    Constant(Arc<Constant>),
    /// The shape of a slot; only ConstantOfShape may read it.
    Shape {
        slot: usize,
        width: usize,
    },
    Slot {
        slot: usize,
        width: usize,
    },
}

/// The state of a compilation.
#[derive(Debug)]
pub(super) struct Compiler {
    pub(super) values: HashMap<String, Value>,
    pub(super) instructions: Vec<Instruction>,
    slots: usize,
    pub(super) dtype: DType,
    /// The labels of a classifier node.
    pub(super) labels: Vec<Label>,
    /// Whether missing values are imputed, or go into trees with a direction for them.
    pub(super) takes_missing: bool,
    /// The number of values of one row in all slots so far.
    size: usize,
    /// What the tensors of all nodes may take: nodes may share an initializer.
    allowance: Allowance,
}

/// A compiled ONNX file.
pub(crate) struct Compiled {
    pub program: Program,
    pub transform: OutputTransform,
    /// Whether the program accepts missing values.
    pub takes_missing: bool,
}

/// Reads an ONNX file.
///
/// # Errors
/// A [`Fault`] when the file is not an ONNX model, an operator or a shape is not supported, or a constant does not
/// match.
pub(crate) fn read(bytes: &[u8], budget: &LoadBudget) -> Result<Compiled, Fault> {
    wire::account(bytes, &budget.allowance(bytes.len(), wire::FACTOR)).map_err(|e| Fault::new("", e))?;
    let model = ModelProto::decode(bytes).map_err(|e| Fault::new("", format!("is not an ONNX file: {e}")))?;
    let graph = model.graph.ok_or_else(|| Fault::new("", "has no graph"))?;
    if graph.node.len() > MAX_NODES {
        return Err(Fault::new("graph", format!("{} nodes, at most {MAX_NODES}", graph.node.len())));
    }
    let fault = |e: String| Fault::new("graph", e);
    let constants: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let inputs: Vec<&ValueInfo> = graph.input.iter().filter(|i| !constants.contains(i.name.as_str())).collect();
    let &[input] = inputs.as_slice() else {
        return Err(fault(format!("has {} inputs, expected one matrix of rows", inputs.len())));
    };
    let (width, dtype) = input_type(input).map_err(fault)?;
    let (answer_name, label_name) = outputs(&graph).map_err(fault)?;
    let needed = needed(&graph, &answer_name);
    refuse_unknown(&graph, &needed)?;

    let mut compiler = Compiler {
        values: HashMap::from([(input.name.clone(), Value::Slot { slot: 0, width })]),
        instructions: Vec::new(),
        slots: 1,
        dtype,
        labels: Vec::new(),
        takes_missing: false,
        size: width,
        allowance: budget.allowance(bytes.len(), wire::FACTOR),
    };
    for tensor in &graph.initializer {
        let constant = Constant::read(tensor).map_err(|e| Fault::new("initializer", e))?;
        compiler.values.insert(tensor.name.clone(), Value::Constant(Arc::new(constant)));
    }
    for (i, node) in graph.node.iter().enumerate().filter(|(i, _)| needed.contains(i)) {
        let place = |e: String| Fault::new(format!("node {i} ({})", node.kind()), e);
        node.check_numbers().map_err(place)?;
        nodes::compile(&mut compiler, node).map_err(place)?;
        compiler.check_size(node).map_err(place)?;
    }
    let Some(Value::Slot { slot, width: outputs }) = compiler.values.get(&answer_name).cloned() else {
        return Err(fault(format!("output {answer_name:?} is not computed by any node")));
    };
    let transform = match label_name {
        None => OutputTransform::Number,
        Some(_) => {
            let labels = labels(&graph, &compiler, outputs);
            OutputTransform::Classes { labels: labels.into(), link: Link::Probabilities }
        }
    };
    let takes_missing = compiler.takes_missing;
    let program =
        Program::new(compiler.instructions, Shape { slots: compiler.slots, result: slot, width, outputs, dtype });
    Ok(Compiled { program, transform, takes_missing })
}

/// The width and the element type of the rows.
fn input_type(input: &ValueInfo) -> Result<(usize, DType), String> {
    let tensor = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).ok_or("input is not a tensor")?;
    let dtype = match tensor.elem_type {
        element::FLOAT => DType::F32,
        element::DOUBLE => DType::F64,
        other => return Err(format!("input has element type {other}, expected float or double")),
    };
    let dims: &[_] = tensor.shape.as_ref().map_or(&[], |s| &s.dim);
    let [_, columns] = dims else { return Err(format!("input has {} axes, expected two", dims.len())) };
    match usize::try_from(columns.dim_value) {
        Ok(width) if (1..=MAX_WIDTH).contains(&width) => Ok((width, dtype)),
        _ => Err(format!("input is {} wide, expected 1 to {MAX_WIDTH}", columns.dim_value)),
    }
}

/// The output with the prediction, and for classifiers the output with the class.
fn outputs(graph: &GraphProto) -> Result<(String, Option<String>), String> {
    let is_label = |o: &&ValueInfo| {
        let tensor = o.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        tensor.is_some_and(|t| matches!(t.elem_type, element::INT64 | element::INT32 | element::STRING))
    };
    let label = graph.output.iter().find(is_label);
    let answers: Vec<&ValueInfo> = graph.output.iter().filter(|o| !is_label(o)).collect();
    match (answers.as_slice(), label) {
        ([answer], label) => Ok((answer.name.clone(), label.map(|l| l.name.clone()))),
        ([], Some(_)) => Err("gives classes without probabilities, which is not supported".to_owned()),
        (answers, _) => Err(format!("has {} outputs, expected one, or a class and its probabilities", answers.len())),
    }
}

/// The indices of the nodes that the prediction depends on.
fn needed(graph: &GraphProto, answer: &str) -> BTreeSet<usize> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            makers.insert(output, i);
        }
    }
    let mut needed = BTreeSet::new();
    let mut open = vec![answer];
    while let Some(name) = open.pop() {
        if let Some(&i) = makers.get(name)
            && needed.insert(i)
        {
            open.extend(graph.node[i].input.iter().map(String::as_str));
        }
    }
    needed
}

fn refuse_unknown(graph: &GraphProto, needed: &BTreeSet<usize>) -> Result<(), Fault> {
    let kinds: BTreeSet<String> =
        needed.iter().map(|i| &graph.node[*i]).filter(|n| !nodes::known(n)).map(NodeProto::kind).collect();
    if kinds.is_empty() {
        return Ok(());
    }
    let list = kinds.into_iter().collect::<Vec<_>>().join(", ");
    Err(Fault::new("graph", format!("operators not supported: {list}")))
}

/// The class labels: those of a classifier node, else the constant that the label is looked up in, else 0, 1, ...
fn labels(graph: &GraphProto, compiler: &Compiler, classes: usize) -> Vec<Label> {
    if compiler.labels.len() == classes {
        return compiler.labels.clone();
    }
    let looked_up = graph.node.iter().filter(|n| n.op_type == "ArrayFeatureExtractor").find_map(|n| {
        let Some(Value::Constant(c)) = n.input.first().and_then(|name| compiler.values.get(name)) else { return None };
        let labels: Vec<Label> = if c.texts.is_empty() {
            c.values.iter().map(|v| number_label(*v)).collect()
        } else {
            c.texts.iter().map(|text| Label::from(text.as_str())).collect()
        };
        (labels.len() == classes).then_some(labels)
    });
    looked_up.unwrap_or_else(|| (0..classes as i64).map(Label::Integer).collect())
}

/// The label of a class whose number stands in a tensor of numbers, where an integer has lost its type.
fn number_label(value: f64) -> Label {
    let integer = value as i64;
    if integer as f64 == value { Label::Integer(integer) } else { Label::Float(value) }
}

impl Compiler {
    /// Bounds the memory of one row: otherwise a few repeated concatenations would double it again and again.
    fn check_size(&mut self, node: &NodeProto) -> Result<(), String> {
        for output in &node.output {
            let Some(Value::Slot { width, .. }) = self.values.get(output) else { continue };
            self.size = self.size.saturating_add(*width);
            if *width > MAX_WIDTH || self.size > MAX_SIZE {
                return Err(format!("gives {width} values per row, {} in all nodes so far", self.size));
            }
        }
        Ok(())
    }

    /// Input `i` of a node, if it has one.
    pub(super) fn input(&self, node: &NodeProto, i: usize) -> Option<&Value> {
        self.values.get(node.input.get(i).filter(|n| !n.is_empty())?)
    }

    /// Input `i` as a slot and its width.
    pub(super) fn slot(&self, node: &NodeProto, i: usize) -> Result<(usize, usize), String> {
        match self.input(node, i) {
            Some(Value::Slot { slot, width }) => Ok((*slot, *width)),
            Some(_) => Err(format!("input {i} is constant, expected a computed value")),
            None => Err(format!("input {i} is missing")),
        }
    }

    /// Accounts for `bytes` of the program.
    pub(super) fn allocate(&self, bytes: usize) -> Result<(), String> {
        Ok(self.allowance.spend(bytes)?)
    }

    /// Input `i` as a constant.
    pub(super) fn constant(&self, node: &NodeProto, i: usize) -> Result<Option<&Constant>, String> {
        match self.input(node, i) {
            Some(Value::Constant(c)) => {
                self.allowance.spend(c.values.len().saturating_mul(CONSTANT_BYTES))?;
                Ok(Some(c))
            }
            Some(_) => Err(format!("input {i} is computed, expected a constant")),
            None => Ok(None),
        }
    }

    /// Adds an instruction that computes output number `output` of the node, which is `width` wide.
    pub(super) fn emit(&mut self, node: &NodeProto, output: usize, op: Op, inputs: Vec<usize>, width: usize) {
        let slot = self.slots;
        self.slots += 1;
        self.instructions.push(Instruction { op, inputs, output: slot, name: node.kind() });
        if let Some(name) = node.output.get(output) {
            self.values.insert(name.clone(), Value::Slot { slot, width });
        }
    }

    /// Adds an instruction whose result is not an output of the node. Returns its slot.
    pub(super) fn inner(&mut self, node: &NodeProto, op: Op, input: usize) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.instructions.push(Instruction { op, inputs: vec![input], output: slot, name: node.kind() });
        slot
    }

    /// Makes an existing value output number `output` of the node.
    pub(super) fn alias(&mut self, node: &NodeProto, output: usize, value: Value) {
        if let Some(name) = node.output.get(output) {
            self.values.insert(name.clone(), value);
        }
    }

    pub(super) fn share<T>(value: T) -> Arc<T> {
        Arc::new(value)
    }
}
