//! Room for a version with a stage or an alias that the memory does not hold beside the others.

use std::collections::BTreeSet;

use super::loading::change;
use crate::versions::{VersionSlot, Versions};

/// Unloads the versions without a stage and an alias that do not stand in for others. A request
/// that names one loads it again, if there is room. Whether there were any.
pub(super) fn make(versions: &Versions) -> bool {
    let mut made = false;
    for (model, loaded) in &versions.snapshot().models {
        let Some(view) = &loaded.view else { continue };
        let answers = |number: u32| [loaded.production, loaded.previous].contains(&Some(number));
        let ready = loaded.slots.iter().filter(|(_, slot)| matches!(slot, VersionSlot::Ready(_)));
        let spare = |number: &u32| !answers(*number) && !view.is_named(*number);
        let spare: BTreeSet<u32> = ready.map(|(number, _)| *number).filter(spare).collect();
        if spare.is_empty() {
            continue;
        }
        made = true;
        change(versions, model, |loaded| loaded.slots.retain(|number, _| !spare.contains(number)));
        tracing::warn!(model, versions = ?spare, "versions without a stage or an alias are unloaded, one that has it needs their memory");
    }
    made
}
