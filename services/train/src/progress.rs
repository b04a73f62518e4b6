//! How far the training is: a bar on a terminal, a line per fold elsewhere, nothing when quiet.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Cheap to clone; clones move the same bar.
#[derive(Debug, Clone)]
pub(crate) struct TrainingProgress {
    bar: ProgressBar,
    lines: bool,
}

impl TrainingProgress {
    /// A bar for `epochs` epochs in all, over every fold.
    pub(crate) fn new(epochs: u64, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal && !quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(epochs), target);
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {bar:40} {pos}/{len} epochs, {eta} left") {
            bar.set_style(style);
        }
        Self { bar, lines: !terminal && !quiet }
    }

    /// Sets the description of the current work.
    pub(crate) fn stage(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Counts one epoch.
    pub(crate) fn epoch(&self) {
        self.bar.inc(1);
    }

    /// Prints a line unless quiet.
    pub(crate) fn note(&self, text: &str) {
        if self.lines {
            // a closed standard error must not end a training
            drop(writeln!(std::io::stderr(), "{text}"));
        }
    }

    /// Prints a warning that stays above the bar, on a terminal as well.
    pub(crate) fn warn(&self, text: &str) {
        self.note(text);
        self.bar.println(text);
    }

    /// Removes the bar.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }
}
