//! The stand-in on processors without a kernel: nothing is ever packed.

use super::DenseLayer;

/// Has no values.
#[derive(Debug)]
pub(crate) struct PackedLayers<T> {
    never: std::convert::Infallible,
    of: std::marker::PhantomData<T>,
}

impl<T> PackedLayers<T> {
    pub(super) fn new(_: &[DenseLayer]) -> Option<Self> {
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
