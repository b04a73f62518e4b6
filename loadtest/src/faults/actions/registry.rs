//! Content of a version that is replaced in place.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::LoadtestError;
use crate::faults::environment::FaultEnvironment;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::{MeshUnderTest, SAMPLE_MODEL, copy_folder, copy_sample_registry, http_client};

type Done = Result<(), LoadtestError>;

/// How long the mesh may take to notice.
const NOTICE: Duration = Duration::from_secs(40);

fn folder(environment: &FaultEnvironment, mesh: &MeshUnderTest) -> PathBuf {
    environment.folder(&mesh.topic("registry"))
}

/// Gives the mesh a registry of its own.
pub(crate) fn own_registry(environment: &FaultEnvironment, mesh: &mut MeshUnderTest) -> Done {
    let folder = folder(environment, mesh);
    copy_sample_registry(&folder)?;
    mesh.set("FOREBAY__MODELS__REGISTRY", format!("file:{}", folder.display()));
    mesh.set("FOREBAY__MODELS__REFRESH", "2s");
    Ok(())
}

/// Rows with what the versions 1 and 2 predict for them.
fn expected(model: &Path) -> Result<Vec<(Value, f64, f64)>, LoadtestError> {
    let path = model.join("expected.json");
    let bytes = std::fs::read(&path).map_err(LoadtestError::file(&path))?;
    let all: Value = serde_json::from_slice(&bytes).map_err(|error| LoadtestError::Input(error.to_string()))?;
    let of = |version: &str, row: usize| all["versions"][version]["predict"][row].as_f64();
    let rows = all["rows"].as_array().cloned().unwrap_or_default();
    let rows = rows.into_iter().enumerate();
    let rows: Vec<_> = rows.filter_map(|(at, row)| Some((row, of("1", at)?, of("2", at)?))).collect();
    if rows.is_empty() { Err(LoadtestError::Input(format!("{}: no rows", path.display()))) } else { Ok(rows) }
}

/// Version 2 gets the content of version 1 while it is asked for. Its answers are the old content's, then the new one's and
/// never the old one's again.
pub(crate) fn replaced_in_place(run: &FaultRun<'_>) -> Done {
    let model = folder(run.environment, run.mesh).join(SAMPLE_MODEL);
    let rows = expected(&model)?;
    let old = old_answers(run, &rows);
    if old != rows.len() * 2 {
        run.complain(format!("before: {old} of {} answers are the old content's", rows.len() * 2));
    }
    copy_folder(&model.join("1"), &model.join("2.new"))?;
    let aside = run.environment.folder(&run.mesh.topic("replaced"));
    let rename = |from: &Path, to: &Path| std::fs::rename(from, to).map_err(LoadtestError::file(from));
    rename(&model.join("2"), &aside)?;
    rename(&model.join("2.new"), &model.join("2"))?;
    let began = Instant::now();
    while old_answers(run, &rows) > 0 {
        if began.elapsed() > NOTICE {
            run.complain(format!("the old content still answers after {NOTICE:?}"));
            return Ok(());
        }
        run.sleep(0.2);
    }
    run.note(format!("the new content answered everywhere after {:.1} s", began.elapsed().as_secs_f64()));
    for _ in 0..10 {
        let old = old_answers(run, &rows);
        if old > 0 {
            run.complain(format!("{old} answers of the old content after the new one had answered"));
        }
        run.sleep(0.5);
    }
    Ok(())
}

/// Asks both replicas for every row; how many answers are the old content's. Neither the old nor the new one's is wrong.
fn old_answers(run: &FaultRun<'_>, rows: &[(Value, f64, f64)]) -> usize {
    let mut old = 0;
    for address in run.replicas.addresses() {
        for (row, new, before) in rows {
            let body = format!("{{\"features\":{row},\"model_version\":\"v2\"}}");
            match http_client::predict(address, &[], &body) {
                Ok(reply) if reply.status == 200 => match reply.json()["prediction"].as_f64() {
                    Some(value) if value.to_bits() == new.to_bits() => {}
                    // computed in single precision
                    Some(value) if (value - before).abs() < 1e-4 * before.abs() => old += 1,
                    other => run.complain(format!("{other:?} is neither {new} nor {before}")),
                },
                Ok(reply) => run.complain(format!("{} {}", reply.status, reply.text())),
                Err(error) => run.complain(error.to_string()),
            }
        }
    }
    old
}
