//! What reading costs, in memory and in effort: both are bounded by the size of the file.

use super::View;
use crate::{Allowance, Fault};

/// Cost of an estimator that is compiled separately, besides what it reads, in effort and in bytes of memory.
const PLAN_EFFORT: usize = 1 << 12;
const PLAN_BYTES: usize = 1 << 11;
/// Largest length of a path; limits how deeply estimators are nested.
const MAX_PATH: usize = 2000;
/// The most attributes and indices in the path of an estimator that is compiled separately.
const MAX_NESTED: usize = 64;

impl View<'_> {
    /// What reading the file may still allocate, for the readers of other files inside it.
    pub fn allowance(&self) -> &Allowance {
        self.graph.allowance()
    }

    /// Calls a function that keeps nothing of what it allocates: what it accounts for is free again afterwards.
    pub fn scratch<T>(&self, f: impl FnOnce() -> T) -> T {
        let (out, taken) = self.allowance().measured(f);
        self.allowance().give_back(taken);
        out
    }

    /// Accounts for `n` bytes that are about to be allocated.
    pub fn allocate(&self, n: usize) -> Result<(), Fault> {
        self.graph.spend(n).map_err(|error| self.fault(error.to_string()))
    }

    /// Accounts for `n` operations on numbers, at load or for a row.
    ///
    /// # Errors
    /// A [`Fault`] where a file of this size has no such work.
    pub fn spend_work(&self, n: usize) -> Result<(), Fault> {
        self.spend(n / 64)
    }

    /// Accounts for a search among `n` attributes; what is read next is refused where that was too much.
    pub(in crate::python) fn search(&self, n: usize) {
        self.graph.effort.set(self.graph.effort.get().saturating_add(n / 2));
    }

    /// Accounts for reading `n` elements or attributes.
    pub(in crate::python) fn spend(&self, n: usize) -> Result<(), Fault> {
        let spent = self.graph.effort.get().saturating_add(n).saturating_add(1);
        self.graph.effort.set(spent);
        if spent > self.graph.max_effort {
            return Err(self.fault("describes a model far larger than its file"));
        }
        if self.path.len() > MAX_PATH {
            return Err(self.fault("is nested too deep"));
        }
        Ok(())
    }

    /// Accounts for the description of `n` columns of a member, as [`View::spend_plan`].
    pub fn spend_columns(&self, n: usize) -> Result<(), Fault> {
        self.allocate(n.saturating_mul(size_of::<crate::Column>()))
    }

    /// Accounts for an estimator that is compiled separately; a fault when the limit of the file is exceeded.
    pub fn spend_plan(&self) -> Result<(), Fault> {
        if self.path.matches(['.', '[']).count() > MAX_NESTED {
            return Err(self.fault("is nested too deep"));
        }
        self.allocate(PLAN_BYTES)?;
        self.spend(PLAN_EFFORT)
    }
}
