//! The queue between those who ask and the thread that computes: first come, first served, with admission under one lock. When it is
//! full, [`fairness`](super::fairness) says who makes room.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    LaneError,
    admission::{Ahead, Pace, Shed, admit},
    fairness::{Client, who_makes_room},
    lateness::Lateness,
    shortcut,
};

/// What a ticket asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Who asks.
    pub(super) client: Client,
    /// How many items.
    pub(super) items: usize,
    /// How long each takes to compute.
    pub(super) per_item: Duration,
    /// From now on, if the request has a timeout of its own.
    pub(super) timeout: Option<Duration>,
    /// Whether nothing but the computation itself is in the way: nobody else uses the network, and its weights are in memory.
    pub(super) at_hand: bool,
}

/// A queue of `T`.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    /// What is predicted to take no longer may be computed by whoever asks.
    longest_at_once: Duration,
}

struct State<T> {
    waiting: VecDeque<Waiting<T>>,
    waiting_items: usize,
    let_in: u64,
    running: Option<(usize, Instant)>,
    /// When the last ticket was done.
    resting_since: Option<Instant>,
    objective: Option<Duration>,
    lateness: Lateness,
    closed: bool,
}

struct Waiting<T> {
    number: u64,
    client: Client,
    items: usize,
    ticket: T,
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
    /// By which it can be [given up](Queue::give_up) while it waits.
    pub(super) number: u64,
    /// Another one, which had waited and has made room.
    pub(super) made_room: Option<T>,
}

