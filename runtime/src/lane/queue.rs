//! The queue between those who ask and the thread that computes: first come, first served, with admission under one lock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    LaneError,
    admission::{Ahead, Pace, Shed, admit},
    lateness::Lateness,
    shortcut,
};

/// What a ticket asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// How many items.
    pub(super) items: usize,
    /// How long each takes to compute.
    pub(super) per_item: Duration,
    /// From now on, if the request has a timeout of its own.
    pub(super) timeout: Option<Duration>,
    /// Whether nothing but the computation itself is in the way: nobody else uses the network, and its weights are in memory.
    pub(super) at_hand: bool,
}

/// A queue of `T`, each of so many items.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// What is predicted to take no longer may be computed by whoever asks.
    longest_at_once: Duration,
}

struct State<T> {
    waiting: VecDeque<(T, usize)>,
    waiting_items: usize,
    running: Option<(usize, Instant)>,
    /// When the last ticket was done.
    resting_since: Option<Instant>,
    objective: Option<Duration>,
    lateness: Lateness,
    closed: bool,
}

/// What was predicted of a ticket that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Promise {
    /// When it was let in.
    made: Instant,
    /// How long it would take, and how long it might.
    predicted: Duration,
    allowed: Option<Duration>,
}

/// A ticket that was let in.
#[derive(Debug)]
pub(super) struct LetIn<T> {
    /// To be [`Queue::kept`].
    pub(super) promise: Promise,
    /// The ticket, if whoever asks is to compute it at once, and then to say that it is [`Queue::done`].
    pub(super) at_once: Option<T>,
}

impl<T> Queue<T> {
    /// An empty queue. Who asks may be told to compute at once what takes no longer than `longest_at_once`.
    pub(super) fn new(longest_at_once: Duration) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            waiting_items: 0,
            running: None,
            resting_since: None,
            objective: None,
            lateness: Lateness::default(),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), longest_at_once }
    }

    pub(super) fn keep_within(&self, objective: Option<Duration>) {
        self.state.lock().objective = objective;
    }

    pub(super) fn objective(&self) -> Option<Duration> {
        self.state.lock().objective
    }

    /// Those that wait, and the one that is being computed.
    pub(super) fn length(&self) -> usize {
        let state = self.state.lock();
        state.waiting.len() + usize::from(state.running.is_some())
    }

    /// How many items are being computed, and for how long.
    pub(super) fn running(&self) -> Option<(usize, Duration)> {
        self.state.lock().running.map(|(items, since)| (items, since.elapsed()))
    }

    /// Pretends that what is being computed has begun so much earlier.
    #[cfg(test)]
    pub(super) fn age(&self, earlier: Duration) {
        if let Some((_, since)) = &mut self.state.lock().running {
            *since = since.checked_sub(earlier).unwrap();
        }
    }

    /// Lets `ticket` in, or says why not.
    pub(super) fn offer(&self, ticket: T, demand: Demand, now: Instant) -> Result<LetIn<T>, LaneError> {
        let Demand { items, per_item, timeout, at_hand } = demand;
        let mut state = self.state.lock();
        if state.closed {
            return Err(LaneError::Closed);
        }
        let running = state.running.map(|(items, since)| (items, now.saturating_duration_since(since)));
        let ahead = Ahead { requests: state.waiting.len(), items: state.waiting_items, running };
        let pace = Pace { per_item, lateness: state.lateness.duration() };
        let allowed = shorter(state.objective, timeout);
        let predicted = admit(ahead, items, pace, allowed)?;
        let promise = Promise { made: now, predicted, allowed };
        let rested = state.resting_since.map(|since| now.saturating_duration_since(since));
        if at_hand && ahead.is_idle() && shortcut::is_worth_it(predicted, rested, self.longest_at_once) {
            state.running = Some((items, now));
            return Ok(LetIn { promise, at_once: Some(ticket) });
        }
        state.waiting.push_back((ticket, items));
        state.waiting_items = state.waiting_items.saturating_add(items);
        drop(state);
        // Whoever computes now looks at the queue when that is done.
        if running.is_none() {
            self.changed.notify_one();
        }
        Ok(LetIn { promise, at_once: None })
    }

    /// A ticket that was let in on this promise was answered at `now`.
    pub(super) fn kept(&self, promise: Promise, now: Instant) {
        let Promise { made, predicted, allowed } = promise;
        if let Some(allowed) = allowed {
            self.state.lock().lateness.learn(predicted, now.saturating_duration_since(made), allowed);
        }
    }

    /// Whether a ticket that has `waited` may still be computed.
    pub(super) fn still_in_time(&self, waited: Duration, timeout: Option<Duration>) -> Result<(), Shed> {
        let passed = |limit: &Duration| waited > *limit;
        if let Some(timeout) = timeout.filter(passed) {
            return Err(Shed::Deadline { timeout });
        }
        self.objective().filter(passed).map_or(Ok(()), |allowed| Err(Shed::Expired { waited, allowed }))
    }

    /// Waits for the next ticket, and for one that is computed elsewhere; `None` when the queue is closed and empty.
    pub(super) fn next(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(ticket) = state.take() {
                return Some(ticket);
            }
            if state.closed && state.waiting.is_empty() {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    /// The ticket that was taken last is done.
    pub(super) fn done(&self) {
        let mut state = self.state.lock();
        state.running = None;
        state.resting_since = Some(Instant::now());
        let waiting = !state.waiting.is_empty();
        drop(state);
        if waiting {
            self.changed.notify_one();
        }
    }

    /// Takes no more tickets; those that wait are still given out.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Takes no more tickets, and drops those that wait: nobody is there to compute them.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        (state.closed, state.waiting_items, state.running) = (true, 0, None);
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        drop(dropped);
    }
}

