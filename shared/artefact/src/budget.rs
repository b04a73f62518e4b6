//! How much memory reading the files of one version may take. Every reader checks before it allocates.
//!
//! Two bounds work together. A [`LoadBudget`] bounds the uncompressed size of all files of a version, as the process can
//! afford it: a quarter of the memory that it has left. An [`Allowance`] bounds what reading one file may allocate besides the
//! file itself, in proportion to its size and by what the process has left: formats refer to shared objects and have values
//! that are larger in memory than in the file, so a small file could otherwise describe a huge model.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that reading a Python artefact may allocate besides the file, for each byte of the file.
const FACTOR: usize = 3;
/// How many times the budget the process has left.
const LEFT: u64 = 4;
/// Bytes that it may allocate for any file.
const BASE: usize = 22 << 20;
/// The limit where nothing says what the process can afford.
const DEFAULT_LIMIT: u64 = 512 << 20;

/// The most bytes that the files of one version may have, those of compressed files after decompression. Clones share it.
#[derive(Debug, Clone)]
pub struct LoadBudget {
    limit: u64,
    left: Arc<AtomicU64>,
}

/// A version that needs more than its budget, or a file that describes far more than its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OverBudget {
    /// The files are too large for this process.
    #[error(
        "the files of the version have more than the {} bytes that loading one may take here (a quarter of the memory that this process has left)",
        limit
    )]
    Files {
        /// The budget in bytes.
        limit: u64,
    },
    /// A file describes more than it may.
    #[error("describes a model far larger than its file: reading it takes more than {limit} bytes")]
    Amplified {
        /// The bytes that reading the file may allocate.
        limit: usize,
    },
}

impl OverBudget {
    /// Whether a reason is that files are too large for this process.
    pub fn is_of_files(reason: &str) -> bool {
        reason.starts_with("the files of the version have more than the ")
    }
}

impl From<OverBudget> for String {
    fn from(error: OverBudget) -> Self {
        error.to_string()
    }
}

impl Default for LoadBudget {
    fn default() -> Self {
        Self::new(DEFAULT_LIMIT)
    }
}

impl LoadBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { limit, left: Arc::new(AtomicU64::new(limit)) }
    }

    /// The bytes that are left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// What reading a file of `bytes` bytes may allocate: 22 MiB and `factor` times its size, but no more than the process has.
    pub fn allowance(&self, bytes: usize, factor: usize) -> Allowance {
        let most = usize::try_from(self.limit.saturating_mul(LEFT)).unwrap_or(usize::MAX);
        let limit = bytes.saturating_mul(factor).saturating_add(BASE).min(most.max(BASE));
        Allowance { limit, left: Cell::new(limit) }
    }

    /// Accounts for `bytes` of files.
    ///
    /// # Errors
    /// [`OverBudget::Files`] if they are more than is left.
    pub fn take(&self, bytes: u64) -> Result<(), OverBudget> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| OverBudget::Files { limit: self.limit })
    }
}

/// Bytes that reading one file may still allocate.
#[derive(Debug)]
pub struct Allowance {
    limit: usize,
    left: Cell<usize>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self::of_file(0)
    }
}

impl Allowance {
    /// For a Python artefact of `bytes` bytes, after decompression.
    pub fn of_file(bytes: usize) -> Self {
        LoadBudget::new(u64::MAX).allowance(bytes, FACTOR)
    }

    /// A further file of `bytes` bytes was read into memory, one of the bytes that each of its bytes may take.
    pub fn raise(&mut self, bytes: usize) {
        self.limit = self.limit.saturating_add(bytes.saturating_mul(FACTOR));
        self.left.set(self.left.get().saturating_add(bytes.saturating_mul(FACTOR - 1)));
    }

    /// Accounts for `bytes` that are about to be allocated, and in use until they are given back.
    ///
    /// # Errors
    /// [`OverBudget::Amplified`] if they are more than is left.
    pub fn spend(&self, bytes: usize) -> Result<(), OverBudget> {
        let left = self.left.get().checked_sub(bytes).ok_or(OverBudget::Amplified { limit: self.limit })?;
        self.left.set(left);
        Ok(())
    }

    /// The bytes that are left.
    pub fn left(&self) -> usize {
        self.left.get()
    }

    /// Appends an item, and accounts for the memory of a list that grows: twice as much, beside the old until it is moved.
    ///
    /// # Errors
    /// As [`Allowance::spend`].
    pub fn push<T>(&self, list: &mut Vec<T>, item: T) -> Result<(), OverBudget> {
        if list.len() == list.capacity() {
            let more = list.len().max(2);
            self.spend((list.len() + more).saturating_mul(size_of::<T>()))?;
            list.reserve_exact(more);
            self.give_back(list.len() * size_of::<T>());
        }
        list.push(item);
        Ok(())
    }

    /// The items of a complete list; gives back the memory of those that it had room for.
    pub fn boxed<T>(&self, list: Vec<T>) -> Box<[T]> {
        self.give_back((list.capacity() - list.len()) * size_of::<T>());
        list.into()
    }

    /// The result of a function, and the bytes that it has accounted for and not given back.
    pub fn measured<T>(&self, f: impl FnOnce() -> T) -> (T, usize) {
        let left = self.left();
        let out = f();
        (out, left.saturating_sub(self.left()))
    }

    /// `bytes` that were accounted for are free again.
    pub fn give_back(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_add(bytes).min(self.limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_recognised() {
        assert!(OverBudget::is_of_files(&OverBudget::Files { limit: 7 }.to_string()));
        assert!(!OverBudget::is_of_files(&OverBudget::Amplified { limit: 7 }.to_string()));
    }

    #[test]
    fn what_is_taken_is_gone_and_the_error_says_how_much_there_was() {
        let budget = LoadBudget::new(100);
        budget.clone().take(60).unwrap();
        assert_eq!(budget.left(), 40);
        let error = budget.take(41).unwrap_err();
        assert!(error.to_string().contains("100 bytes"), "{error}");
        assert_eq!(budget.left(), 40, "what was refused is not counted");
        let allowance = Allowance::of_file(10);
        allowance.spend(BASE + 30).unwrap();
        assert_eq!(allowance.spend(1), Err(OverBudget::Amplified { limit: BASE + 30 }));
    }
}
