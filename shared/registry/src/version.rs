//! What is known of a version without loading its model.

use std::sync::Arc;

use forebay_artefact::{ColumnKind, Fault, Inputs, Output, Param, Preprocessing, UnknownOutput, VersionFiles};

/// The metadata in the files beside a version's model. What only the model has, such as feature names that `MLmodel`
/// lacks or whether it accepts missing values, is reported by the prediction replicas that have loaded it.
#[derive(Debug, Clone)]
pub struct VersionMeta {
    /// Name of the model.
    pub name: String,
    /// Number of the version.
    pub version: u32,
    /// `Production`, `Staging`, `Archived`, ..., as written in the registry.
    pub stage: Option<String>,
    /// Flavor in `MLmodel`: `sklearn`, `burn`, `onnx`.
    pub flavor: String,
    /// Identifies the content of the version; see [`crate::Registry`] for what it is computed from.
    pub digest: [u8; 32],
    /// The inputs of the signature in `MLmodel`, which describe a raw row as clients send it.
    pub inputs: Inputs,
    /// The separate preprocessing artefact, applied to a raw row before the model; `None` also where it was not asked for.
    pub preprocessing: Option<Arc<Preprocessing>>,
    /// What an answer holds when the request does not say: by the version's tag, else by `MLmodel`.
    pub output: Result<Output, UnknownOutput>,
    /// The parameters of the signature.
    pub params: Vec<Param>,
}

impl VersionMeta {
    /// Reads the files beside the model.
    ///
    /// # Errors
    /// A [`Fault`] that names the file that cannot be read, or one for a signature and a preprocessing artefact of
    /// different widths. Without `prepares` the artefact is left out.
    pub(crate) fn of(files: &VersionFiles, prepares: bool) -> Result<Self, Fault> {
        let (mlmodel, file) = files.describe()?;
        // the file itself is not needed, but has to be there
        files.get(&file)?;
        let preprocessing = if prepares { files.preprocessing()?.map(Arc::new) } else { None };
        if let Some(preprocessing) = &preprocessing {
            check_inputs(&mlmodel.inputs, preprocessing.width())?;
        }
        Ok(Self {
            name: files.name.clone(),
            version: files.version,
            stage: None,
            flavor: mlmodel.flavor,
            digest: files.digest(),
            inputs: mlmodel.inputs,
            preprocessing,
            output: Ok(mlmodel.output),
            params: mlmodel.params,
        })
    }

    /// The same with what the registry lists now: stage and tags move, the files do not.
    pub(crate) fn listed(self, stage: Option<String>, output: Option<&str>) -> Self {
        Self { stage, output: Output::of_tag(output, self.output), ..self }
    }
}

/// The artefact takes rows of numbers.
fn check_inputs(inputs: &Inputs, width: usize) -> Result<(), Fault> {
    let fault = |reason: String| Err(Fault::new("MLmodel: signature", reason));
    if let Inputs::Columns(columns) = inputs
        && let Some(text) = columns.iter().find(|column| column.kind == ColumnKind::Text)
    {
        return fault(format!("column {:?} has text, the preprocessing artefact takes numbers", text.name));
    }
    match inputs {
        Inputs::Columns(columns) if columns.len() != width => {
            fault(format!("names {} inputs, the artefact takes {width}", columns.len()))
        }
        Inputs::Tensor { width: given, .. } if *given != width => {
            fault(format!("is {given} wide, the artefact takes {width}"))
        }
        _ => Ok(()),
    }
}
