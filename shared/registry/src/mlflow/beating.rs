//! Shows that a response still arrives.

use std::io::{self, Read};

use forebay_runtime::Heartbeat;

/// A response that beats while it is read.
pub(super) struct Beating<'h, R> {
    pub(super) response: R,
    pub(super) heartbeat: &'h Heartbeat,
}

impl<R: Read> Read for Beating<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.heartbeat.beat();
        self.response.read(buffer)
    }
}
