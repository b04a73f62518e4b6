//! Clocks of stages that are wrong.

use crate::error::LoadtestError;
use crate::faults::replicas::READY;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::STAGES;

type Done = Result<(), LoadtestError>;

const OFFSET: &str = "FOREBAY_TEST_CLOCK_OFFSET_MS";

/// One replica of each stage in turn runs an hour ahead or behind, beside one with the right time.
pub(crate) fn one_stage_jumps(run: &FaultRun<'_>) -> Done {
    let hour = ["3600000", "-3600000"];
    let turns = if run.options.quick { 1 } else { 2 };
    for turn in 0..turns {
        for stage in 0..STAGES.len() {
            run.replicas.stop(2 * stage)?;
            run.replicas.equip(2 * stage, &[(OFFSET, hour[(stage + turn) % 2])], None);
            run.replicas.restart(2 * stage)?;
            run.replicas.wait_ready(READY)?;
            run.sleep(5.0);
        }
    }
    Ok(())
}
