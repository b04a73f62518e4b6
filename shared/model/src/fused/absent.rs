//! No kernel for this processor: nothing is ever packed.

use super::Stage;

/// Cannot be made.
#[derive(Debug)]
pub(crate) struct Layers<T> {
    never: std::convert::Infallible,
    of: std::marker::PhantomData<T>,
}

impl<T> Layers<T> {
    pub(super) fn new(_: &[Stage]) -> Option<Self> {
        None
    }

    pub(super) fn width(&self) -> usize {
        match self.never {}
    }

    pub(super) fn outputs(&self) -> usize {
        match self.never {}
    }

    pub(super) fn run(&self, _: &[T], _: &mut [T]) {
        match self.never {}
    }
}
