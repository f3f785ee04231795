//! How bodies are read: so many bytes, within so much time, and all of them together within what the process can hold.
//!
//! Memory is claimed as bytes arrive and given back when the request has been computed, so that neither a large claim nor a
//! slow sender takes anything from the others. What the bytes mean is for [`protocol`](crate::protocol).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    keeper::memory::MOST_OF_REQUESTS,
    protocol::{LARGEST_ITEM_BYTES, excerpt},
};

/// All requests that are being read, wait, or are computed hold no more than this, with the outputs that they will have: four of the
/// largest (or two, of a model whose items are larger), or 5,000 raw images of 3x32x32. A small node gives them less.
const MOST_BYTES: usize = MOST_OF_REQUESTS as usize;

const _: () = assert!(2 * LARGEST_ITEM_BYTES <= MOST_BYTES);

/// Whoever needs longer for a body holds memory that others could use: 16 MiB in this time are 13 Mbit/s.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory for a body is taken at once up to this size, whatever length it claims; beyond, as it comes.
const FIRST_BYTES: usize = 256 << 10;

/// More bodies than this are never read at a time: the one that has taken the longest is given up for a new one. With the queue's
/// longest it is less than the connections that there may be, so that there is always an idle one to make room for a probe.
pub(super) const MOST_READ_AT_A_TIME: usize = 200;

/// Reads bodies.
pub(crate) struct Intake {
    /// What all requests may hold together, so that none may hold more.
    most_bytes: usize,
    free_bytes: Arc<Semaphore>,
    readers: Mutex<Readers>,
}

/// Those that read a body now, by the order in which they began.
#[derive(Default)]
struct Readers {
    begun: u64,
    give_up: BTreeMap<u64, CancellationToken>,
}

/// A body is being read, until this is dropped.
struct Reading<'a> {
    readers: &'a Mutex<Readers>,
    number: u64,
    give_up: CancellationToken,
}

/// A body that was read.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The body.
    pub(crate) bytes: BytesMut,
    /// The memory that it has claimed: to be kept until the request is computed.
    pub(crate) held: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    /// It is too large.
    #[error(
        "the body has more than {limit} bytes, the most that are read: send smaller batches, or raw values instead of JSON"
    )]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// What it says, and what will be answered, is too large.
    #[error(
        "the request and its answer take {bytes} bytes of memory, this node has {limit} for requests: send smaller batches"
    )]
    TooMuch {
        /// What they take.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// It does not come.
    #[error("the body did not come within {} s", PATIENCE.as_secs())]
    TooSlow,
    /// It comes so slowly that others need its place.
    #[error("the body came slower than {MOST_READ_AT_A_TIME} others, which needed its place")]
    Displaced,
    /// Too much is held already.
    #[error(
        "overloaded: the requests that wait hold too much memory; send fewer or smaller ones, or try again later"
    )]
    Full,
    /// It is compressed.
    #[error("the body has the Content-Encoding \"{encoding}\": send it as it is")]
    Encoded {
        /// How.
        encoding: String,
    },
    /// The connection broke.
    #[error("failed to read the body")]
    Broken(#[source] axum::Error),
}

impl Default for Intake {
    fn default() -> Self {
        Self::holding(MOST_BYTES)
    }
}

impl Intake {
    /// One whose requests hold no more than so many bytes.
    pub(crate) fn holding(bytes: usize) -> Self {
        let most_bytes = bytes.min(MOST_BYTES);
        Self { most_bytes, free_bytes: Arc::new(Semaphore::new(most_bytes)), readers: Mutex::default() }
    }

    /// Reads the body of a request with these headers, of at most `limit` bytes.
    pub(crate) async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<Taken, IntakeError> {
        let limit = limit.min(self.most_bytes);
        if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|it| *it != "identity") {
            let encoding = excerpt(&String::from_utf8_lossy(encoding.as_bytes()));
            return Err(IntakeError::Encoded { encoding });
        }
        let claimed =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if claimed.is_some_and(|length: usize| length > limit) {
            return Err(IntakeError::TooLarge { limit });
        }
        let first = claimed.unwrap_or_default().min(FIRST_BYTES);
        let reading = Reading::begin(&self.readers);
        tokio::select! {
            read = timeout(PATIENCE, self.collect(body, first, limit)) => read.unwrap_or(Err(IntakeError::TooSlow)),
            () = reading.give_up.cancelled() => Err(IntakeError::Displaced),
        }
    }

    /// Claims for a request that was read what its values take beyond what its body did: numbers and texts may be many times as large as
    /// they are written.
    pub(crate) fn claim_all(
        &self,
        held: Option<OwnedSemaphorePermit>,
        bytes: usize,
    ) -> Result<Option<OwnedSemaphorePermit>, IntakeError> {
        if bytes > self.most_bytes {
            return Err(IntakeError::TooMuch { bytes, limit: self.most_bytes });
        }
        let missing = bytes.saturating_sub(held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(held);
        }
        let mut claim = self.claim(missing)?;
        if let Some(held) = held {
            claim.merge(held);
        }
        Ok(Some(claim))
    }

    async fn collect(&self, body: Body, first: usize, limit: usize) -> Result<Taken, IntakeError> {
        let mut chunks = body.into_data_stream();
        let mut taken = Taken { bytes: BytesMut::with_capacity(first), held: None };
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(IntakeError::Broken)?;
            if taken.bytes.len().saturating_add(chunk.len()) > limit {
                return Err(IntakeError::TooLarge { limit });
            }
            let claim = self.claim(chunk.len())?;
            match &mut taken.held {
                Some(held) => held.merge(claim),
                none => *none = Some(claim),
            }
            taken.bytes.extend_from_slice(&chunk);
        }
        Ok(taken)
    }

    fn claim(&self, bytes: usize) -> Result<OwnedSemaphorePermit, IntakeError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.free_bytes).try_acquire_many_owned(bytes).map_err(|_| IntakeError::Full)
    }
}

