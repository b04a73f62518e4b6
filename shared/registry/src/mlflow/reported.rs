//! Shows that a response still arrives.

use std::io::{self, Read};

use crate::OnProgress;

/// A response that reports every part that is read.
pub(super) struct Reported<'p, R> {
    pub(super) response: R,
    pub(super) on_progress: &'p OnProgress,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.on_progress.notify();
        self.response.read(buffer)
    }
}
