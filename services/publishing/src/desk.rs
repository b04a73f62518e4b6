//! The work of the stage: every outcome is judged by the ledger and goes where its origin says.

use std::sync::Arc;
use std::time::Instant;

use forebay_bus::amqp::Target;
use forebay_bus::{Ack, AckOutcome, Delivery, Outlet, StageScope, trace_of};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{Batch, ErrorCode, Failure, Item, Outcome, Problem, now_us};
use forebay_runtime::{SpanKind, StageSpan};

use crate::answers::Answers;
use crate::format::{Times, document_with, failure_of};
use crate::ledger::Verdict;
use crate::letter::{Journey, Letter};
use crate::outside::Outside;
use crate::receipt::{Receipt, Settler, Traced, end_span};
use crate::settings::{Errors, Results};
use crate::story::Notice;

/// Takes outcomes and sends them out.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) settings: Results,
    pub(crate) times: Times,
    pub(crate) scope: StageScope,
    pub(crate) outside: Option<Outside>,
    pub(crate) answers: Option<Answers>,
    pub(crate) replies: Outlet<Outcome>,
    pub(crate) settler: Arc<Settler>,
}

/// Replies of one journey that leave together.
#[derive(Default)]
struct Replies {
    journey: Option<Arc<Journey>>,
    items: Vec<Item<Outcome>>,
    acks: Vec<Ack>,
    /// Items whose only destination is the reply.
    receipts: Vec<Receipt>,
}

impl Desk {
    /// Takes a delivery. What there is no room for comes back, to be brought to [`Desk::admit`] later.
    pub(crate) fn take(&self, delivery: Delivery<Batch<Outcome>>) -> Vec<Letter> {
        let Delivery { payload, ack } = delivery;
        let entered = self.scope.enter_last(payload);
        let mut batch = entered.batch;
        let items = std::mem::take(&mut batch.items);
        let journey = Arc::new(Journey::new(&batch, self.scope.clone(), entered.entered_us, entered.spans));
        let letter = |item| Letter {
            item: self.in_time(item, entered.entered_us),
            ack: ack.share(),
            journey: Arc::clone(&journey),
        };
        let letters: Vec<_> = items.into_iter().map(letter).collect();
        ack.ack();
        self.admit(letters)
    }

    /// An answer past its deadline is an error; an error keeps its own code and place.
    fn in_time(&self, mut item: Item<Outcome>, now_us: u64) -> Item<Outcome> {
        if item.context.expired(now_us) && matches!(item.payload.result, Some(Answered::Answer(_))) {
            self.scope.metrics().failed(ErrorCode::DeadlineExceeded.as_str()).inc();
            let text = "the answer came to publishing after the deadline";
            item.payload = Problem::new(ErrorCode::DeadlineExceeded, text).into();
        }
        item
    }

    /// Sends what may be sent; gives back what there is no room for.
    pub(crate) fn admit(&self, letters: Vec<Letter>) -> Vec<Letter> {
        let now = Instant::now();
        let mut letters = letters.into_iter();
        let mut held = Vec::new();
        let mut judged = Vec::with_capacity(letters.len());
        {
            let mut ledger = self.settler.ledger.lock();
            ledger.advance(now);
            while let Some(letter) = letters.next() {
                match ledger.judge(letter, now) {
                    Verdict::Waits => {}
                    Verdict::Full(letter) => {
                        held.push(letter);
                        held.extend(letters.by_ref());
                    }
                    verdict => judged.push(verdict),
                }
            }
            self.settler.counters.ids.set(ledger.ids() as i64);
        }
        self.send(judged);
        held
    }

    /// Forgets what is old; whether there is room again.
    pub(crate) fn advance(&self) -> bool {
        let mut ledger = self.settler.ledger.lock();
        ledger.advance(Instant::now());
        self.settler.counters.ids.set(ledger.ids() as i64);
        ledger.has_room()
    }

    /// How many letters are held back now.
    pub(crate) fn note_held(&self, letters: usize) {
        self.settler.counters.held.set(letters as i64);
    }

    fn send(&self, judged: Vec<Verdict>) {
        let now = now_us();
        let mut replies = Replies::default();
        for verdict in judged {
            match verdict {
                Verdict::Send(letter) => {
                    self.turn_to(&letter.journey, &mut replies);
                    self.send_first(letter, now, &mut replies);
                }
                Verdict::Again(letter) => {
                    self.turn_to(&letter.journey, &mut replies);
                    self.settler.counters.again.inc();
                    end_span(&letter.journey, &letter.item.context, |span| span.set("forebay.duplicate", true));
                    replies.items.push(letter.item);
                    replies.acks.push(letter.ack);
                }
                Verdict::Duplicate(letter) => self.settler.duplicate(letter),
                Verdict::Waits | Verdict::Full(_) => {}
            }
        }
        self.reply(replies);
    }

    /// Replies of another journey leave before those of `journey` gather.
    fn turn_to(&self, journey: &Arc<Journey>, replies: &mut Replies) {
        if !replies.journey.as_ref().is_some_and(|current| Arc::ptr_eq(current, journey)) {
            let before =
                std::mem::replace(replies, Replies { journey: Some(Arc::clone(journey)), ..Replies::default() });
            self.reply(before);
        }
    }