impl<T> State<T> {
    /// The next ticket, unless one is being computed.
    fn take(&mut self) -> Option<T> {
        if self.running.is_some() {
            return None;
        }
        let (ticket, items) = self.waiting.pop_front()?;
        self.waiting_items = self.waiting_items.saturating_sub(items);
        self.running = Some((items, Instant::now()));
        Some(ticket)
    }
}

/// The shorter of two times, where none is endless.
fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ONE: Demand = Demand { items: 1, per_item: MS, timeout: None, at_hand: true };

    #[test]
    fn tickets_come_out_in_the_order_in_which_they_went_in() {
        let queue = Queue::new(Duration::ZERO);
        for ticket in 0..3 {
            queue.offer(ticket, ONE, Instant::now()).unwrap();
        }
        queue.close();
        let out: Vec<_> = std::iter::from_fn(|| queue.next().inspect(|_| queue.done())).collect();
        assert_eq!(out, [0, 1, 2]);
    }

    #[test]
    fn what_waits_and_what_runs_stands_before_a_new_ticket() {
        let queue = Queue::new(Duration::ZERO);
        queue.keep_within(Some(MS * 3));
        let now = Instant::now();
        assert!(queue.offer('a', ONE, now).is_ok());
        queue.next();
        assert!(queue.offer('b', ONE, now).is_ok());
        assert!(queue.offer('c', ONE, now).is_ok());
        assert!(matches!(queue.offer('d', ONE, now), Err(LaneError::Shed(Shed::TooLate { .. }))));
        assert_eq!(queue.length(), 3);
        queue.done();
        assert!(queue.offer('d', ONE, now).is_ok());
    }

    #[test]
    fn a_queue_whose_answers_were_late_lets_fewer_in() {
        let queue = Queue::new(Duration::ZERO);
        queue.keep_within(Some(MS * 4));
        let now = Instant::now();
        for _ in 0..100 {
            let LetIn { promise, .. } = queue.offer('a', ONE, now).unwrap();
            queue.next();
            queue.done();
            queue.kept(promise, now + MS * 2);
        }
        let let_in = std::iter::repeat_with(|| queue.offer('b', ONE, now)).take_while(Result::is_ok).count();
        // Four would be in time, were they not a millisecond late, and a little is added to that.
        assert_eq!(let_in, 2);
    }

    #[test]
    fn a_ticket_that_has_waited_too_long_is_told_so() {
        let queue: Queue<()> = Queue::new(Duration::ZERO);
        assert_eq!(queue.still_in_time(MS * 100, None), Ok(()));
        queue.keep_within(Some(MS * 20));
        assert_eq!(queue.still_in_time(MS * 20, None), Ok(()));
        let expired = |waited, allowed| Err(Shed::Expired { waited: MS * waited, allowed: MS * allowed });
        assert_eq!(queue.still_in_time(MS * 21, None), expired(21, 20));
        assert_eq!(queue.still_in_time(MS * 21, Some(MS * 50)), expired(21, 20));
        assert_eq!(queue.still_in_time(MS * 6, Some(MS * 5)), Err(Shed::Deadline { timeout: MS * 5 }));
    }

    #[test]
    fn a_ticket_in_a_hurry_is_refused_where_others_may_wait() {
        let queue = Queue::new(Duration::ZERO);
        let now = Instant::now();
        for ticket in 0..3 {
            queue.offer(ticket, ONE, now).unwrap();
        }
        let hurried = Demand { timeout: Some(MS * 2), ..ONE };
        assert!(matches!(queue.offer(3, hurried, now), Err(LaneError::Shed(Shed::TooLate { .. }))));
        assert!(queue.offer(3, ONE, now).is_ok());
    }

    #[test]
    fn who_asks_computes_at_once_what_is_short_and_finds_nobody_else() {
        let queue = Queue::new(MS);
        let now = Instant::now();
        let at_once = |ticket, demand, now| queue.offer(ticket, demand, now).unwrap().at_once.is_some();
        assert!(at_once('a', ONE, now));
        assert!(!at_once('b', ONE, now), "a is being computed");
        queue.done();
        assert!(!at_once('c', ONE, now), "b waits");
        assert_eq!((queue.next(), queue.length()), (Some('b'), 2));
        queue.done();
        queue.next();
        queue.done();
        let rested = Instant::now() + MS;
        assert!(!at_once('d', Demand { items: 2, ..ONE }, rested), "it is long");
        queue.next();
        queue.done();
        assert!(!at_once('d', Demand { at_hand: false, ..ONE }, Instant::now() + MS), "it may have to wait");
        queue.next();
        queue.done();
        assert!(at_once('e', ONE, Instant::now() + MS));
    }

    #[test]
    fn what_comes_meanwhile_waits_until_who_computes_is_done() {
        let queue = Queue::new(MS);
        assert!(queue.offer('a', ONE, Instant::now()).unwrap().at_once.is_some());
        assert!(queue.offer('b', ONE, Instant::now()).unwrap().at_once.is_none());
        assert_eq!(queue.state.lock().take(), None);
        queue.done();
        assert_eq!(queue.next(), Some('b'));
    }

    #[test]
    fn a_closed_queue_takes_nothing_more() {
        let queue = Queue::new(Duration::ZERO);
        queue.close();
        assert!(matches!(queue.offer((), ONE, Instant::now()), Err(LaneError::Closed)));
        assert_eq!(queue.next(), None);
    }

    #[test]
    fn an_abandoned_queue_drops_what_waits_and_takes_nothing_more() {
        let queue = Queue::new(Duration::ZERO);
        for ticket in 0..3 {
            queue.offer(ticket, ONE, Instant::now()).unwrap();
        }
        queue.next();
        queue.abandon();
        assert_eq!(queue.length(), 0);
        assert!(matches!(queue.offer(3, ONE, Instant::now()), Err(LaneError::Closed)));
        assert_eq!(queue.next(), None);
    }
}
