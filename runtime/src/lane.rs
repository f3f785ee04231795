//! The one lane that all inferences go through, one at a time: a bounded queue, and a thread of the operating system that computes.
//!
//! One at a time, since the engine computes a batch as fast as it can; on a thread that is not one of tokio's, since an inference
//! would hold up everything else there. Only a short one that finds nobody else is computed by who asks ([`shortcut`]). Whether a
//! request may join is decided at once, by [`admission`]; which variant computes is decided when its turn comes, so that every
//! dispatch after a swap is on the new variant.

pub(crate) mod admission;
pub(crate) mod fairness;
mod lateness;
mod queue;
pub(crate) mod shortcut;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::{
    admission::Shed,
    fairness::Client,
    queue::{Demand, LetIn, Promise, Queue},
};
use crate::{engine::EngineError, switch::Switch, values::Values, variant::Resident};

/// An inference that has run for longer than this is stuck, unless it was to be expected: ...
const LONGEST_INFERENCE: Duration = Duration::from_mins(1);
/// ... large batches of slow networks on a part of a CPU may take as many times what they take at other times.
const MOST_TIMES_SLOWER: u32 = 10;

/// A batch to compute.
pub(crate) struct Batch {
    /// How many items.
    pub(crate) items: usize,
    /// Their values, one item after the other.
    pub(crate) input: Values,
    /// When the request had been read: a slow sender is not the server's delay.
    pub(crate) read: Instant,
    /// Who sent it.
    pub(crate) client: Client,
    /// The only variant that may answer, if the request names one.
    pub(crate) variant: Option<String>,
    /// After which nobody waits for it any more.
    pub(crate) deadline: Option<Deadline>,
    /// The memory that the request has claimed, given back with the answer.
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// The time that a client gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// When it is over.
    pub(crate) at: Instant,
    /// How long it was.
    pub(crate) timeout: Duration,
}

impl Deadline {
    /// What is left of it.
    pub(crate) fn rest(self, now: Instant) -> Result<Duration, Shed> {
        let rest = self.at.checked_duration_since(now).filter(|rest| !rest.is_zero());
        rest.ok_or(Shed::Deadline { timeout: self.timeout })
    }
}

/// What became of a batch.
pub(crate) struct Answer {
    /// The outputs, one item after the other.
    pub(crate) output: Values,
    /// The variant that computed them.
    pub(crate) variant: Arc<Resident>,
    /// How long it waited before.
    pub(crate) waited: Duration,
    /// How long that took.
    pub(crate) inference: Duration,
    /// The memory that the request has claimed.
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// Why a batch was not computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaneError {
    /// It would have been answered too late.
    #[error(transparent)]
    Shed(#[from] Shed),
    /// No variant is loaded yet.
    #[error("no variant is loaded yet: ask /v2/health/ready before sending requests")]
    NotReady,
    /// The active variant is not the one that the request names, or takes other tensors than those that it was read for.
    #[error("the variant changed while the request waited: send it again")]
    Changed,
    /// The engine failed.
    #[error("the inference failed; this request or this variant is at fault, others are served")]
    Engine(#[source] EngineError),
    /// The process ends, or the thread that computes has died, after which the process is ended from outside.
    #[error("the server is shutting down: send the request again, to another one")]
    Closed,
}

/// A batch in the queue, with the way back to who waits for it.
struct Ticket {
    batch: Batch,
    let_in: Instant,
    reply: oneshot::Sender<Result<Answer, LaneError>>,
}

/// The lane. Dropping it lets the thread finish what is queued, and waits for it.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Queue<Ticket>,
    switch: Arc<Switch>,
    /// Inferences that were begun and ended: odd while one runs.
    beats: AtomicU64,
}

impl Lane {
    /// Starts the thread, which computes on whatever variant is active in `switch`. What is predicted to take no more than
    /// `longest_at_once` may be computed by who asks.
    pub(crate) fn start(switch: Arc<Switch>, longest_at_once: Duration) -> io::Result<Self> {
        let queue = Queue::new(longest_at_once);
        let shared = Arc::new(Shared { queue, switch, beats: AtomicU64::new(0) });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("inference".to_owned()).spawn(move || of_thread.work())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Sets the latency that is to be kept; without one, only a full queue sheds.
    pub(crate) fn keep_within(&self, objective: Option<Duration>) {
        self.shared.queue.keep_within(objective);
    }

    /// The latency that is to be kept.
    pub(crate) fn objective(&self) -> Option<Duration> {
        self.shared.queue.objective()
    }

    /// Whether the thread that computes is there.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Whether an inference takes so long that it will hardly end.
    pub(crate) fn is_stuck(&self) -> bool {
        let Some((items, elapsed)) = self.shared.queue.running() else { return false };
        let each = self.shared.switch.active().map_or(Duration::ZERO, |active| active.service_time());
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        elapsed > LONGEST_INFERENCE.max(each.saturating_mul(items).saturating_mul(MOST_TIMES_SLOWER))
    }

    /// Pretends that what is being computed has begun so much earlier.
    #[cfg(test)]
    pub(crate) fn age(&self, earlier: Duration) {
        self.shared.queue.age(earlier);
    }

    /// Requests that wait or are being computed.
    pub(crate) fn length(&self) -> usize {
        self.shared.queue.length()
    }

    /// Changes whenever an inference begins or ends: equal and even before and after means that nothing ran meanwhile.
    pub(crate) fn beats(&self) -> u64 {
        self.shared.beats.load(Ordering::Acquire)
    }

    /// Computes a batch, or says at once that it would be too late. Dropped meanwhile, it takes the batch back.
    pub(crate) async fn compute(&self, batch: Batch) -> Result<Answer, LaneError> {
        let queue = &self.shared.queue;
        let active = self.shared.switch.active().ok_or(LaneError::NotReady)?;
        let (reply, answer) = oneshot::channel();
        let now = Instant::now();
        queue.still_in_time(now.saturating_duration_since(batch.read))?;
        let timeout = batch.deadline.map(|deadline| deadline.rest(now)).transpose()?;
        let demand = Demand {
            client: batch.client,
            items: batch.items,
            per_item: active.service_time(),
            timeout,
            at_hand: active.is_at_hand(),
        };
        drop(active);
        let ticket = Ticket { batch, let_in: now, reply };
        let LetIn { promise, at_once, number, made_room } = queue.offer(ticket, demand, now)?;
        if let Some(Ticket { batch, reply, .. }) = made_room {
            drop(batch);
            drop(reply.send(Err(Shed::Unfair.into())));
        }
        let answer = if let Some(Ticket { batch, let_in, .. }) = at_once {
            self.shared.compute_at_once(batch, let_in)
        } else {
            let mut waits = Waits { queue, number, promise, answer };
            (&mut waits.answer).await.map_err(|_| LaneError::Closed)?
        };
        if !matches!(answer, Err(LaneError::Shed(Shed::Unfair))) {
            queue.kept(promise, Instant::now());
        }
        answer
    }
}

/// Somebody waits for a ticket's answer. Dropped before it came, nobody does any more, and the ticket is taken back.
struct Waits<'a> {
    queue: &'a Queue<Ticket>,
    number: u64,
    promise: Promise,
    answer: oneshot::Receiver<Result<Answer, LaneError>>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        if !self.answer.is_terminated() && self.answer.try_recv().is_err() {
            drop(self.queue.give_up(self.number, self.promise, Instant::now()));
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the panic hook; requests that waited got `Closed`.
            drop(thread.join());
        }
    }
}

