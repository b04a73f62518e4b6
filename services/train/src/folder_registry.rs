//! A registry that is a folder: `ROOT/MODEL/<version>/`, names and stages in `ROOT/MODEL/registered_model.yaml`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model_folder::{Files, Staged, write};

const NAMES: &str = "registered_model.yaml";

/// One model of a folder registry, about to get a version.
#[derive(Debug)]
pub(crate) struct FolderRegistry {
    model: PathBuf,
    name: String,
    alias: Option<String>,
    stage: Option<String>,
}

/// `registered_model.yaml`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    #[serde(default)]
    aliases: BTreeMap<String, u32>,
    #[serde(default)]
    stages: BTreeMap<u32, String>,
}

impl FolderRegistry {
    /// # Errors
    /// A text for a model name that is no plain folder name, and a names file that cannot be read.
    pub(crate) fn open(root: PathBuf, name: &str, alias: Option<&str>, stage: Option<&str>) -> Result<Self, String> {
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']);
        if !plain {
            return Err(format!("--register {name:?} is no model name"));
        }
        let model = root.join(name);
        let own = |text: Option<&str>| text.map(str::to_owned);
        let registry = Self { model, name: name.to_owned(), alias: own(alias), stage: own(stage) };
        registry.names()?;
        Ok(registry)
    }

    /// Adds the next version, then moves alias and stage to it.
    ///
    /// # Errors
    /// A text naming the file.
    pub(crate) fn add(&self, files: &Files) -> Result<String, String> {
        let staged = Staged::beside(&self.model.join("new"))?;
        write(files, &staged.path)?;
        let (version, folder) = self.claim()?;
        // onto the empty folder that was claimed
        staged.rename(&folder)?;
        let mut names = self.names()?;
        if let Some(alias) = &self.alias {
            names.aliases.insert(alias.clone(), version);
        }
        if let Some(stage) = &self.stage {
            let before = names.stages.values_mut().filter(|s| s.eq_ignore_ascii_case(stage));
            before.for_each(|s| *s = "Archived".to_owned());
            names.stages.insert(version, stage.clone());
        }
        if self.alias.is_some() || self.stage.is_some() {
            self.write_names(&names)?;
        }
        Ok(format!("version {version} of {}, {}", self.name, folder.display()))
    }

    /// An empty folder for the version after the highest; two trainings at once get two.
    fn claim(&self) -> Result<(u32, PathBuf), String> {
        let listed = self.model.read_dir().map_err(|e| failed(&self.model, &e))?;
        let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let mut version = numbers.max().unwrap_or(0);
        loop {
            version = version.checked_add(1).ok_or("there is no next version number")?;
            let folder = self.model.join(version.to_string());
            match std::fs::create_dir(&folder) {
                Ok(()) => return Ok((version, folder)),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(&folder, &e)),
            }
        }
    }

    fn names(&self) -> Result<Names, String> {
        let path = self.model.join(NAMES);
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Ok(Names::default()),
            Ok(text) => serde_yaml_ng::from_str(&text).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Names::default()),
            Err(e) => Err(failed(&path, &e)),
        }
    }

    fn write_names(&self, names: &Names) -> Result<(), String> {
        let path = self.model.join(NAMES);
        let staged = self.model.join(format!(".{NAMES}.{}", std::process::id()));
        let text = serde_yaml_ng::to_string(names).map_err(|e| e.to_string())?;
        std::fs::write(&staged, text).map_err(|e| failed(&staged, &e))?;
        std::fs::rename(&staged, &path).map_err(|e| failed(&path, &e))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_and_names_move() {
        let root = tempfile::tempdir().unwrap();
        let files: Files = vec![("MLmodel", b"x".to_vec())];
        let add = |alias, stage| {
            let registry = FolderRegistry::open(root.path().to_owned(), "m", alias, stage).unwrap();
            registry.add(&files).unwrap()
        };
        assert!(add(None, None).starts_with("version 1 of m"));
        assert!(add(Some("champion"), Some("Production")).starts_with("version 2 of m"));
        std::fs::create_dir(root.path().join("m/7")).unwrap();
        add(Some("champion"), Some("production"));
        let names = std::fs::read_to_string(root.path().join("m").join(NAMES)).unwrap();
        assert_eq!(names, "aliases:\n  champion: 8\nstages:\n  2: Archived\n  8: production\n");
        assert_eq!(std::fs::read(root.path().join("m/8/MLmodel")).unwrap(), b"x");
        let left: Vec<_> = root.path().join("m").read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|n| !n.to_string_lossy().starts_with('.')), "{left:?}");
    }

    #[test]
    fn what_cannot_be_registered() {
        let root = tempfile::tempdir().unwrap();
        for name in ["", "../x", "a/b", ".hidden"] {
            assert!(FolderRegistry::open(root.path().to_owned(), name, None, None).is_err(), "{name}");
        }
        std::fs::create_dir(root.path().join("m")).unwrap();
        std::fs::write(root.path().join("m").join(NAMES), "aliases: [").unwrap();
        let error = FolderRegistry::open(root.path().to_owned(), "m", None, None).unwrap_err();
        assert!(error.contains(NAMES), "{error}");
    }
}
