//! How many items of each model are in flight. One model may hold most of a pool, not all of it: the rest is for models that
//! are not overloaded.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// The shares of the models in a pool of permits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ModelShares(Arc<Shares>);

#[derive(Debug)]
struct Shares {
    limit: usize,
    /// Only models with items.
    held: Mutex<FxHashMap<Arc<str>, usize>>,
}

/// The items of one model, until it is dropped.
#[derive(Debug)]
pub struct ModelPermit {
    shares: ModelShares,
    model: Arc<str>,
    items: usize,
}

impl ModelShares {
    /// Three quarters of a pool of `permits` for one model, and at least `largest`, which one request may have.
    pub fn new(permits: usize, largest: usize) -> Self {
        let limit = (permits - permits / 4).max(largest);
        Self(Arc::new(Shares { limit, held: Mutex::default() }))
    }

    /// The most items of one model.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Room for `items` more of `model`, or `None` above its share.
    pub fn try_take(&self, model: &str, items: usize) -> Option<ModelPermit> {
        let mut held = self.0.held.lock();
        let in_hand = held.get(model).copied().unwrap_or_default();
        (in_hand.saturating_add(items) <= self.0.limit).then(|| self.permit(&mut held, model, items))
    }

    fn permit(&self, held: &mut FxHashMap<Arc<str>, usize>, model: &str, items: usize) -> ModelPermit {
        let model = held.get_key_value(model).map_or_else(|| model.into(), |(model, _)| Arc::clone(model));
        *held.entry(Arc::clone(&model)).or_default() += items;
        ModelPermit { shares: self.clone(), model, items }
    }
}

impl Drop for ModelPermit {
    fn drop(&mut self) {
        let mut held = self.shares.0.held.lock();
        let Some(in_hand) = held.get_mut(&self.model) else { return };
        *in_hand = in_hand.saturating_sub(self.items);
        if *in_hand == 0 {
            held.remove(&self.model);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_has_three_quarters_and_others_the_rest() {
        let shares = ModelShares::new(16, 1);
        let held = shares.try_take("a", 11).unwrap();
        let one = shares.try_take("a", 1).unwrap();
        assert!(shares.try_take("a", 1).is_none() && shares.try_take("a", usize::MAX).is_none());
        assert!(shares.try_take("b", 12).is_some());
        drop(one);
        assert!(shares.try_take("a", 1).is_some());
        drop(held);
        assert!(shares.0.held.lock().is_empty());
    }

    #[test]
    fn the_largest_request_fits() {
        assert_eq!(ModelShares::new(8, 8).limit(), 8);
        assert_eq!(ModelShares::new(1, 1).limit(), 1);
    }
}
