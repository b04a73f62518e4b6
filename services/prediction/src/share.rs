//! How many rows each model has in the stage. One model may hold most of the work in flight, not all of it: the rest is
//! for models that are not overloaded.

use std::collections::HashMap;

use forebay_contract::{Features, Item, Origin};

/// Counts rows by model, and says what becomes of those above a model's share.
#[derive(Debug)]
pub(crate) struct ModelShare {
    rows: HashMap<String, usize>,
    limit: usize,
}

/// What becomes of a row that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareAdmission {
    /// It counts until [`ModelShare::leave`].
    Taken,
    /// It continues over the low lane.
    Later,
    /// It is answered with `overloaded`.
    Refused,
}

impl ModelShare {
    /// Three quarters of the `in_flight` rows of the stage for one model; with lanes, of the half that the normal one has.
    pub(crate) fn new(in_flight: usize, has_lanes: bool) -> Self {
        let room = if has_lanes { in_flight / 2 } else { in_flight };
        Self { rows: HashMap::default(), limit: room / 4 * 3 }
    }

    /// A row arrives. Above the share of its model, callers over HTTP and RabbitMQ are to repeat it. A record of the
    /// request topic, whose client would not repeat it, continues over the low lane, once; without lanes it is taken in: it
    /// has waited for a permit.
    pub(crate) fn enter(&mut self, item: &Item<Features>, has_lanes: bool) -> ShareAdmission {
        let Some(rows) = self.rows.get_mut(&item.payload.model) else {
            self.rows.insert(item.payload.model.clone(), 1);
            return ShareAdmission::Taken;
        };
        let from_kafka = matches!(item.context.origin(), Some(Origin::Kafka(_)) | None);
        if *rows >= self.limit {
            if !from_kafka {
                return ShareAdmission::Refused;
            }
            if has_lanes && item.attempt == 0 {
                return ShareAdmission::Later;
            }
        }
        *rows += 1;
        ShareAdmission::Taken
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    #[test]
    fn a_model_meets_its_share_before_the_permits_of_its_lane_are_gone() {
        let item = fakes::item(1, "m", 1, &[1.0]);
        for (has_lanes, permits) in [(false, 1_024), (true, 512)] {
            let mut share = ModelShare::new(1_024, has_lanes);
            let taken = (0..permits).take_while(|_| share.enter(&item, true) == ShareAdmission::Taken).count();
            assert_eq!(taken, permits / 4 * 3, "{has_lanes}");
        }
    }
}
