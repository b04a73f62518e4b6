//! From checked settings to the exit code.

use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::time::Duration;

use crate::admin::AdminServer;
use crate::cli::LoadedSettings;
use crate::host::{Drain, Host, StartError};
use crate::lifecycle::{Lifecycle, watch_signals};
use crate::memory::set_memory_limit;
use crate::metrics::Metrics;
use crate::process::Process;
use crate::settings::{CommonSettings, Layers};
use crate::telemetry::{OtelEnvironment, Telemetry};
use crate::{cli, logs};

/// Time limit for exporting the last spans.
const FLUSH: Duration = Duration::from_secs(5);

/// Runs `start` inside an actix system on this thread, with logs, traces, metrics, health endpoints and signals around
/// it, until a signal or a failure; then drains, flushes and returns the exit code.
pub fn launch<S, D, Started>(
    process: Process,
    loaded: LoadedSettings<S>,
    start: impl FnOnce(S, Host) -> Started,
) -> ExitCode
where
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    let LoadedSettings { shared, settings, layers } = loaded;
    let telemetry = match Telemetry::start(process, &shared.telemetry, &OtelEnvironment::load()) {
        Ok(telemetry) => telemetry,
        Err(error) => return cli::print_stderr(&format!("{error}\n"), cli::EXIT_SETTINGS),
    };
    logs::start(&shared.log, &telemetry);
    for warning in layers.warnings() {
        tracing::warn!(warning, "settings");
    }
    shared.memory.limit.into_iter().for_each(set_memory_limit);
    // Never dropped: its drop would wait for blocking tasks, and those may never end.
    let system = ManuallyDrop::new(actix_rt::System::new());
    let lifecycle = Lifecycle::new();
    let host = Host::new(process, shared, lifecycle, Metrics::new(), telemetry);
    match system.block_on(live(host, |host| start(settings, host))) {
        Ok(code) => code,
        Err(error) => refused(&error, &layers),
    }
}

async fn live<D, Started>(host: Host, start: impl FnOnce(Host) -> Started) -> Result<ExitCode, StartError>
where
    Started: Future<Output = Result<D, StartError>>,
    D: Drain,
{
    let shared: &CommonSettings = host.settings();
    let (listen, deadline) = (shared.admin.listen, shared.delivery.drain);
    let lifecycle = host.lifecycle().clone();
    let admin = AdminServer::start_with(listen, &lifecycle, host.metrics(), host.admin_routes())?;
    watch_signals(&lifecycle, deadline).map_err(StartError::failed)?;
    lifecycle.watch_stalls(shared.admin.stall_after).map_err(StartError::failed)?;
    let host = host.with_admin(admin.address());
    actix_rt::spawn(lifecycle.heartbeat("main thread").beat_from_task());
    let system = lifecycle.register("system"); // keeps the process unready until everything is wired
    tracing::info!(process = host.process().name, admin = %admin.address(), "starting");
    if crate::is_exposed(admin.address()) && !crate::in_container() {
        let address = admin.address();
        tracing::warn!(%address, "the admin endpoint is reachable from the network and needs no credentials: see admin.listen");
    }

    lifecycle.set_starting(true);
    let running = tokio::select! {
        running = start(host.clone()) => Some(running),
        () = lifecycle.draining() => None, // shut down while starting: there is nothing to drain yet
    };
    let running = match running.transpose() {
        Ok(running) => running,
        Err(error) => {
            system.finished();
            return Err(error);
        }
    };
    lifecycle.set_starting(false);
    system.ready();
    if running.is_some() {
        tracing::info!(process = host.process().name, admin = %admin.address(), "started");
    }
    lifecycle.draining().await;
    system.finished();

    let in_time = match running {
        Some(running) => tokio::time::timeout(deadline, running.drain()).await.is_ok(),
        None => true,
    };
    if !in_time {
        tracing::error!(deadline_ms = millis(deadline), "the drain took too long, unfinished work is abandoned");
    }
    host.telemetry().flush(FLUSH).await;
    admin.stop().await;
    Ok(match lifecycle.failure() {
        None if in_time => {
            tracing::info!("shut down in order");
            ExitCode::SUCCESS
        }
        failure => {
            tracing::error!(failure, in_time, "shut down with a failure");
            ExitCode::FAILURE
        }
    })
}

fn refused(error: &StartError, layers: &Layers) -> ExitCode {
    match error {
        StartError::Setting { key, text } => {
            let origin = layers.origin(key).map(|origin| format!(" ({origin})")).unwrap_or_default();
            tracing::error!(key, text, "a setting cannot be used");
            cli::print_stderr(&format!("{key}{origin}: {text}\n"), cli::EXIT_SETTINGS)
        }
        StartError::Failed(text) => {
            tracing::error!(error = text, "the process could not start");
            ExitCode::FAILURE
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
