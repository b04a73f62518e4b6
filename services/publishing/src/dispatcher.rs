//! The work of the stage: each outcome is deduplicated and sent where its origin requests: to the result topic, over
//! RabbitMQ, or to the replica that holds the HTTP connection.

use std::sync::Arc;
use std::time::Instant;

use forebay_bus::amqp::Target;
use forebay_bus::messaging::{self, MessagingOperation, set_messaging};
use forebay_bus::{Ack, AckOutcome, Delivery, Outlet, StageScope, trace_of};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Batch, ErrorCode, Failure, Item, Outcome, Problem, now_us};
use forebay_runtime::{SpanKind, StageSpan};

use crate::amqp_results::AmqpReplies;
use crate::dedupe::{Decision, Now, Placement};
use crate::delivery_tracker::{DeliveryTracker, InFlightResult, end_span};
use crate::format::{Times, document, failure_of};
use crate::kafka_results::ResultTopic;
use crate::lookup::{AnswerLookup, Parked};
use crate::pending::{BatchScope, PendingResult};
use crate::revocations::Revocations;
use crate::settings::ResultSettings;
use crate::slow_requests::{ReportedRequest, SlowRequestReport};

/// Takes outcomes and sends results.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) settings: ResultSettings,
    pub(crate) times: Times,
    pub(crate) scope: StageScope,
    /// `None` without Kafka.
    pub(crate) result_topic: Option<ResultTopic>,
    /// `None` without RabbitMQ.
    pub(crate) amqp_replies: Option<AmqpReplies>,
    pub(crate) replies: Outlet<Outcome>,
    pub(crate) tracker: Arc<DeliveryTracker>,
    /// `None` if the result topic cannot be read.
    pub(crate) lookup: Option<AnswerLookup>,
    pub(crate) revocations: Revocations,
}

/// Replies to HTTP callers that leave as one batch, all from the same incoming batch.
#[derive(Default)]
struct ReplyBatch {
    scope: Option<Arc<BatchScope>>,
    items: Vec<Item<Outcome>>,
    acks: Vec<Ack>,
    /// The results whose only destination is the reply.
    in_flight: Vec<InFlightResult>,
}

impl Dispatcher {
    /// Takes a delivery. Returns the results for which the dedupe window has no room; they go to
    /// [`Dispatcher::dispatch`] later.
    pub(crate) fn take(&self, delivery: Delivery<Batch<Outcome>>) -> Vec<PendingResult> {
        let Delivery { payload, ack } = delivery;
        let entered = self.scope.enter_last(payload);
        let mut batch = entered.batch;
        let items = std::mem::take(&mut batch.items);
        let scope = Arc::new(BatchScope::new(&batch, self.scope.clone(), entered.entered_us, entered.spans));
        let pending = |item| PendingResult {
            item: self.check_deadline(item, scope.answered_us()),
            ack: ack.share(),
            scope: Arc::clone(&scope),
            looked_up: false,
        };
        let results: Vec<_> = items.into_iter().map(pending).collect();
        ack.ack();
        self.dispatch(results)
    }

    /// Turns an answer that was given after its deadline into an error. An error keeps its own code. The time at which
    /// the answer arrived here does not count: one that is read again must not become another.
    fn check_deadline(&self, mut item: Item<Outcome>, answered_us: u64) -> Item<Outcome> {
        if item.context.expired(answered_us) && matches!(item.payload.result, Some(Answered::Answer(_))) {
            self.scope.metrics().failed(ErrorCode::DeadlineExceeded.as_str()).inc();
            let text = "the answer was given after the deadline";
            item.payload = Problem::new(ErrorCode::DeadlineExceeded, text).into();
        }
        item
    }

    /// Deduplicates and sends results. Returns those for which the dedupe window has no room.
    pub(crate) fn dispatch(&self, results: Vec<PendingResult>) -> Vec<PendingResult> {
        let (now, partitions) = (Now::read(), self.result_topic.as_ref().and_then(ResultTopic::partitions));
        // taken before the check: what is sent with it is waited for before another replica may send it
        let _pass = self.result_topic.as_ref().and_then(ResultTopic::pass);
        let mut results = self.revocations.without_revoked(results, now.instant).into_iter();
        let (mut held, mut parked) = (Vec::new(), Vec::new());
        let mut decisions = Vec::with_capacity(results.len());
        {
            let mut deduplicator = self.tracker.deduplicator.lock();
            deduplicator.advance(now.instant);
            partitions.into_iter().for_each(|count| deduplicator.set_partitions(count));
            while let Some(result) = results.next() {
                let placement = self.lookup_placement(&result.item, partitions);
                match deduplicator.decide(result, placement, now) {
                    Decision::Waits => {}
                    Decision::Unknown(result, placement) => parked.push(Parked { result, placement }),
                    Decision::Full(result) => {
                        held.push(result);
                        held.extend(results.by_ref());
                    }
                    decision => decisions.push(decision),
                }
            }
            self.tracker.metrics.show(&deduplicator);
        }
        if let Some(lookup) = self.lookup.as_ref().filter(|_| !parked.is_empty()) {
            lookup.park(parked);
        }
        self.send(decisions);
        held
    }

