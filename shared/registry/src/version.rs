//! What is known of a version without loading its model.

use std::sync::Arc;

use forebay_artefact::{Fault, Inputs, Preprocessing, VersionFiles};

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
    /// The separate preprocessing artefact, applied to a raw row before the model.
    pub preprocessing: Option<Arc<Preprocessing>>,
}

impl VersionMeta {
    /// Reads the files beside the model.
    ///
    /// # Errors
    /// A [`Fault`] that names the file that cannot be read, or one for a signature and a preprocessing artefact of
    /// different widths.
    pub(crate) fn of(files: &VersionFiles, stage: Option<String>) -> Result<Self, Fault> {
        let (mlmodel, file) = files.describe()?;
        // the file itself is not needed, but has to be there
        files.get(&file)?;
        let preprocessing = files.preprocessing()?.map(Arc::new);
        if let Some(preprocessing) = &preprocessing {
            check_width(&mlmodel.inputs, preprocessing.width())?;
        }
        Ok(Self {
            name: files.name.clone(),
            version: files.version,
            stage,
            flavor: mlmodel.flavor,
            digest: files.digest(),
            inputs: mlmodel.inputs,
            preprocessing,
        })
    }
}

fn check_width(inputs: &Inputs, width: usize) -> Result<(), Fault> {
    let reason = match inputs {
        Inputs::Names(names) if names.len() != width => {
            format!("names {} inputs, the artefact takes {width}", names.len())
        }
        Inputs::Width(given) if *given != width => format!("is {given} wide, the artefact takes {width}"),
        _ => return Ok(()),
    };
    Err(Fault::new("MLmodel: signature", reason))
}
