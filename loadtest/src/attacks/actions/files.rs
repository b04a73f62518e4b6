//! Hostile versions beside good ones in the registry of a running mesh. None of them is promoted; requests name them.

use std::path::{Path, PathBuf};

use super::hostile_files as hostile;
use crate::attacks::attack_run::AttackRun;
use crate::error::LoadtestError;

type Sent = Result<String, LoadtestError>;

/// The version that is put beside the three good ones.
const VERSION: &str = "4";
/// What the target of a link holds, which no log may show.
const SECRET: &str = "a-secret-of-another-program";

fn write(path: &Path, bytes: &[u8]) -> Result<(), LoadtestError> {
    std::fs::write(path, bytes).map_err(LoadtestError::file(path))
}

/// The version is in the registry until the attack is over, and requests name it meanwhile.
fn with_version(
    run: &AttackRun<'_>,
    fill: impl FnOnce(&Path) -> Result<(), LoadtestError>,
) -> Result<(), LoadtestError> {
    let version = run.mesh.model.join(VERSION);
    let aside = version.with_extension("new");
    std::fs::create_dir_all(&aside).map_err(LoadtestError::file(&aside))?;
    fill(&aside)?;
    std::fs::rename(&aside, &version).map_err(LoadtestError::file(&version))?;
    name_version(run);
    std::fs::remove_dir_all(&version).map_err(LoadtestError::file(&version))
}

/// Sends requests that name the version until the attack is over.
fn name_version(run: &AttackRun<'_>) {
    let body = format!("{{\"features\":[0,0,0,0,0,0,0,0,0,0],\"model_version\":\"v{VERSION}\",\"timeout_ms\":2000}}");
    while !run.is_over() {
        run.answers.reply(&run.post("/v1/predict", &[], body.as_bytes()));
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

fn model_file(run: &AttackRun<'_>, name: &str, flavor: &str, bytes: &[u8]) -> Sent {
    with_version(run, |folder| {
        write(&folder.join(name), bytes)?;
        write(
            &folder.join("MLmodel"),
            format!("flavors:\n  {flavor}: {{pickled_model: {name}, data: {name}}}\n").as_bytes(),
        )
    })?;
    Ok(format!("{name} of {} bytes", bytes.len()))
}

pub(crate) fn yaml_aliases(run: &AttackRun<'_>) -> Sent {
    let text = hostile::yaml_aliases();
    with_version(run, |folder| write(&folder.join("MLmodel"), text.as_bytes()))?;
    Ok(format!("MLmodel of {} bytes", text.len()))
}

/// Another model beside the good one, whose stages are aliases.
pub(crate) fn yaml_registry(run: &AttackRun<'_>) -> Sent {
    let text = hostile::yaml_registry();
    let folder = sibling(run);
    std::fs::create_dir_all(folder.join("1")).map_err(LoadtestError::file(&folder))?;
    write(&folder.join("registered_model.yaml"), text.as_bytes())?;
    name_version(run);
    std::fs::remove_dir_all(&folder).map_err(LoadtestError::file(&folder))?;
    Ok(format!("registered_model.yaml of {} bytes", text.len()))
}

fn sibling(run: &AttackRun<'_>) -> PathBuf {
    run.mesh.model.with_file_name("hostile")
}

pub(crate) fn npy_header(run: &AttackRun<'_>) -> Sent {
    model_file(run, "model.skops", "sklearn", &hostile::skops(&hostile::npy_header("(1),", 16 << 20)))
}

pub(crate) fn zip_bomb(run: &AttackRun<'_>) -> Sent {
    model_file(run, "model.skops", "sklearn", &hostile::skops(&hostile::npy_zeros(2 << 20)))
}

pub(crate) fn onnx_messages(run: &AttackRun<'_>) -> Sent {
    model_file(run, "model.onnx", "onnx", &hostile::onnx_messages(3_000_000))
}

pub(crate) fn pickle_references(run: &AttackRun<'_>) -> Sent {
    model_file(run, "model.pkl", "sklearn", &hostile::pickle_references(65_536, 2_040))
}

pub(crate) fn pickle_nodes(run: &AttackRun<'_>) -> Sent {
    model_file(run, "model.pkl", "sklearn", &hostile::pickle_nodes(3_999_000))
}

/// Forty links to their own folder, and a link to another program's file. No log may quote it.
pub(crate) fn links(run: &AttackRun<'_>) -> Sent {
    let link = |to: &Path, from: &Path| std::os::unix::fs::symlink(to, from).map_err(LoadtestError::file(from));
    let secret = run.mesh.mesh.logs().join("secret");
    write(&secret, SECRET.as_bytes())?;
    let folder = sibling(run);
    std::fs::create_dir_all(&folder).map_err(LoadtestError::file(&folder))?;
    link(&secret, &folder.join("registered_model.yaml"))?;
    with_version(run, |version| {
        (0..40).try_for_each(|number| link(Path::new("."), &version.join(format!("link{number}"))))
    })?;
    std::fs::remove_dir_all(&folder).map_err(LoadtestError::file(&folder))?;
    let logs = std::fs::read_dir(run.mesh.mesh.logs()).map_err(LoadtestError::file(run.mesh.mesh.logs()))?;
    for log in logs.flatten().filter(|log| log.path() != secret) {
        let text = String::from_utf8_lossy(&std::fs::read(log.path()).unwrap_or_default()).into_owned();
        if text.contains(SECRET) {
            run.complain(format!("{} quotes the file that a link led to", log.path().display()));
        }
    }
    Ok("41 links".to_owned())
}