    /// Where an earlier answer of the item would be, if it is one that can be looked up.
    fn lookup_placement(&self, item: &Item<Outcome>, partitions: Option<u32>) -> Option<Placement> {
        self.lookup.as_ref()?;
        let context = &item.context;
        let failed = failure_of(&item.payload).is_some();
        let shared = self.settings.is_shared(failed);
        let amqp = self.amqp_replies.as_ref().is_some_and(|amqp| !amqp.targets(context, shared).is_empty());
        let on_topic = self.goes_to_topic(context.reply_partition().is_some() || amqp, failed);
        on_topic.then(|| Placement::of(context, partitions))
    }

    /// Forgets expired ids and returns whether the dedupe window has room.
    pub(crate) fn advance(&self) -> bool {
        let mut deduplicator = self.tracker.deduplicator.lock();
        deduplicator.advance(Instant::now());
        self.tracker.metrics.show(&deduplicator);
        deduplicator.has_room()
    }

    /// Shows how many results are held back.
    pub(crate) fn show_held(&self, results: usize) {
        self.tracker.metrics.held.set(results as i64);
    }

    fn send(&self, decisions: Vec<Decision>) {
        let now = now_us();
        let mut replies = ReplyBatch::default();
        for decision in decisions {
            match decision {
                Decision::Send(result, placement) => {
                    self.start_batch(&result.scope, &mut replies);
                    self.send_first(result, placement, now, &mut replies);
                }
                Decision::Replay(result) => {
                    self.start_batch(&result.scope, &mut replies);
                    self.tracker.metrics.replayed.inc();
                    end_span(&result.scope, &result.item.context, |span| span.set("forebay.duplicate", true));
                    replies.items.push(result.item);
                    replies.acks.push(result.ack);
                }
                Decision::Duplicate(result) => self.tracker.drop_duplicate(result),
                Decision::Waits | Decision::Unknown(..) | Decision::Full(_) => {}
            }
        }
        self.reply(replies);
    }

    /// Sends the replies of another incoming batch before those of `scope` are collected.
    fn start_batch(&self, scope: &Arc<BatchScope>, replies: &mut ReplyBatch) {
        if !replies.scope.as_ref().is_some_and(|current| Arc::ptr_eq(current, scope)) {
            let next = ReplyBatch { scope: Some(Arc::clone(scope)), ..ReplyBatch::default() };
            self.reply(std::mem::replace(replies, next));
        }
    }

    /// Sends a result for the first time. It is settled when every destination has confirmed it.
    fn send_first(&self, result: PendingResult, placement: Option<Placement>, now: u64, replies: &mut ReplyBatch) {
        let PendingResult { item, ack, scope, .. } = result;
        let failure = failure_of(&item.payload).map(std::borrow::Cow::into_owned);
        let failed = failure.is_some();
        let has_caller = item.context.reply_partition().is_some();
        let shared = self.settings.is_shared(failed);
        let amqp = self.amqp_replies.as_ref().map(|amqp| (amqp, amqp.targets(&item.context, shared)));
        let amqp = amqp.filter(|(_, targets)| !targets.is_empty());
        let topic = self.result_topic.as_ref().filter(|_| self.goes_to_topic(has_caller || amqp.is_some(), failed));
        if let Some(failure) = &failure {
            scope.mark_failed(&item, failure);
        }
        let answered_us = scope.answered_us();
        let announced = amqp.as_ref().map(|(amqp, _)| (*amqp).clone());
        let mut in_flight =
            InFlightResult { placement, amqp: announced, ..self.in_flight(&item, failure, ack, scope, now) };
        if topic.is_none() && amqp.is_none() {
            if has_caller {
                replies.items.push(item);
                replies.in_flight.push(in_flight);
            } else {
                self.omit(&item, in_flight);
            }
            return;
        }
        let document = document(&item.context, &item.payload, answered_us, self.times);
        // a transaction commits the offset of what it answers, so that is acknowledged before, and the rest after it
        let in_transaction = topic.is_some_and(ResultTopic::is_transactional);
        let written = in_transaction.then(|| std::mem::replace(&mut in_flight.ack, Ack::none()));
        let ack = self.settling(in_flight);
        let all = || Ack::join(written.iter().map(Ack::share).chain([ack.share()]).collect());
        if let Some((amqp, targets)) = amqp {
            for target in targets {
                let span = self.amqp_span(&item, amqp, &target, now);
                amqp.send(&item.context, target, document.clone(), all(), span);
            }
        }
        if let Some(topic) = topic {
            let acks = (written.as_ref().map(Ack::share), ack.share());
            topic.send(&item.context, document, acks, self.kafka_span(&item, topic, now));
        }
        if has_caller {
            replies.items.push(item);
            replies.acks.push(all());
        }
        written.into_iter().chain([ack]).for_each(Ack::ack);
    }

