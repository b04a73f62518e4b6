//! The progress display on a terminal: a bar when the size of the input is known, else a count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::input::Input;
use super::row_counts::RowCounts;

/// A bar on standard error, or nothing.
#[derive(Debug)]
pub(crate) struct ScoreProgress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
    sized: bool,
}

impl ScoreProgress {
    /// A display for `input`; hidden unless `shown`.
    pub(crate) fn new(input: &Input, shown: bool) -> Self {
        let target = if shown { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(input.size(), target);
        let template = match input.size() {
            Some(_) => "{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} to go",
            None => "{spinner}  {msg}  {elapsed}",
        };
        // a template that is wrong leaves the plain bar
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if shown {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { bar, read: input.progress(), sized: input.size().is_some() }
    }

    /// Shows the counts.
    pub(crate) fn show(&self, counts: &RowCounts) {
        if self.bar.is_hidden() {
            return;
        }
        let failed = if counts.failed == 0 { String::new() } else { format!(", {} failed", HumanCount(counts.failed)) };
        self.bar.set_message(format!("{} rows{failed}", HumanCount(counts.rows)));
        if self.sized {
            self.bar.set_position(self.read.load(Ordering::Relaxed));
        }
    }

    /// Clears the line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
