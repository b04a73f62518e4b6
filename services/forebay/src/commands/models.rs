//! `forebay models`: what the registry holds.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use forebay_model::Registry;
use forebay_prediction::registry_options;
use forebay_runtime::SettingsArgs;

use super::{complain, open, say};

/// `forebay models ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Every model and version of the registry
    List,
    /// Load one version and show what it needs and answers
    Show {
        /// Name of the model
        name: String,
        /// Version, alias or stage; the default version without
        version: Option<String>,
    },
}

pub(crate) fn run(args: &SettingsArgs, action: &Models) -> ExitCode {
    let models = match open(args) {
        Ok(opened) => opened.shared.models,
        Err(code) => return code,
    };
    let registry = match Registry::open_with(&registry_options(&models)) {
        Ok(registry) => registry,
        Err(error) => return complain(&format!("registry {}: {error}", models.shown()), 1),
    };
    match action {
        Models::List => list(&registry),
        Models::Show { name, version } => {
            show(&registry, name, version.as_deref()).unwrap_or_else(|text| complain(&text, 1))
        }
    }
}

fn list(registry: &Registry) -> ExitCode {
    let mut text = String::new();
    for model in registry.models() {
        let _ = writeln!(text, "{}", model.name);
        for version in &model.versions {
            let aliases = model.aliases.iter().filter(|(_, v)| **v == version.version).map(|(alias, _)| alias.as_str());
            let names: Vec<&str> = version.stage.as_deref().into_iter().chain(aliases).collect();
            let _ = writeln!(text, "  v{:<4} {:12} {}", version.version, version.flavor, names.join(", "));
        }
    }
    say(&text)
}

fn show(registry: &Registry, name: &str, asked: Option<&str>) -> Result<ExitCode, String> {
    let model = registry.model(name).ok_or_else(|| format!("the registry has no model {name}"))?;
    let resolution = model.resolve(asked).map_err(|error| error.to_string())?;
    if let Some(asked) = asked.filter(|_| !resolution.exact) {
        return Err(format!("model {name} has no version {asked}"));
    }
    let loaded = registry.load(name, resolution.version).map_err(|error| error.to_string())?;
    let signature = loaded.model.signature();
    let mut text = format!("{name} v{}\n", loaded.version);
    let _ = writeln!(text, "  task           {:?}", signature.task);
    let _ = writeln!(text, "  features       {}", signature.features.join(", "));
    let _ = writeln!(text, "  missing values {}", if loaded.accepts_missing { "handled" } else { "refused" });
    let _ = writeln!(text, "  preprocessing  {}", loaded.preprocessing.as_ref().map_or("none", |p| p.id()));
    let _ = writeln!(text, "  operations     {}", loaded.model.ops().join(" -> "));
    for row in loaded.input_example.iter().flatten().take(1) {
        let rows = forebay_model::Rows::new(row.len(), row).map_err(|error| error.to_string())?;
        let scores = loaded.predict_raw(rows).map_err(|error| error.to_string())?;
        let _ = writeln!(text, "  example        {row:?} -> {}", scores.score(0).value);
    }
    Ok(say(&text))
}
