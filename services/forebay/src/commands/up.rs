//! `forebay up`: the mesh in this process.

use std::process::ExitCode;

use forebay_runtime::{Origin, Process, SettingsArgs, launch};

use super::{open, print};
use crate::stages::Stages;
use crate::{banner, system};

pub(crate) fn run(args: &SettingsArgs, kafka: bool, stages: Option<Stages>) -> ExitCode {
    let opened = match open(args) {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let stages = stages.unwrap_or_else(Stages::all);
    // brokers that somebody set are meant to be used; the built-in default is not
    let named = opened.layers.origin("kafka.brokers").is_some_and(|origin| *origin != Origin::Default);
    let kafka = kafka || named || !stages.whole();
    launch(Process::all_in_one("forebay"), opened, async move |settings, host| {
        let running = system::start(settings, &host, &stages, kafka).await?;
        print(&banner::text(host.settings(), running.http(), kafka, &stages));
        Ok(running)
    })
}
