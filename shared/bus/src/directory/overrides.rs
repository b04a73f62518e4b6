//! The models that requests to the repository loaded or unloaded, and which of these requests this process has to write to
//! the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_contract::{DirectoryKey, ServingOverride, now_us};
use prost::Message;

use super::ModelDirectory;

struct Known {
    record: Arc<ServingOverride>,
    /// Made by this process, which keeps the record on the topic up to date.
    mine: bool,
    /// Read from the topic, so that it is not lost with this process.
    stored: bool,
}

/// The newest override of every model that has one.
#[derive(Default)]
pub(super) struct OverrideTable {
    known: BTreeMap<String, Known>,
    unwritten: BTreeSet<String>,
    unloaded: BTreeSet<String>,
    /// The model that cannot be unloaded.
    kept: Option<String>,
}

impl OverrideTable {
    /// Returns the generation of the new override.
    fn set(&mut self, model: &str, loaded: bool, by: &str, now_ms: u64) -> u64 {
        let generation = self.known.get(model).map_or(0, |known| known.record.generation.saturating_add(1)).max(now_ms);
        let record = ServingOverride { model: model.to_owned(), generation, loaded, by: by.to_owned() };
        self.unwritten.insert(model.to_owned());
        self.insert(record, true, false);
        generation
    }

    /// Stores an override from the topic and returns whether it changes what is served.
    fn on_record(&mut self, record: ServingOverride) -> bool {
        let Some(known) = self.known.get_mut(&record.model) else {
            self.insert(record, false, true);
            return true;
        };
        if *known.record == record {
            known.stored = true;
            return false;
        }
        let order = |record: &ServingOverride| (record.generation, record.encode_to_vec());
        if order(&record) <= order(&known.record) {
            // the last record of a key is what compaction keeps, so the newest one has to be the last
            if known.mine {
                self.unwritten.insert(record.model);
            }
            return false;
        }
        let changed = known.record.loaded != record.loaded;
        self.unwritten.remove(&record.model);
        self.insert(record, false, true);
        changed
    }

    fn insert(&mut self, record: ServingOverride, mine: bool, stored: bool) {
        match record.loaded {
            true => _ = self.unloaded.remove(&record.model),
            false => _ = self.unloaded.insert(record.model.clone()),
        }
        self.known.insert(record.model.clone(), Known { record: Arc::new(record), mine, stored });
    }

    fn remove(&mut self, model: &str) -> bool {
        self.unloaded.remove(model);
        self.known.remove(model).is_some()
    }

    /// Marks what this process made to be written again.
    pub(super) fn repeat(&mut self) {
        self.unwritten.extend(self.known.iter().filter(|(_, known)| known.mine).map(|(model, _)| model.clone()));
    }

    /// The records to write; `None` where one has to be removed.
    pub(super) fn take_unwritten(&mut self) -> Vec<(DirectoryKey, Option<Vec<u8>>)> {
        let models = std::mem::take(&mut self.unwritten).into_iter();
        let record = |model: &String| self.known.get(model).map(|known| known.record.encode_to_vec());
        models.map(|model| (DirectoryKey::Override(model.clone()), record(&model))).collect()
    }
}

impl ModelDirectory {
    /// Loads or unloads `model` for every replica, because `by` asked for it; the newest of such requests counts. Returns
    /// its generation, which [`ModelDirectory::is_stored`] takes.
    pub fn set_override(&self, model: &str, loaded: bool, by: &str) -> u64 {
        let generation = self.0.overrides.write().set(model, loaded, by, now_us() / 1000);
        self.notify(true);
        generation
    }

    /// Takes the override of this generation back, unless there is a newer one: settings and registry decide again.
    pub fn clear_override(&self, model: &str, generation: u64) {
        let changed = {
            let mut overrides = self.0.overrides.write();
            let newest = overrides.known.get(model).is_some_and(|known| known.record.generation == generation);
            let known = newest && overrides.remove(model);
            if known {
                overrides.unwritten.insert(model.to_owned());
            }
            known
        };
        self.notify(changed);
    }

    /// Whether the override of this generation, or a newer one, outlives this process. In memory none does, and all count as
    /// stored.
    pub fn is_stored(&self, model: &str, generation: u64) -> bool {
        let on_topic = self.0.state.lock().on_topic;
        let overrides = self.0.overrides.read();
        let stored = |known: &Known| known.record.generation >= generation && (known.stored || !on_topic);
        overrides.known.get(model).is_some_and(stored)
    }