impl<'a> Reading<'a> {
    fn begin(readers: &'a Mutex<Readers>) -> Self {
        let mut state = readers.lock();
        if state.give_up.len() >= MOST_READ_AT_A_TIME
            && let Some((_, slowest)) = state.give_up.pop_first()
        {
            slowest.cancel();
        }
        state.begun += 1;
        let (number, give_up) = (state.begun, CancellationToken::new());
        state.give_up.insert(number, give_up.clone());
        drop(state);
        Self { readers, number, give_up }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.readers.lock().give_up.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn chunks(chunks: Vec<Vec<u8>>) -> Body {
        Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, std::io::Error>)))
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[tokio::test]
    async fn a_body_is_read_whole_and_its_memory_is_given_back_when_it_is_dropped() {
        let intake = Intake::default();
        let taken = intake.read(&HeaderMap::new(), chunks(vec![vec![1; 3], vec![2; 4]]), 7).await.unwrap();
        assert_eq!(taken.bytes[..], [1, 1, 1, 2, 2, 2, 2]);
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES - 7);
        drop(taken);
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_by_its_claim_or_as_it_comes() {
        let intake = Intake::default();
        let claims = headers(header::CONTENT_LENGTH, "18446744073709551615");
        for (headers, body) in [(claims, Body::empty()), (HeaderMap::new(), chunks(vec![vec![0; 4]; 2]))] {
            let refused = intake.read(&headers, body, 7).await.unwrap_err();
            assert!(matches!(refused, IntakeError::TooLarge { limit: 7 }), "{refused}");
        }
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up_and_holds_only_what_has_come() {
        let intake = Intake::default();
        let never = stream::once(async { Ok::<_, std::io::Error>(vec![0; 5]) }).chain(stream::pending());
        let refused = intake.read(&HeaderMap::new(), Body::from_stream(never), 1 << 20).await.unwrap_err();
        assert!(matches!(refused, IntakeError::TooSlow), "{refused}");
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES);
    }

    #[tokio::test]
    async fn when_others_hold_all_memory_a_body_is_refused() {
        let intake = Intake::default();
        let all = intake.claim(MOST_BYTES).unwrap();
        let one = || chunks(vec![vec![0; 1]]);
        let refused = intake.read(&HeaderMap::new(), one(), 7).await.unwrap_err();
        assert!(matches!(refused, IntakeError::Full), "{refused}");
        drop(all);
        assert!(intake.read(&HeaderMap::new(), one(), 7).await.is_ok());
    }

    #[tokio::test]
    async fn values_that_are_larger_than_their_body_claim_the_rest() {
        let intake = Intake::default();
        let taken = intake.read(&HeaderMap::new(), chunks(vec![vec![1; 5]]), 7).await.unwrap();
        let held = intake.claim_all(taken.held, 3).unwrap();
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES - 5);
        let held = intake.claim_all(held, 100).unwrap();
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES - 100);
        let refused = intake.claim_all(held, MOST_BYTES + 1).unwrap_err();
        assert!(matches!(refused, IntakeError::TooMuch { .. }), "{refused}");
        assert_eq!(intake.free_bytes.available_permits(), MOST_BYTES);
        assert!(intake.claim_all(None, 0).unwrap().is_none());
    }

    #[tokio::test]
    async fn what_a_small_node_can_never_hold_is_too_large_and_no_overload() {
        let intake = Intake::holding(100);
        let refused = intake.read(&headers(header::CONTENT_LENGTH, "101"), Body::empty(), 1000).await;
        assert!(matches!(refused, Err(IntakeError::TooLarge { limit: 100 })));
        assert!(matches!(intake.claim_all(None, 101), Err(IntakeError::TooMuch { bytes: 101, limit: 100 })));
        assert!(intake.claim_all(None, 100).is_ok());
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused() {
        let headers = headers(header::CONTENT_ENCODING, "gzip");
        let refused = Intake::default().read(&headers, Body::empty(), 7).await.unwrap_err();
        assert_eq!(refused.to_string(), "the body has the Content-Encoding \"gzip\": send it as it is");
    }

    #[tokio::test]
    async fn of_too_many_bodies_the_slowest_is_given_up() {
        let intake = Arc::new(Intake::default());
        let slow = {
            let intake = Arc::clone(&intake);
            let never = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
            tokio::spawn(async move { intake.read(&HeaderMap::new(), never, 7).await })
        };
        while intake.readers.lock().give_up.is_empty() {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (1..MOST_READ_AT_A_TIME).map(|_| Reading::begin(&intake.readers)).collect();
        assert!(intake.read(&HeaderMap::new(), chunks(vec![vec![0; 1]]), 7).await.is_ok());
        assert!(matches!(slow.await.unwrap(), Err(IntakeError::Displaced)));
        assert!(others.iter().all(|other| !other.give_up.is_cancelled()));
        drop(others);
        assert!(intake.readers.lock().give_up.is_empty());
    }
}