impl<T> Queue<T> {
    /// An empty queue. Who asks may be told to compute at once what takes no longer than `longest_at_once`.
    pub(super) fn new(longest_at_once: Duration) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            waiting_items: 0,
            let_in: 0,
            running: None,
            resting_since: None,
            objective: None,
            lateness: Lateness::default(),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), longest_at_once }
    }

    pub(super) fn keep_within(&self, objective: Option<Duration>) {
        let mut state = self.state.lock();
        state.objective = objective;
        if let Some(objective) = objective {
            state.lateness.keep_within(objective);
        }
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
        let Demand { client, items, timeout, at_hand, .. } = demand;
        let mut state = self.state.lock();
        if state.closed {
            return Err(LaneError::Closed);
        }
        let allowed = shorter(state.objective, timeout);
        let (predicted, made_room) = state.admit(demand, allowed, now)?;
        state.let_in += 1;
        let number = state.let_in;
        let promise = Promise { made: now, predicted, allowed };
        let rested = state.resting_since.map(|since| now.saturating_duration_since(since));
        let idle = state.running.is_none();
        if at_hand
            && idle
            && state.waiting.is_empty()
            && shortcut::is_worth_it(predicted, rested, self.longest_at_once)
        {
            state.running = Some((items, now));
            return Ok(LetIn { promise, at_once: Some(ticket), number, made_room });
        }
        state.waiting.push_back(Waiting { number, client, items, ticket });
        state.waiting_items = state.waiting_items.saturating_add(items);
        drop(state);
        // Whoever computes now looks at the queue when that is done.
        if idle {
            self.changed.notify_one();
        }
        Ok(LetIn { promise, at_once: None, number, made_room })
    }

    /// Nobody waits for a ticket's answer any more, which would have come after `now`. Takes it back; nothing if it does not wait.
    pub(super) fn give_up(&self, number: u64, promise: Promise, now: Instant) -> Option<T> {
        let mut state = self.state.lock();
        let Promise { made, predicted, allowed } = promise;
        if let Some(allowed) = allowed {
            state.lateness.learn_later(predicted, now.saturating_duration_since(made), allowed);
        }
        let place = state.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()?;
        state.remove(place)
    }

    /// A ticket that was let in on this promise was answered at `now`.
    pub(super) fn kept(&self, promise: Promise, now: Instant) {
        let Promise { made, predicted, allowed } = promise;
        if let Some(allowed) = allowed {
            self.state.lock().lateness.learn(predicted, now.saturating_duration_since(made), allowed);
        }
    }

    /// Whether a ticket that has `waited` may still be computed.
    pub(super) fn still_in_time(&self, waited: Duration) -> Result<(), Shed> {
        let allowed = self.objective().filter(|allowed| waited > *allowed);
        allowed.map_or(Ok(()), |allowed| Err(Shed::Expired { waited, allowed }))
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
    /// How long it will take until a ticket is computed that is let in, and the one that made room for it; or why it is not.
    fn admit(
        &mut self,
        demand: Demand,
        allowed: Option<Duration>,
        now: Instant,
    ) -> Result<(Duration, Option<T>), Shed> {
        let Demand { client, items, per_item, .. } = demand;
        let pace = Pace { per_item, lateness: self.lateness.duration(allowed) };
        let full = match admit(self.ahead(now), items, pace, allowed) {
            Ok(predicted) => return Ok((predicted, None)),
            // Who is in more of a hurry than all others has no claim to their places.
            Err(full) if full.is_overload(self.objective) => full,
            Err(other) => return Err(other),
        };
        let waiting = self.waiting.iter().map(|waiting| (waiting.client, waiting.items));
        let position = who_makes_room(waiting, (client, items)).ok_or(full)?;
        let given = self.waiting.get(position).map_or(0, |waiting| waiting.items);
        let mut ahead = self.ahead(now);
        (ahead.requests, ahead.items) = (ahead.requests.saturating_sub(1), ahead.items.saturating_sub(given));
        let predicted = admit(ahead, items, pace, allowed)?;
        Ok((predicted, self.remove(position)))
    }

    fn ahead(&self, now: Instant) -> Ahead {
        let running = self.running.map(|(items, since)| (items, now.saturating_duration_since(since)));
        Ahead { requests: self.waiting.len(), items: self.waiting_items, running }
    }

    fn remove(&mut self, place: usize) -> Option<T> {
        let Waiting { items, ticket, .. } = self.waiting.remove(place)?;
        self.waiting_items = self.waiting_items.saturating_sub(items);
        Some(ticket)
    }

    /// The next ticket, unless one is being computed.
    fn take(&mut self) -> Option<T> {
        if self.running.is_some() {
            return None;
        }
        let items = self.waiting.front()?.items;
        self.running = Some((items, Instant::now()));
        self.remove(0)
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
    const ONE: Demand = Demand { client: None, items: 1, per_item: MS, timeout: None, at_hand: true };

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
        queue.keep_within(Some(MS * 7 / 2));
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
        // How many are let in after a hundred whose answers did not come within so many milliseconds, or did just then.
        let let_in = |after: u32, came: bool| {
            let queue = Queue::new(Duration::ZERO);
            queue.keep_within(Some(MS * 4));
            let now = Instant::now();
            for _ in 0..100 {
                let LetIn { promise, number, .. } = queue.offer('a', ONE, now).unwrap();
                queue.next();
                queue.done();
                if came {
                    queue.kept(promise, now + MS * after);
                } else {
                    queue.give_up(number, promise, now + MS * after);
                }
            }
            std::iter::repeat_with(|| queue.offer('b', ONE, now)).take_while(Result::is_ok).count()
        };
        // Four would be in time, were it not for what is always added.
        assert_eq!(let_in(1, true), 3);
        // They were a millisecond late.
        assert_eq!(let_in(2, true), 2);
        assert_eq!(let_in(2, false), 2);
        // Who gives up before the answer was due has seen nothing.
        assert_eq!(let_in(1, false), 3);
    }

    #[test]
    fn a_ticket_that_has_waited_too_long_is_told_so() {
        let queue: Queue<()> = Queue::new(Duration::ZERO);
        assert_eq!(queue.still_in_time(MS * 100), Ok(()));
        queue.keep_within(Some(MS * 20));
        assert_eq!(queue.still_in_time(MS * 20), Ok(()));
        assert_eq!(queue.still_in_time(MS * 21), Err(Shed::Expired { waited: MS * 21, allowed: MS * 20 }));
    }

    #[test]
    fn a_client_with_little_takes_the_place_of_the_newest_of_one_with_much() {
        let queue = Queue::new(Duration::ZERO);
        queue.keep_within(Some(MS * 9 / 2));
        let now = Instant::now();
        let client = |last| Demand { client: Some([10, 0, 0, last].into()), ..ONE };
        for ticket in 0..4 {
            assert!(queue.offer(ticket, client(1), now).unwrap().made_room.is_none());
        }
        let refused = queue.offer(4, client(1), now).unwrap_err();
        assert!(matches!(refused, LaneError::Shed(Shed::TooLate { .. })), "{refused}");
        assert_eq!(queue.offer(5, client(2), now).unwrap().made_room, Some(3));
        assert_eq!(queue.offer(6, client(2), now).unwrap().made_room, Some(2));
        assert!(queue.offer(7, client(2), now).is_err(), "both have two");
        queue.close();
        let out: Vec<_> = std::iter::from_fn(|| queue.next().inspect(|_| queue.done())).collect();
        assert_eq!(out, [0, 1, 5, 6]);
    }

    #[test]
    fn who_is_in_more_of_a_hurry_than_others_takes_nobodys_place() {
        let queue = Queue::new(Duration::ZERO);
        queue.keep_within(Some(MS * 9 / 2));
        let now = Instant::now();
        let client = |last| Demand { client: Some([10, 0, 0, last].into()), ..ONE };
        for ticket in 0..2 {
            queue.offer(ticket, client(1), now).unwrap();
        }
        let hurried = Demand { timeout: Some(MS * 2), ..client(2) };
        assert!(queue.offer(2, hurried, now).is_err());
        assert_eq!(queue.length(), 2);
    }

    #[test]
    fn a_ticket_that_is_taken_back_stands_before_nobody() {
        let queue = Queue::new(Duration::ZERO);
        queue.keep_within(Some(MS * 5 / 2));
        let now = Instant::now();
        let first = queue.offer('a', ONE, now).unwrap();
        queue.offer('b', ONE, now).unwrap();
        assert!(queue.offer('c', ONE, now).is_err());
        let give_up = |LetIn { number, promise, .. }: &LetIn<char>| queue.give_up(*number, *promise, now);
        assert_eq!((give_up(&first), give_up(&first)), (Some('a'), None));
        let third = queue.offer('c', ONE, now).unwrap();
        assert_eq!((queue.next(), give_up(&third), queue.length()), (Some('b'), Some('c'), 1));
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
