//! `forebay models`: what a folder or a registry holds, and whether it works.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use forebay_registry::{ModelSettings, ModelView, Registry};
use forebay_runtime::SettingsArgs;
use serde_json::{Value, json};

use super::{eprint, open_with, print};
use crate::inspection::{Inspection, Verdict};
use crate::model_source::{ModelSource, open_folder, open_registry};

/// `forebay models ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Models {
    #[command(subcommand)]
    action: Action,
    /// Registry to look at, in place of the setting models.registry
    #[arg(long, value_name = "sample|file:PATH|URL", global = true)]
    registry: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every model and version, with stages and aliases; reads no weights
    #[command(after_help = LIST)]
    List {
        /// Folder that is a registry; the one of the settings without
        folder: Option<String>,
    },
    /// Load one version and show what it needs and answers
    #[command(after_help = SHOW)]
    Show {
        /// A model folder, a model file, models:/NAME/VERSION, or the name of a model of the registry
        #[arg(value_name = "FOLDER|FILE|models:/URI|NAME")]
        model: String,
        /// With a name: version, alias or stage; the default version without
        version: Option<String>,
    },
    /// Load versions, answer their input examples and compare; exit code 1 if anything fails
    #[command(after_help = CHECK)]
    Check {
        /// A model folder, a model file, a version of the registry, or a folder that is a registry; without one, every
        /// version of the registry of the settings
        #[arg(value_name = "FOLDER|FILE|models:/URI")]
        models: Vec<String>,
    },
}

const EXAMPLES: &str = "Examples:
  forebay models list                                      the registry of the settings; the built-in sample by default
  forebay models list --registry http://mlflow:5000
  forebay models show models:/diabetes-rf-model@champion   what it takes, what it is made of, what it answers
  forebay models check path/to/model                       before it goes into the registry
  forebay models check                                     every version of the registry: what a replica would say at start";

const LIST: &str = "Examples:
  forebay models list
  forebay models list path/to/registry --json | jq -r '.[].name'

A registry folder has PATH/MODEL/VERSION/MLmodel, and PATH/MODEL/registered_model.yaml for stages and aliases.";

const SHOW: &str = "Examples:
  forebay models show models:/diabetes-rf-model/1
  forebay models show diabetes-rf-model champion
  forebay models show model.onnx

Operations that Forebay does not have are all named in one error.";

const CHECK: &str = "Examples:
  forebay models check
  forebay models check model.skops other.onnx
  forebay models check path/to/registry --json | jq '.[] | select(.ok | not)'

Each version is one of
  equal                its answers are those of example_output.json beside it: equal to the bit for trees without a link,
                       within 1e-9 for other estimators of scikit-learn and boosters, 2e-6 for ONNX, 1e-5 for nets
  runs, not compared   it loads, its preprocessing fits its model, and it answers its input example with finite numbers
  FAILED               with the reason
with the microseconds to predict a row by itself and the memory that loading it took. docs/examples/expect.py writes
example_output.json with the model's own library, for a folder or a registry.";

pub(crate) fn run(args: &SettingsArgs, models: &Models) -> ExitCode {
    let settings = match open_with(args, models.registry.as_deref()) {
        Ok(opened) => opened.settings,
        Err(code) => return code,
    };
    let done = match &models.action {
        Action::List { folder } => list(settings.models(), folder.as_deref(), models.json),
        Action::Show { model, version } => show(settings.models(), model, version.as_deref(), models.json),
        Action::Check { models: which } => check(settings.models(), which, models.json),
    };
    done.unwrap_or_else(|error| eprint(&error, 1))
}

fn registry(settings: &ModelSettings, folder: Option<&str>) -> Result<Registry, String> {
    match folder.map(str::parse::<ModelSource>).transpose()? {
        None => open_registry(settings),
        Some(ModelSource::Registry(path)) => open_folder(&path),
        Some(other) => Err(format!("{other}: is one model, not a registry; `forebay models show {other}` shows it")),
    }
}