    /// Settles a result that has no destination.
    fn omit(&self, item: &Item<Outcome>, in_flight: InFlightResult) {
        if self.result_topic.is_some() {
            self.tracker.metrics.omitted.inc();
        } else {
            let trace = trace_of(item);
            let trace_id = trace.trace_id_hex();
            tracing::warn!(id = %in_flight.id.request_id, %trace_id, "result dropped: there is no result topic");
        }
        self.tracker.settle(in_flight, AckOutcome::Done);
    }

    fn goes_to_topic(&self, has_other_destination: bool, failed: bool) -> bool {
        let wanted = !has_other_destination || self.settings.also_http;
        wanted && self.settings.is_shared(failed)
    }

    fn in_flight(
        &self,
        item: &Item<Outcome>,
        failure: Option<Failure>,
        ack: Ack,
        scope: Arc<BatchScope>,
        now: u64,
    ) -> InFlightResult {
        let context = &item.context;
        let failed = failure.is_some();
        let report = self.tracker.reporter.plan(context, failed, now);
        let reported = (context.sampled() || report != SlowRequestReport::default())
            .then(|| Box::new(ReportedRequest { context: context.clone(), failure, report }));
        let (id, accepted_us) = (context.item(), context.accepted_us());
        InFlightResult { id, placement: None, accepted_us, amqp: None, failed, ack, scope, reported }
    }

    /// An ack that settles `in_flight`.
    fn settling(&self, in_flight: InFlightResult) -> Ack {
        let tracker = Arc::clone(&self.tracker);
        Ack::new(move |outcome| tracker.settle(in_flight, outcome))
    }

    fn amqp_span(&self, item: &Item<Outcome>, amqp: &AmqpReplies, target: &Target, now: u64) -> Option<StageSpan> {
        if !item.context.sampled() {
            return None;
        }
        let (destination, temporary) = amqp.destination(target);
        // reply queues come and go: a span name for each would be of no use
        let name = if temporary { "send reply-to".to_owned() } else { format!("send {destination}") };
        let mut span = self.scope.tracer().start(name, SpanKind::Producer, trace_of(item), now);
        set_messaging(&mut span, messaging::RABBITMQ, MessagingOperation::Send, destination);
        span.set("messaging.destination.temporary", temporary);
        Some(span)
    }

    fn kafka_span(&self, item: &Item<Outcome>, topic: &ResultTopic, now: u64) -> Option<StageSpan> {
        if !item.context.sampled() {
            return None;
        }
        let name = topic.span_name().to_owned();
        let mut span = self.scope.tracer().start(name, SpanKind::Producer, trace_of(item), now);
        set_messaging(&mut span, messaging::KAFKA, MessagingOperation::Send, topic.topic());
        Some(span)
    }

    fn reply(&self, replies: ReplyBatch) {
        let ReplyBatch { scope, items, mut acks, in_flight } = replies;
        let Some(scope) = scope.filter(|_| !items.is_empty()) else { return };
        if !in_flight.is_empty() {
            // one ack for all of them: if some have to be sent again, the caller ignores a second reply
            let tracker = Arc::clone(&self.tracker);
            acks.push(Ack::new(move |outcome| {
                in_flight.into_iter().for_each(|result| tracker.settle(result, outcome))
            }));
        }
        self.replies.send(scope.leave_with(items), Ack::join(acks));
    }
}
