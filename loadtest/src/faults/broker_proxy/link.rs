//! One connection through the proxy.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::frames::{RequestHead, api, produce_answer, replace_errors};
use super::rules::{CutKind, NetworkCut, ProxyRules};
use super::socket_owner::has_connection;
use super::{Injected, LARGEST_FRAME};

/// How long the end of one side may take to reach the other.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Closed,
    Reset,
    /// The broker's side alone.
    HalfOpen,
}

/// What both directions of a connection share.
pub(super) struct Link {
    /// The client's port, and the proxy's.
    ports: (u16, u16),
    rules: watch::Receiver<ProxyRules>,
    injected: Arc<Injected>,
    waiting: Mutex<HashMap<i32, RequestHead>>,
    owners: Mutex<HashMap<u32, bool>>,
    /// Answers that the broker does not give.
    own_answers: tokio::sync::mpsc::UnboundedSender<Vec<u8>>,
}

/// Passes frames on until one side ends or a rule ends both.
pub(super) async fn run(
    mut client: TcpStream,
    mut server: TcpStream,
    ports: (u16, u16),
    rules: watch::Receiver<ProxyRules>,
    injected: Arc<Injected>,
) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (own_answers, own) = tokio::sync::mpsc::unbounded_channel();
    let (waiting, owners) = (Mutex::default(), Mutex::default());
    let link = Link { ports, rules, injected, waiting, owners, own_answers };
    let ending = {
        let (client_reads, client_writes) = client.split();
        let (server_reads, server_writes) = server.split();
        tokio::select! {
            () = link.requests(client_reads, server_writes) => Ending::Closed,
            () = link.answers(server_reads, client_writes, own) => Ending::Closed,
            ending = link.ended_by_rule() => ending,
        }
    };
    match ending {
        Ending::Closed => {
            let _ = (client.shutdown().await, server.shutdown().await);
            // what was written is not lost to a reset, as it would be if the rest were unread
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(FAREWELL, server.read_to_end(&mut rest)).await;
        }
        Ending::Reset => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        Ending::HalfOpen => {
            drop(server);
            let mut unheard = Vec::new();
            while matches!(client.read_buf(&mut unheard).await, Ok(1..)) {
                unheard.clear();
            }
        }
    }
}

async fn frame(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = usize::try_from(from.read_i32().await.ok()?).ok().filter(|length| *length <= LARGEST_FRAME)?;
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn pass(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Option<()> {
    let mut bytes = i32::try_from(frame.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    to.write_all(&bytes).await.ok()
}

impl Link {
    async fn requests(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        while let Some(request) = frame(&mut from).await {
            self.passable(CutKind::ToBroker).await;
            if let Some(head) = RequestHead::parse(&request) {
                if let Some(answer) = self.instead_of_broker(head, &request) {
                    let _ = self.own_answers.send(answer);
                    continue;
                }
                self.waiting.lock().insert(head.correlation, head);
            }
            if pass(&mut to, &request).await.is_none() {
                return;
            }
        }
    }

    async fn answers(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut own: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    ) {
        let (whole, mut frames) = tokio::sync::mpsc::unbounded_channel();
        let read = async {
            while let Some(answer) = frame(&mut from).await {
                let _ = whole.send(answer);
            }
            drop(whole);
        };
        let write = async {
            loop {
                // one that is read by halves must not be given up for another
                let answer = tokio::select! {
                    answer = frames.recv() => answer,
                    answer = own.recv() => answer,
                };
                let Some(mut answer) = answer else { return };
                self.passable(CutKind::ToClient).await;
                if self.changed(&mut answer) || pass(&mut to, &answer).await.is_none() {
                    return;
                }
            }
        };
        tokio::select! {
            () = write => {}
            () = async { read.await; std::future::pending().await } => {}
        }
    }

    /// Waits while a cut is in the way.
    async fn passable(&self, direction: CutKind) {
        let mut rules = self.rules.clone();
        let blocked = |rules: &ProxyRules| {
            let cut = rules.cut.as_ref();
            cut.is_some_and(|cut| (cut.kind == CutKind::Both || cut.kind == direction) && self.concerns(cut))
        };
        if blocked(&rules.borrow()) {
            self.injected.held.fetch_add(1, Ordering::Relaxed);
        }
        // an end of the proxy ends its connections
        let _ = rules.wait_for(|rules| !blocked(rules)).await;
    }

    /// Until a rule ends the connection.
    async fn ended_by_rule(&self) -> Ending {
        let mut rules = self.rules.clone();
        let resets = rules.borrow().resets;
        let mut ending = Ending::Reset;
        let _ = rules
            .wait_for(|rules| {
                let half = |cut: &NetworkCut| cut.kind == CutKind::HalfOpen && self.concerns(cut);
                if rules.cut.as_ref().is_some_and(half) {
                    ending = Ending::HalfOpen;
                }
                ending == Ending::HalfOpen || rules.resets != resets
            })
            .await;
        ending
    }

    fn concerns(&self, cut: &NetworkCut) -> bool {
        let mut owners = self.owners.lock();
        let mut owns =
            |pid: &u32| *owners.entry(*pid).or_insert_with(|| has_connection(*pid, self.ports.0, self.ports.1));
        cut.pids.iter().any(&mut owns)
    }

    fn instead_of_broker(&self, head: RequestHead, request: &[u8]) -> Option<Vec<u8>> {
        let injection = self.rules.borrow().injection.filter(|it| !it.done && it.apis.contains(&head.api))?;
        let turn = head.api == api::PRODUCE && self.injected.turn(injection.every);
        let answer = turn.then(|| produce_answer(head, request, injection.code)).flatten()?;
        self.injected.count.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    /// Changes an answer as the rules want it; whether the connection ends instead.
    fn changed(&self, answer: &mut [u8]) -> bool {
        let correlation = answer.get(..4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
        let Some(head) = correlation.and_then(|it| self.waiting.lock().remove(&it)) else { return false };
        let (every, injection) = {
            let rules = self.rules.borrow();
            (rules.drop_produce_answers, rules.injection)
        };
        if let Some(every) = every.filter(|_| head.api == api::PRODUCE)
            && self.injected.turn(every)
        {
            self.injected.count.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        if let Some(injection) = injection.filter(|it| it.done && it.apis.contains(&head.api))
            && self.injected.turn(injection.every)
            && replace_errors(head, answer, injection.code)
        {
            self.injected.count.fetch_add(1, Ordering::Relaxed);
        }
        false
    }
}
