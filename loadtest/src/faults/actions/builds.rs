//! Stages of the previous release beside those of this one.

use std::path::PathBuf;

use crate::error::LoadtestError;
use crate::faults::replicas::READY;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::STAGES;

type Done = Result<(), LoadtestError>;

fn replace(run: &FaultRun<'_>, number: usize, binaries: Option<PathBuf>) -> Done {
    run.replicas.stop(number)?;
    run.replicas.equip(number, &[], binaries);
    run.replicas.restart(number)?;
    run.replicas.wait_ready(READY)?;
    run.sleep(2.0);
    Ok(())
}

/// One replica of each stage becomes the previous release's, so that each edge has old and new at both of its ends; then
/// the other becomes it, stage by stage, and all become new again as a rollout does it.
pub(crate) fn previous_release(run: &FaultRun<'_>) -> Done {
    let previous = run.options.previous.clone();
    for number in (0..STAGES.len()).map(|stage| 2 * stage) {
        replace(run, number, previous.clone())?;
    }
    run.sleep(5.0);
    if !run.options.quick {
        for number in (0..STAGES.len()).map(|stage| 2 * stage + 1) {
            replace(run, number, previous.clone())?;
        }
        (0..STAGES.len()).try_for_each(|stage| replace(run, 2 * stage + 1, None))?;
    }
    (0..STAGES.len()).try_for_each(|stage| replace(run, 2 * stage, None))
}
