//! Open loop over HTTP: a request leaves when it is due, on a connection that is idle or new; a system that stalls gets more of them.
use super::exchange::{AnswerFile, Weighed, weigh};
use super::line::{Line, read_responses};
use super::wire::{Response, Target};
use crate::error::LoadtestError;
use crate::feed::Feed;
use crate::oracle::Oracle;
use crate::tally::Tally;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) feed: Arc<Feed>,
    pub(crate) target: Target,
    pub(crate) cap: usize,
    pub(crate) runtime: Handle,
    pub(crate) tally: Mutex<Tally>,
    pub(crate) oracle: Option<Oracle>,
    pub(crate) answers: Option<AnswerFile>,
    pub(crate) lines: Mutex<Lines>,
}

/// Which connections there are, and what waits for one.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    idle: Vec<Arc<Line>>,
    waiting: VecDeque<u64>,
    open: usize,
    /// Requests that are finished: answered, or given up.
    finished: u64,
    /// Requests that never got a connection.
    pub(crate) refused: u64,
    /// Requests that had to wait because all allowed connections were busy.
    pub(crate) held_back: u64,
    /// The first thing that went wrong with a connection or a file.
    pub(crate) trouble: Option<String>,
}

enum Place {
    Idle(Arc<Line>),
    New,
    Wait,
}

impl Pool {
    /// Sends request `index` now, or as soon as a connection is free.
    pub(crate) fn dispatch(self: &Arc<Self>, index: u64) {
        loop {
            let place = {
                let mut lines = self.lines.lock();
                if let Some(line) = lines.idle.pop() {
                    Place::Idle(line)
                } else if lines.open < self.cap {
                    lines.open += 1;
                    Place::New
                } else {
                    lines.waiting.push_back(index);
                    lines.held_back += 1;
                    Place::Wait
                }
            };
            let line = match place {
                Place::Wait => return,
                Place::Idle(line) => line,
                Place::New => match self.connect() {
                    Ok(line) => line,
                    Err(error) => return self.refuse(&error),
                },
            };
            // A connection that the server closed while it was idle: the request is tried on another one.
            if !matches!(self.send(&line, index), Err(true)) {
                return;
            }
        }
    }

    /// Waits until `count` requests are finished, or `limit` has passed.
    pub(crate) fn wait(&self, count: u64, limit: Duration) {
        let end = Instant::now() + limit;
        while self.lines.lock().finished < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send(&self, line: &Line, index: u64) -> Result<(), bool> {
        let (mut body, mut request) = (Vec::with_capacity(512), Vec::with_capacity(1024));
        self.feed.write_body(index, &mut body);
        self.target.write_request(&body, &mut request);
        if let Some(oracle) = &self.oracle {
            self.note(oracle.sent(&self.feed, index));
        }
        line.send(index, &request)
    }

    fn connect(self: &Arc<Self>) -> Result<Arc<Line>, LoadtestError> {
        let (line, half) = Line::open(&self.target)?;
        let line = Arc::new(line);
        let (pool, mine) = (Arc::clone(self), Arc::clone(&line));
        self.runtime.spawn(async move {
            let ended = read_responses(half, |response, body, at| pool.answered(&mine, response, body, at)).await;
            pool.ended(&mine, ended.err().map(|error| error.to_string()));
        });
        Ok(line)
    }

    fn answered(&self, line: &Arc<Line>, response: Response, body: &[u8], at: Instant) {
        let Some(index) = line.finish() else {
            self.tally.lock().duplicates += 1;
            return;
        };
        match weigh(&self.feed, index, response, body) {
            Weighed::Answer(verdict) => self.tally.lock().first(index, at, verdict),
            Weighed::Strange => self.tally.lock().unknown += 1,
        }
        if let Some(oracle) = &self.oracle {
            self.note(oracle.accepted(&self.feed, index));
        }
        if let Some(answers) = &self.answers {
            self.note(answers.keep(body));
        }
        let next = {
            let mut lines = self.lines.lock();
            lines.finished += 1;
            let next = lines.waiting.pop_front();
            if next.is_none() && !response.close {
                lines.idle.push(Arc::clone(line));
            }
            next
        };
        if let Some(next) = next
            && self.send(line, next) == Err(true)
        {
            self.lines.lock().waiting.push_front(next);
        }
    }

    /// The connection is over; what was under way on it is lost.
    fn ended(self: &Arc<Self>, line: &Arc<Line>, why: Option<String>) {
        let lost = line.finish();
        if let (Some(index), Some(oracle)) = (lost, &self.oracle) {
            self.note(oracle.refused(&self.feed, index));
        }
        let next = {
            let mut lines = self.lines.lock();
            lines.open -= 1;
            lines.idle.retain(|other| !Arc::ptr_eq(other, line));
            if lost.is_some() {
                lines.finished += 1;
                let why = why.unwrap_or_else(|| "the server closed it".to_owned());
                lines.trouble.get_or_insert_with(|| format!("a connection ended with a request under way: {why}"));
            }
            lines.waiting.pop_front()
        };
        if let Some(next) = next {
            self.dispatch(next);
        }
    }

    fn refuse(&self, error: &LoadtestError) {
        let mut lines = self.lines.lock();
        lines.open -= 1;
        lines.refused += 1;
        lines.finished += 1;
        lines.trouble.get_or_insert_with(|| error.to_string());
    }

    fn note(&self, written: Result<(), LoadtestError>) {
        if let Err(error) = written {
            self.lines.lock().trouble.get_or_insert_with(|| error.to_string());
        }
    }
}
