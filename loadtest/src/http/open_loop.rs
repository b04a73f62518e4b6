//! Open loop over HTTP: a request leaves when it is due, on a connection that is idle or new; a system that stalls gets
//! more of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::connection::{Connection, read_responses};
use super::exchange::{AnswerFile, Classified, classify};
use super::wire::{Endpoint, Response};
use crate::answer_tally::AnswerTally;
use crate::error::LoadtestError;
use crate::oracle::Oracle;
use crate::request_generator::RequestGenerator;

/// All connections of a run.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) requests: Arc<RequestGenerator>,
    pub(crate) endpoint: Endpoint,
    pub(crate) cap: usize,
    pub(crate) runtime: Handle,
    pub(crate) tally: Mutex<AnswerTally>,
    pub(crate) oracle: Option<Oracle>,
    pub(crate) answers: Option<AnswerFile>,
    pub(crate) connections: Mutex<Connections>,
}

/// Which connections there are, and what waits for one.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    idle: Vec<Arc<Connection>>,
    waiting: VecDeque<u64>,
    open: usize,
    /// Requests that are finished: answered, or given up.
    finished: u64,
    /// Requests that never got a connection.
    pub(crate) refused: u64,
    /// Requests that had to wait because all allowed connections were busy.
    pub(crate) held_back: u64,
    /// The first thing that went wrong with a connection or a file.
    pub(crate) first_error: Option<String>,
}

enum Slot {
    Idle(Arc<Connection>),
    New,
    Wait,
}

impl Pool {
    /// Sends request `index` now, or as soon as a connection is free.
    pub(crate) fn dispatch(self: &Arc<Self>, index: u64) {
        loop {
            let slot = {
                let mut connections = self.connections.lock();
                if let Some(connection) = connections.idle.pop() {
                    Slot::Idle(connection)
                } else if connections.open < self.cap {
                    connections.open += 1;
                    Slot::New
                } else {
                    connections.waiting.push_back(index);
                    connections.held_back += 1;
                    Slot::Wait
                }
            };
            let connection = match slot {
                Slot::Wait => return,
                Slot::Idle(connection) => connection,
                Slot::New => match self.connect() {
                    Ok(connection) => connection,
                    Err(error) => return self.refuse(&error),
                },
            };
            // A connection that the server closed while it was idle: the request is tried on another one.
            if !matches!(self.send(&connection, index), Err(true)) {
                return;
            }
        }
    }

    /// Waits until `count` requests are finished, or `limit` has passed.
    pub(crate) fn wait(&self, count: u64, limit: Duration) {
        let end = Instant::now() + limit;
        while self.connections.lock().finished < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn send(&self, connection: &Connection, index: u64) -> Result<(), bool> {
        let (mut body, mut request) = (Vec::with_capacity(512), Vec::with_capacity(1024));
        self.requests.write_body(index, &mut body);
        self.endpoint.write_request(&body, &mut request);
        if let Some(oracle) = &self.oracle {
            self.note(oracle.sent(&self.requests, index));
        }
        connection.send(index, &request)
    }

    fn connect(self: &Arc<Self>) -> Result<Arc<Connection>, LoadtestError> {
        let (connection, half) = Connection::open(&self.endpoint)?;
        let connection = Arc::new(connection);
        let (pool, mine) = (Arc::clone(self), Arc::clone(&connection));
        self.runtime.spawn(async move {
            let ended = read_responses(half, |response, body, at| pool.answered(&mine, response, body, at)).await;
            pool.ended(&mine, ended.err().map(|error| error.to_string()));
        });
        Ok(connection)
    }

    fn answered(&self, connection: &Arc<Connection>, response: Response, body: &[u8], at: Instant) {
        let Some(index) = connection.finish() else {
            self.tally.lock().duplicates += 1;
            return;
        };
        match classify(&self.requests, index, response, body) {
            Classified::Answer(status) => self.tally.lock().first(index, at, status),
            Classified::Foreign => self.tally.lock().unknown += 1,
        }
        if let Some(oracle) = &self.oracle {
            self.note(oracle.accepted(&self.requests, index));
        }
        if let Some(answers) = &self.answers {
            self.note(answers.keep(body));
        }
        let next = {
            let mut connections = self.connections.lock();
            connections.finished += 1;
            let next = connections.waiting.pop_front();
            if next.is_none() && !response.close {
                connections.idle.push(Arc::clone(connection));
            }
            next
        };
        if let Some(next) = next
            && self.send(connection, next) == Err(true)
        {
            self.connections.lock().waiting.push_front(next);
        }
    }

    /// The connection is over; what was under way on it is lost.
    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, why: Option<String>) {
        let lost = connection.finish();
        if let (Some(index), Some(oracle)) = (lost, &self.oracle) {
            self.note(oracle.refused(&self.requests, index));
        }
        let next = {
            let mut connections = self.connections.lock();
            connections.open -= 1;
            connections.idle.retain(|other| !Arc::ptr_eq(other, connection));
            if lost.is_some() {
                connections.finished += 1;
                let why = why.unwrap_or_else(|| "the server closed it".to_owned());
                connections
                    .first_error
                    .get_or_insert_with(|| format!("a connection ended with a request under way: {why}"));
            }
            connections.waiting.pop_front()
        };
        if let Some(next) = next {
            self.dispatch(next);
        }
    }

    fn refuse(&self, error: &LoadtestError) {
        let mut connections = self.connections.lock();
        connections.open -= 1;
        connections.refused += 1;
        connections.finished += 1;
        connections.first_error.get_or_insert_with(|| error.to_string());
    }

    fn note(&self, written: Result<(), LoadtestError>) {
        if let Err(error) = written {
            self.connections.lock().first_error.get_or_insert_with(|| error.to_string());
        }
    }
}