fn list(settings: &ModelSettings, folder: Option<&str>, as_json: bool) -> Result<ExitCode, String> {
    let registry = registry(settings, folder)?;
    let models = registry.models();
    if as_json {
        return Ok(print(&pretty(&Value::from(models.iter().map(view).collect::<Vec<_>>()))));
    }
    let mut text = String::new();
    for model in &models {
        // writing to a string cannot fail
        let _ = writeln!(text, "{}", model.name);
        for version in &model.versions {
            let names: Vec<&str> =
                version.stage.as_deref().into_iter().chain(aliases(model, version.version)).collect();
            let line = format!("  v{:<4} {:12} {}", version.version, version.flavor, names.join(", "));
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    if models.is_empty() {
        text.push_str("no models\n");
    }
    Ok(print(&text))
}

fn aliases(model: &ModelView, version: u32) -> impl Iterator<Item = &str> {
    model.aliases.iter().filter(move |(_, v)| **v == version).map(|(alias, _)| alias.as_str())
}

fn view(model: &ModelView) -> Value {
    let default = model.resolve(None).ok().map(|it| it.version);
    let versions = model.versions.iter().map(|version| {
        json!({
            "version": version.version,
            "flavor": version.flavor,
            "stage": version.stage,
            "aliases": aliases(model, version.version).collect::<Vec<_>>(),
            "default": default == Some(version.version),
            "output": version.output,
            "digest": forebay_registry::hex(&version.digest),
        })
    });
    json!({ "name": model.name, "versions": versions.collect::<Vec<_>>() })
}

fn show(settings: &ModelSettings, model: &str, version: Option<&str>, as_json: bool) -> Result<ExitCode, String> {
    let named = |requested: Option<&str>| ModelSource::Named {
        name: model.to_owned(),
        requested: requested.map(str::to_owned),
    };
    // a bare name is a model of the registry unless something of that name is in this folder
    let target = match (model.parse::<ModelSource>(), version) {
        (Ok(target), None) => target,
        (Ok(target @ (ModelSource::Uri(_) | ModelSource::Named { .. })), Some(_)) => {
            return Err(format!("{target}: the version stands in the address already"));
        }
        (_, Some(version)) => named(Some(version)),
        (Err(error), None) if model.contains(['/', '\\', '.']) => return Err(error),
        (Err(_), None) => named(None),
    };
    let shown = Inspection::of(&target.to_string(), || target.load(settings));
    let text = if as_json { pretty(&json!(shown)) } else { shown.page() };
    Ok(verdict(&text, shown.ok))
}

fn check(settings: &ModelSettings, which: &[String], as_json: bool) -> Result<ExitCode, String> {
    let mut all = Vec::new();
    if !as_json {
        let _ = print(&Inspection::heading());
    }
    if which.is_empty() {
        every(&open_registry(settings)?, as_json, &mut all);
    }
    for model in which {
        match model.parse::<ModelSource>() {
            Ok(ModelSource::Registry(path)) => every(&open_folder(&path)?, as_json, &mut all),
            Ok(source) => tell(Inspection::of(model, || source.load(settings)), as_json, &mut all),
            Err(error) => tell(Inspection::of(model, || Err(error)), as_json, &mut all),
        }
    }
    let failed = all.iter().filter(|it| !it.ok).count();
    let equal = all.iter().filter(|it| it.verdict == Verdict::Equal).count();
    if all.is_empty() {
        return Err("there is no model to check".to_owned());
    }
    let counts = format!("{} checked, {equal} equal, {failed} failed\n", all.len());
    let text = if as_json { pretty(&json!(all)) } else { counts };
    Ok(verdict(&text, failed == 0))
}

/// Every version a registry lists.
fn every(registry: &Registry, quiet: bool, all: &mut Vec<Inspection>) {
    for model in registry.models() {
        for version in &model.versions {
            let name = format!("{} v{}", model.name, version.version);
            let load =
                || registry.load(&model.name, version.version, forebay_model::open).map_err(|error| error.to_string());
            tell(Inspection::of(&name, load), quiet, all);
        }
    }
}

/// Says what was found at once: a registry may take a while.
fn tell(inspection: Inspection, quiet: bool, all: &mut Vec<Inspection>) {
    if !quiet {
        let _ = print(&inspection.line());
    }
    all.push(inspection);
}

fn verdict(text: &str, ok: bool) -> ExitCode {
    match (print(text), ok) {
        (said, true) => said,
        (_, false) => ExitCode::FAILURE,
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
