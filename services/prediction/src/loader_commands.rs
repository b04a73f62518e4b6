//! Commands for the loader's thread, and the handle that sends them.

use std::sync::mpsc::Sender;

/// A model and the number of one of its versions.
pub(crate) type VersionName = (String, u32);

/// A command for the loader's thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoaderCommand {
    /// Load this version, because a row needs it.
    Load(VersionName),
    /// Read the registry now, because it is known to have changed.
    ReadRegistry,
    /// Look at the model directory, because it has changed.
    ReadDirectory,
    /// Report the state of the versions of this replica to the model directory.
    Report,
}

/// Held by every version, to report a change of its breaker.
#[derive(Debug, Clone)]
pub(crate) struct StateNotifier(Sender<LoaderCommand>);

impl StateNotifier {
    pub(crate) fn new(loader: Sender<LoaderCommand>) -> Self {
        Self(loader)
    }

    /// The state of the version has changed.
    pub(crate) fn notify(&self) {
        // without a loader the process is about to end
        drop(self.0.send(LoaderCommand::Report));
    }
}