/// Ends the queue with the thread, also with one that panics: otherwise requests would wait for ever.
struct AbandonAtEnd<'a>(&'a Queue<Ticket>);

impl Drop for AbandonAtEnd<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Shared {
    fn work(&self) {
        let _at_end = AbandonAtEnd(&self.queue);
        while let Some(ticket) = self.queue.next() {
            // Nobody waits any more: the client went away just now.
            if !ticket.reply.is_closed() {
                drop(ticket.reply.send(self.compute(ticket.batch, ticket.let_in)));
            }
            self.queue.done();
        }
    }

    /// On the calling thread. A panic ends the lane, as one of its own thread would.
    fn compute_at_once(&self, batch: Batch, let_in: Instant) -> Result<Answer, LaneError> {
        let answer = catch_unwind(AssertUnwindSafe(|| self.compute(batch, let_in)));
        if let Ok(answer) = answer {
            self.queue.done();
            answer
        } else {
            self.queue.abandon();
            Err(LaneError::Closed)
        }
    }

    fn compute(&self, batch: Batch, let_in: Instant) -> Result<Answer, LaneError> {
        let now = Instant::now();
        self.queue.still_in_time(now.saturating_duration_since(batch.read))?;
        batch.deadline.map(|deadline| deadline.rest(now)).transpose()?;
        let variant = self.switch.active().ok_or(LaneError::NotReady)?;
        if batch.variant.as_ref().is_some_and(|wanted| wanted != variant.name().as_str()) {
            return Err(LaneError::Changed);
        }
        let interface = &variant.interface;
        let fits = batch.input.datatype() == interface.input.datatype
            && batch.input.len() == batch.items.saturating_mul(interface.input_length());
        if !fits {
            return Err(LaneError::Changed);
        }
        self.beats.fetch_add(1, Ordering::AcqRel);
        let started = Instant::now();
        let output = variant.run(batch.items, &batch.input);
        let inference = started.elapsed();
        self.beats.fetch_add(1, Ordering::AcqRel);
        let waited = started.saturating_duration_since(let_in);
        let output = output.map_err(LaneError::Engine)?;
        Ok(Answer { output, variant, waited, inference, held: batch.held })
    }
}