    /// Sends an item for the first time: settled when every destination reports.
    fn send_first(&self, letter: Letter, now: u64, replies: &mut Replies) {
        let Letter { item, ack, journey } = letter;
        let failure = failure_of(&item.payload).map(std::borrow::Cow::into_owned);
        let failed = failure.is_some();
        let waited_for = item.context.reply_partition().is_some();
        let all = !(failed && self.settings.errors == Errors::Omit);
        let answers = self.answers.as_ref().map(|answers| (answers, answers.targets(&item.context, all)));
        let answers = answers.filter(|(_, targets)| !targets.is_empty());
        let outside = self.outside.as_ref().filter(|_| self.goes_outside(waited_for || answers.is_some(), failed));
        if let Some(failure) = &failure {
            mark(&journey, &item, failure);
        }
        let receipt = self.receipt(&item, failure, ack, journey, now);
        if outside.is_none() && answers.is_none() {
            if waited_for {
                replies.items.push(item);
                replies.receipts.push(receipt);
            } else {
                self.tell_nobody(&item, receipt);
            }
            return;
        }
        let document = document_with(&item.context, &item.payload, now, self.times);
        let ack = self.settling(receipt);
        if let Some((answers, targets)) = answers {
            for target in targets {
                let span = self.answer_span(&item, answers, &target, now);
                answers.send(&item.context, target, document.clone(), ack.share(), span);
            }
        }
        if let Some(outside) = outside {
            outside.send(&item.context, document, ack.share(), self.span(&item, outside, now));
        }
        if waited_for {
            replies.items.push(item);
            replies.acks.push(ack);
        } else {
            ack.ack();
        }
    }

    fn tell_nobody(&self, item: &Item<Outcome>, receipt: Receipt) {
        if self.outside.is_some() {
            self.settler.counters.omitted.inc();
        } else {
            let trace = trace_of(item);
            let trace_id = trace.trace_id_hex();
            tracing::warn!(ask = %receipt.id.request_id, %trace_id, "there is no result topic to tell this result on");
        }
        self.settler.settle(receipt, AckOutcome::Done);
    }

    fn goes_outside(&self, told_elsewhere: bool, failed: bool) -> bool {
        let wanted = !told_elsewhere || self.settings.also_http;
        wanted && !(failed && self.settings.errors == Errors::Omit)
    }

    fn receipt(
        &self,
        item: &Item<Outcome>,
        failure: Option<Failure>,
        ack: Ack,
        journey: Arc<Journey>,
        now: u64,
    ) -> Receipt {
        let context = &item.context;
        let failed = failure.is_some();
        let notice = self.settler.teller.notice(context, failed, now);
        let traced = (context.sampled() || notice != Notice::default())
            .then(|| Box::new(Traced { context: context.clone(), failure, notice }));
        Receipt { id: context.item(), accepted_us: context.accepted_us(), failed, ack, journey, traced }
    }

    /// An ack that settles `receipt`.
    fn settling(&self, receipt: Receipt) -> Ack {
        let settler = Arc::clone(&self.settler);
        Ack::new(move |outcome| settler.settle(receipt, outcome))
    }

    fn answer_span(&self, item: &Item<Outcome>, answers: &Answers, target: &Target, now: u64) -> Option<StageSpan> {
        if !item.context.sampled() {
            return None;
        }
        let (destination, reply) = answers.destination(target);
        // queues of replies come and go: a name of its own for each would be of no use
        let name = if reply { "send reply-to".to_owned() } else { format!("send {destination}") };
        let mut span = self.scope.tracer().start(name, SpanKind::Producer, trace_of(item), now);
        span.set("messaging.system", "rabbitmq");
        span.set("messaging.operation.name", "send");
        span.set("messaging.operation.type", "send");
        span.set("messaging.destination.name", destination.to_owned());
        span.set("messaging.destination.temporary", reply);
        Some(span)
    }

    fn span(&self, item: &Item<Outcome>, outside: &Outside, now: u64) -> Option<StageSpan> {
        if !item.context.sampled() {
            return None;
        }
        let name = outside.span_name().to_owned();
        let mut span = self.scope.tracer().start(name, SpanKind::Producer, trace_of(item), now);
        span.set("messaging.system", "kafka");
        span.set("messaging.operation.name", "send");
        span.set("messaging.operation.type", "send");
        span.set("messaging.destination.name", outside.topic().to_string());
        Some(span)
    }

    fn reply(&self, replies: Replies) {
        let Replies { journey, items, mut acks, receipts } = replies;
        let Some(journey) = journey.filter(|_| !items.is_empty()) else { return };
        if !receipts.is_empty() {
            // one ack for all of them: should some have to be sent again, a second reply finds nobody waiting
            let settler = Arc::clone(&self.settler);
            acks.push(Ack::new(move |outcome| {
                receipts.into_iter().for_each(|receipt| settler.settle(receipt, outcome))
            }));
        }
        self.replies.send(journey.onward(items), Ack::join(acks));
    }
}

fn mark(journey: &Journey, item: &Item<Outcome>, failure: &Failure) {
    if item.context.sampled()
        && let Some(span) = journey.spans().lock().get(&item.context)
    {
        span.error(failure.code.clone(), failure.message.clone());
    }
}
