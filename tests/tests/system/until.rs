//! Waiting for what must come true: by looking again until a deadline, never by sleeping for as long as it "should" take.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a look has shown.
pub enum Look<T> {
    /// It is so.
    Yes(T),
    /// Not yet: what was seen instead, for the one who reads of the failure.
    NotYet(String),
}

impl<T> Look<T> {
    /// `Yes` if there is a value, `NotYet` with what was `seen` otherwise.
    pub fn of(value: Option<T>, seen: impl FnOnce() -> String) -> Self {
        value.map_or_else(|| Self::NotYet(seen()), Self::Yes)
    }
}

impl Look<()> {
    /// Whether `holds`; `seen` says what is so instead.
    pub fn whether(holds: bool, seen: impl FnOnce() -> String) -> Self {
        Self::of(holds.then_some(()), seen)
    }
}

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Looks until it is so, for at most `patience`. A look that fails ends the wait.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<Look<T>>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look().await? {
            Look::Yes(value) => return Ok(value),
            Look::NotYet(seen) if Instant::now() > deadline => {
                bail!("waited {} s in vain for {what}; seen last: {seen}", patience.as_secs())
            }
            Look::NotYet(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
