//! One thread finds records, some threads score them, and the caller's thread writes the answers in order.
//! The number of chunks in flight is bounded.

use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::chunk::Chunk;
use super::columnar::ColumnFile;
use super::framing::{Framing, Step};
use super::input::{Input, Records};
use super::row_counts::RowCounts;
use super::row_source::RowSource;
use super::scorer::{Scored, Scorer};

/// Chunks waiting in front of and behind each scoring thread.
const QUEUED: usize = 2;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum ScoreEnd {
    /// Everything was read and written.
    Done(RowCounts),
    /// The reader of the output is gone.
    Unread,
    /// The input or the output failed; what was answered until then was written.
    Broken(RowCounts, String),
}

/// Scores everything `input` has, `batch` rows at a time, on `threads` threads. `on_counts` is called with the counts
/// after each piece of output.
///
/// Chunk `i` goes through thread `i % threads` and is taken from there, which keeps the order. A chunk is sent on
/// before the reader waits for more input, so a slow pipe gets its answers line by line.
pub(crate) fn run(
    input: Input,
    scorer: &Arc<Scorer>,
    (batch, threads): (usize, usize),
    mut output: impl Write,
    mut on_counts: impl FnMut(&RowCounts),
) -> ScoreEnd {
    let mut lanes = Lanes { inputs: Vec::new(), next: 0 };
    let (mut outputs, mut workers) = (Vec::new(), Vec::new());
    for _ in 0..threads.max(1) {
        let (records, taken) = sync_channel::<Records>(QUEUED);
        let (answers, answered) = sync_channel::<Scored>(QUEUED);
        let scorer = Arc::clone(scorer);
        workers.push(std::thread::spawn(move || work(&scorer, &taken, &answers)));
        lanes.inputs.push(records);
        outputs.push(answered);
    }
    let reader = std::thread::spawn(move || match input {
        Input::Text(source, framing) => read_text(*source, framing, batch, &mut lanes),
        Input::Columns(file) => read_columns(*file, batch, &mut lanes),
    });
    let mut counts = RowCounts::default();
    // a lane that ends has no chunk of this turn, and so no lane has a later one
    for lane in (0..outputs.len()).cycle() {
        let Ok(scored) = outputs[lane].recv() else { break };
        if let Err(error) = output.write_all(&scored.text).and_then(|()| output.flush()) {
            // the reader may wait for input forever; the process ends without joining it
            return match error.kind() {
                ErrorKind::BrokenPipe => ScoreEnd::Unread,
                _ => ScoreEnd::Broken(counts, format!("the output cannot be written: {error}")),
            };
        }
        counts.add(scored.counts);
        on_counts(&counts);
    }
    drop(outputs);
    match finish(reader, workers) {
        Ok(()) => ScoreEnd::Done(counts),
        Err(error) => ScoreEnd::Broken(counts, error),
    }
}

fn finish(reader: JoinHandle<Result<(), String>>, workers: Vec<JoinHandle<()>>) -> Result<(), String> {
    let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
    if panicked > 0 {
        return Err("scoring failed unexpectedly, which is a bug".to_owned());
    }
    reader.join().unwrap_or_else(|_| Err("reading failed unexpectedly, which is a bug".to_owned()))
}

fn work(scorer: &Scorer, records: &Receiver<Records>, answers: &SyncSender<Scored>) {
    while let Ok(records) = records.recv() {
        if answers.send(scorer.score(&records)).is_err() {
            return;
        }
    }
}

/// The channels to the scoring threads, used in turn.
struct Lanes {
    inputs: Vec<SyncSender<Records>>,
    next: usize,
}

impl Lanes {
    /// Sends a chunk on its way; false when its thread is gone.
    fn send(&mut self, chunk: &mut Chunk) -> bool {
        if chunk.is_empty() {
            return true;
        }
        self.send_records(Records::Text(std::mem::take(chunk)))
    }

    fn send_records(&mut self, records: Records) -> bool {
        let sent = self.inputs[self.next].send(records).is_ok();
        self.next = (self.next + 1) % self.inputs.len();
        sent
    }
}

fn read_columns(mut file: ColumnFile, batch: usize, lanes: &mut Lanes) -> Result<(), String> {
    while let Some(rows) = file.next(batch)? {
        if !lanes.send_records(Records::Rows(rows)) {
            break;
        }
    }
    Ok(())
}

fn read_text(mut source: RowSource, mut framing: Framing, batch: usize, lanes: &mut Lanes) -> Result<(), String> {
    let mut chunk = Chunk::default();
    let read = loop {
        match framing.step(&mut source, &mut chunk) {
            Ok(Step::Went) if !chunk.is_full(batch) => {}
            Ok(Step::Went) => {
                if !lanes.send(&mut chunk) {
                    return Ok(());
                }
            }
            Ok(Step::Starved) => {
                if !lanes.send(&mut chunk) {
                    return Ok(());
                }
                match source.fill() {
                    Ok(true) => {}
                    Ok(false) => break framing.finish(&mut source, &mut chunk),
                    Err(error) => break Err(format!("the input cannot be read: {error}")),
                }
            }
            Err(error) => break Err(error),
        }
    };
    // records that were complete before the error are answered
    lanes.send(&mut chunk);
    read
}
