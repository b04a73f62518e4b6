//! The views of the models, and which of them this process has to write to the topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_contract::ModelView;
use prost::Message;

struct Known {
    view: Arc<ModelView>,
    /// Published by this process, which keeps the record on the topic up to date.
    mine: bool,
}

/// The newest view of every model.
#[derive(Default)]
pub(super) struct ViewTable {
    known: BTreeMap<String, Known>,
    unwritten: BTreeSet<String>,
}

impl ViewTable {
    pub(super) fn all(&self) -> Vec<Arc<ModelView>> {
        self.known.values().map(|known| Arc::clone(&known.view)).collect()
    }

    pub(super) fn get(&self, model: &str) -> Option<Arc<ModelView>> {
        self.known.get(model).map(|known| Arc::clone(&known.view))
    }

    /// Returns the current generation, and whether the view changed.
    pub(super) fn publish(&mut self, mut view: ModelView, now_ms: u64) -> (u64, bool) {
        if let Some(known) = self.known.get(&view.model) {
            view.generation = known.view.generation;
            if view == *known.view {
                return (view.generation, false);
            }
            view.generation = view.generation.saturating_add(1);
        }
        view.generation = view.generation.max(now_ms);
        let generation = view.generation;
        self.unwritten.insert(view.model.clone());
        self.known.insert(view.model.clone(), Known { view: Arc::new(view), mine: true });
        (generation, true)
    }

    pub(super) fn withdraw(&mut self, model: &str) -> bool {
        let gone = self.known.remove(model).is_some();
        if gone {
            self.unwritten.insert(model.to_owned());
        }
        gone
    }

    /// Stores a view of another process, and returns whether anything but its generation changed.
    pub(super) fn on_view(&mut self, view: ModelView) -> bool {
        let Some(known) = self.known.get_mut(&view.model) else {
            self.known.insert(view.model.clone(), Known { view: Arc::new(view), mine: false });
            return true;
        };
        if *known.view == view {
            return false;
        }
        // equal generations of two writers: every reader has to choose the same one
        let newer = (view.generation, view.encode_to_vec()) > (known.view.generation, known.view.encode_to_vec());
        if !newer {
            // the last record of a key is what compaction keeps, so the newest view has to be the last
            if known.mine {
                self.unwritten.insert(view.model);
            }
            return false;
        }
        let same = ModelView { generation: known.view.generation, ..view.clone() } == *known.view;
        self.unwritten.remove(&view.model);
        *known = Known { view: Arc::new(view), mine: false };
        !same
    }

    pub(super) fn forget(&mut self, model: &str) -> bool {
        self.known.remove(model).is_some()
    }

    pub(super) fn repeat(&mut self) {
        self.unwritten.extend(self.known.keys().cloned());
    }

    /// The views to write; `None` where the record has to be removed.
    pub(super) fn take_unwritten(&mut self) -> Vec<(String, Option<Arc<ModelView>>)> {
        let models = std::mem::take(&mut self.unwritten);
        models.into_iter().map(|model| (model.clone(), self.get(&model))).collect()
    }
}
