//! How many rows each model has in the stage. One model may hold most of the work in flight, not all of it: the rest is
//! for models that are not overloaded.

use std::collections::HashMap;

use forebay_contract::{Context, Origin};

/// Counts rows by model, and refuses those above a model's share whose callers can repeat them.
#[derive(Debug)]
pub(crate) struct ModelShare {
    rows: HashMap<String, usize>,
    limit: usize,
}

impl ModelShare {
    /// Three quarters of the `in_flight` rows of the stage for one model.
    pub(crate) fn new(in_flight: usize) -> Self {
        Self { rows: HashMap::default(), limit: in_flight / 4 * 3 }
    }

    /// Takes in a row of `model`; `false` if it is to be answered with `overloaded`. A record of the request topic is
    /// always taken in: its client would not repeat it, and it has waited for a permit.
    pub(crate) fn enter(&mut self, model: &str, context: &Context) -> bool {
        let Some(rows) = self.rows.get_mut(model) else {
            self.rows.insert(model.to_owned(), 1);
            return true;
        };
        let waits = matches!(context.origin(), Some(Origin::Kafka(_)) | None);
        let taken = waits || *rows < self.limit;
        *rows += usize::from(taken);
        taken
    }

    /// A row of `model` that was taken in has been answered.
    pub(crate) fn leave(&mut self, model: &str) {
        if let Some(rows) = self.rows.get_mut(model) {
            *rows -= 1;
            if *rows == 0 {
                self.rows.remove(model);
            }
        }
    }
}
