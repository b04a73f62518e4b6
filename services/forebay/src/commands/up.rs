//! `forebay up`: the mesh in this process.

use std::process::ExitCode;

use forebay_bus::Stages;
use forebay_registry::ModelUri;
use forebay_runtime::{LoadedSettings, Process, SettingsArgs, launch};

use super::{UNUSABLE, eprint, open_to_serve, print};
use crate::model_source::{ModelSource, keep_unregistered};
use crate::served_models::{only_model, settings_for};
use crate::settings::{Settings, uses_kafka};
use crate::{banner, system};

pub(crate) fn run(
    mut args: SettingsArgs,
    kafka: bool,
    stages: Option<Stages>,
    models: &[String],
    names: &[String],
) -> ExitCode {
    let stages = stages.unwrap_or_else(Stages::all);
    if !models.is_empty() {
        let fetch = |uri: &ModelUri| {
            let opened = Settings::open(&args).map_err(|error| error.to_string())?;
            keep_unregistered(uri, opened.settings.models())
        };
        match settings_for(models, names, &fetch) {
            Ok(settings) => args.set.extend(settings),
            Err(error) => return eprint(&format!("forebay up: {error}"), UNUSABLE),
        }
    }
    let opened = match open_stages(&mut args, &stages, kafka) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    for source in models {
        let checked = source.parse::<ModelSource>().and_then(|parsed| parsed.check(opened.settings.models()));
        if let Err(error) = checked {
            return eprint(&format!("forebay up: {source}: {error}"), UNUSABLE);
        }
    }
    let kafka = uses_kafka(&opened.layers, &stages, kafka);
    launch(Process::all_in_one("forebay"), opened, async move |settings, host| {
        let (http, running) = system::start(&settings, &host, stages.clone(), kafka)?;
        print(&banner::text(host.settings(), &settings, http.as_ref(), kafka, &stages));
        banner::print_later(settings.models(), http.as_ref(), |text| {
            print(text);
        });
        Ok(running)
    })
}

/// Reads the settings. If none of them names the default model, the only model of the registry is it.
fn open_stages(args: &mut SettingsArgs, stages: &Stages, kafka: bool) -> Result<LoadedSettings<Settings>, ExitCode> {
    let opened = open_to_serve(args, stages, kafka)?;
    // the sample has the model that is named by default; any other registry is read once more for this
    if opened.layers.is_set("models.name") || !opened.layers.is_set("models.registry") {
        return Ok(opened);
    }
    match only_model(opened.settings.models()) {
        Some(setting) => {
            args.set.push(setting);
            open_to_serve(args, stages, kafka)
        }
        None => Ok(opened),
    }
}
