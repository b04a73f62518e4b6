//! `forebay up`: the mesh in this process.

use std::process::ExitCode;

use forebay_bus::Stages;
use forebay_contract::Stage;
use forebay_runtime::{Process, SettingOrigin, SettingsArgs, launch};

use super::{open, open_to_serve, print};
use crate::{banner, system};

pub(crate) fn run(args: &SettingsArgs, kafka: bool, stages: Option<Stages>) -> ExitCode {
    let stages = stages.unwrap_or_else(Stages::all);
    let serves = stages.has(Stage::Ingestion);
    let opened = match if serves { open_to_serve(args) } else { open(args) } {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    // brokers that are set explicitly are meant to be used; the built-in default is not
    let named = opened.layers.origin("kafka.brokers").is_some_and(|origin| *origin != SettingOrigin::Default);
    let kafka = kafka || named || !stages.is_whole();
    launch(Process::all_in_one("forebay"), opened, async move |settings, host| {
        let (http, running) = system::start(&settings, &host, stages.clone(), kafka)?;
        print(&banner::text(host.settings(), &settings, http.as_ref(), kafka, &stages));
        Ok(running)
    })
}