    /// Serves `model` whatever requests say, because it answers those that name no model.
    pub fn keep_loaded(&self, model: &str) {
        self.0.overrides.write().kept = Some(model.to_owned());
    }

    /// Whether a request unloaded `model`. It is cheap enough to be asked for every request.
    pub fn is_unloaded(&self, model: &str) -> bool {
        let overrides = self.0.overrides.read();
        let unloaded = !overrides.unloaded.is_empty() && overrides.unloaded.contains(model);
        unloaded && overrides.kept.as_deref() != Some(model)
    }

    /// The models that requests loaded or unloaded, by name, and which of the two.
    pub fn overrides(&self) -> BTreeMap<String, bool> {
        let overrides = self.0.overrides.read();
        overrides.known.iter().map(|(model, known)| (model.clone(), known.record.loaded)).collect()
    }

    /// Stores an override from the topic.
    pub fn on_override(&self, record: ServingOverride) {
        let changed = self.0.overrides.write().on_record(record);
        self.notify(changed);
    }

    /// Forgets an override that was removed from the topic; whether there was one.
    pub(super) fn forget_override(&self, model: &str) -> bool {
        self.0.overrides.write().remove(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(loaded: bool, generation: u64) -> ServingOverride {
        ServingOverride { model: "m".into(), generation, loaded, by: "ann".into() }
    }

    #[test]
    fn the_newest_request_counts_in_whichever_order_they_arrive() {
        for order in [[1, 2], [2, 1]] {
            let directory = ModelDirectory::new("me");
            order.iter().for_each(|generation| directory.on_override(record(*generation == 1, *generation)));
            assert!(directory.is_unloaded("m") && !directory.is_unloaded("n"));
            assert_eq!(directory.overrides(), [("m".to_owned(), false)].into());
            directory.keep_loaded("m");
            assert!(!directory.is_unloaded("m"), "it has become the default model since");
        }
        let one = ModelDirectory::new("one");
        one.on_override(record(false, u64::MAX - 5));
        assert_eq!(one.set_override("m", true, "bob"), u64::MAX - 4, "above a clock that runs ahead");
        assert!(!one.is_unloaded("m"));
    }

    #[test]
    fn a_request_is_stored_when_it_was_read_back_and_an_older_record_does_not_replace_it() {
        let directory = ModelDirectory::new("me");
        let first = directory.set_override("m", false, "ann");
        assert!(directory.is_stored("m", first), "in memory");
        directory.on_topic();
        directory.caught_up(true);
        assert!(!directory.is_stored("m", first));
        let written = directory.outgoing().overrides;
        let bytes = written[0].1.as_deref().unwrap();
        assert_eq!((written.len(), written[0].0.to_string().as_str()), (1, "override/m"));
        assert!(directory.outgoing().overrides.is_empty(), "once");
        directory.on_override(ServingOverride::decode(bytes).unwrap());
        assert!(directory.is_stored("m", first) && !directory.is_stored("m", first + 1));
        directory.on_override(record(true, 1));
        assert!(directory.is_unloaded("m"));
        assert_eq!(directory.outgoing().overrides.len(), 1, "the newest one is written again, to be the last");
        directory.repeat_records();
        assert_eq!(directory.outgoing().overrides.len(), 1, "a topic that was created again gets it back");
        directory.on_override(record(true, first + 1));
        directory.repeat_records();
        assert!(directory.outgoing().overrides.is_empty() && !directory.is_unloaded("m"), "that of another process");
    }

    #[test]
    fn what_is_taken_back_is_removed_from_the_topic() {
        let directory = ModelDirectory::new("me");
        let first = directory.set_override("m", true, "ann");
        let second = directory.set_override("m", true, "bob");
        directory.outgoing();
        directory.clear_override("m", first);
        assert!(directory.outgoing().overrides.is_empty(), "there is a newer one");
        directory.clear_override("m", second);
        assert_eq!(directory.outgoing().overrides, [(DirectoryKey::Override("m".into()), None)]);
        directory.on_override(record(false, 1));
        directory.on_removed(&DirectoryKey::Override("m".into()));
        assert!(directory.overrides().is_empty() && !directory.is_unloaded("m"));
    }
}
