//! A folder registry with the sample model, for a mesh whose registry changes.

use std::path::Path;

use crate::error::LoadtestError;

/// The sample registry, from the root of the repository; its `expected.json` holds what its origin predicts.
const SAMPLE: &str = "shared/model/sample";
/// The model of the sample registry.
pub const SAMPLE_MODEL: &str = "diabetes-rf-model";

/// Copies the sample model into a registry at `folder`.
pub fn copy_sample_registry(folder: &Path) -> Result<(), LoadtestError> {
    copy_folder(&Path::new(SAMPLE).join(SAMPLE_MODEL), &folder.join(SAMPLE_MODEL))
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<(), LoadtestError> {
    std::fs::create_dir_all(to).map_err(LoadtestError::file(to))?;
    for entry in std::fs::read_dir(from).map_err(LoadtestError::file(from))? {
        let path = entry.map_err(LoadtestError::file(from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(LoadtestError::file(&path))?;
        }
    }
    Ok(())
}
