//! Faults of the broker's disk.

use std::path::{Path, PathBuf};

use crate::error::LoadtestError;
use crate::faults::row_run::FaultRun;

type Done = Result<(), LoadtestError>;

/// The length of a batch counts from behind its first two fields.
const BATCH_HEAD: usize = 12;

/// The broker has no room left for ten seconds, and is started again when there is some.
pub(crate) fn full(run: &FaultRun<'_>) -> Done {
    let services = &run.environment.services;
    let Some(disk) = &run.environment.disk else {
        return Err(LoadtestError::Input("the broker of this run has no small disk".into()));
    };
    disk.fill()?;
    run.sleep(10.0);
    let ended = services.run(&["status", "kafka"]).is_err();
    run.note(if ended { "the broker ended when its disk was full" } else { "the broker outlived its full disk" });
    if !run.environment.broker_log().contains("No space left on device") {
        run.complain("the broker did not run out of room");
    }
    disk.make_room();
    if !ended {
        services.run(&["kill", "kafka"])?;
    }
    services.run(&["up", "kafka"]).map(|_| ())
}

/// The broker dies in the middle of a write: half a batch stands behind the last whole one, and elsewhere a whole batch that
/// fails its checksum. Everything it had acknowledged is before them.
pub(crate) fn torn_tails(run: &FaultRun<'_>) -> Done {
    run.environment.services.run(&["kill", "kafka"])?;
    let (data, prefix) = (run.environment.broker_data(), run.mesh.topic(""));
    let entries = std::fs::read_dir(&data).map_err(LoadtestError::file(&data))?;
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let mut folders: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
    folders.sort();
    let mut damaged = 0;
    for folder in folders {
        damaged += usize::from(damage(&folder, damaged % 2 == 0)?);
    }
    run.note(format!("partitions with a damaged end: {damaged}"));
    if damaged == 0 {
        run.complain("no partition had a batch that could be damaged");
    }
    run.environment.services.run(&["up", "kafka"])?;
    if !run.environment.broker_log().contains("invalid messages") {
        run.complain("the broker's log does not say that it cut anything off");
    }
    Ok(())
}

/// Writes a bad batch behind the last one of the partition's last segment; whether it has one.
fn damage(folder: &Path, torn: bool) -> Result<bool, LoadtestError> {
    let entries = std::fs::read_dir(folder).map_err(LoadtestError::file(folder))?;
    let segments = entries.flatten().map(|entry| entry.path());
    let Some(segment) = segments.filter(|path| path.extension().is_some_and(|it| it == "log")).max() else {
        return Ok(false);
    };
    let mut bytes = std::fs::read(&segment).map_err(LoadtestError::file(&segment))?;
    let Some(bad) = bad_batch(&bytes, torn) else { return Ok(false) };
    bytes.extend_from_slice(&bad);
    std::fs::write(&segment, bytes).map_err(LoadtestError::file(&segment))?;
    Ok(true)
}

/// The last batch of a segment once more at the offsets behind it, cut in half or with a wrong byte.
fn bad_batch(segment: &[u8], torn: bool) -> Option<Vec<u8>> {
    let (mut at, mut last) = (0, None);
    while let Some(head) = segment.get(at..at + BATCH_HEAD) {
        let length = usize::try_from(i32::from_be_bytes(head[8..].try_into().ok()?)).ok()?;
        // preallocated room holds zeros
        let batch = segment.get(at..at + BATCH_HEAD + length).filter(|_| length > 0)?;
        (at, last) = (at + batch.len(), Some(batch));
    }
    let mut bad = last?.to_vec();
    let first = i64::from_be_bytes(bad[..8].try_into().ok()?);
    let delta = i32::from_be_bytes(bad.get(23..27)?.try_into().ok()?);
    bad[..8].copy_from_slice(&(first + i64::from(delta) + 1).to_be_bytes());
    if torn {
        bad.truncate(bad.len() / 2);
    } else {
        *bad.last_mut()? ^= 0x55;
    }
    Some(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offset: i64, records: i32) -> Vec<u8> {
        let mut bytes = offset.to_be_bytes().to_vec();
        bytes.extend_from_slice(&60_i32.to_be_bytes());
        bytes.resize(72, 7);
        bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        bytes
    }

    #[test]
    fn a_bad_batch_follows_the_last_one() {
        let segment = [batch(0, 5), batch(5, 3)].concat();
        let torn = bad_batch(&segment, true).unwrap();
        assert_eq!((torn.len(), torn[..8].to_vec()), (36, 8_i64.to_be_bytes().to_vec()));
        let wrong = bad_batch(&segment, false).unwrap();
        assert_eq!((wrong.len(), wrong[70], wrong[71]), (72, 7, 7 ^ 0x55));
        assert_eq!(bad_batch(&[], true), None);
    }
}
