//! Attempts at loading, marked on disk while they last: a variant whose loading ended the process is not tried again at once.
//!
//! Without the mark a network that makes the engine crash, or that takes all the memory, would end each new process as well,
//! and no other variant would ever serve. A process that ends in order takes its mark away.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use dnnshifter_portfolio::VariantName;

use crate::variant::VariantError;

/// Folder of the marks within the store.
const FOLDER: &str = "loading";

/// After the first death the variant rests so long; after each further one twice as long as before...
pub(super) const FIRST_REST: Duration = Duration::from_mins(1);
/// ... up to an hour: 2^6 minutes.
const MOST_DOUBLINGS: u32 = 6;

/// The marks. Without a directory there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    directory: Option<PathBuf>,
}

/// One attempt, marked until it is [`Self::survived`]. Not when it is dropped: a panic is no good end.
#[must_use]
pub(crate) struct Attempt {
    mark: Option<PathBuf>,
}

impl Attempts {
    /// Marks in a folder of `store`.
    pub(crate) fn kept_in(store: Option<&Path>) -> Self {
        Self { directory: store.map(|store| store.join(FOLDER)) }
    }

    /// Begins to load `variant`, or says why not yet.
    pub(crate) fn begin(&self, variant: &VariantName, now: SystemTime) -> Result<Attempt, VariantError> {
        let Some(directory) = &self.directory else { return Ok(Attempt { mark: None }) };
        let mark = directory.join(variant.as_str());
        let deaths = deaths(&mark);
        if let Some(rest) = rest_after(deaths, &mark, now) {
            return Err(VariantError::Died { deaths, rest });
        }
        if let Err(error) = write(directory, &mark, deaths.saturating_add(1)) {
            tracing::warn!(directory = %directory.display(), %error, "failed to mark the loading of a variant");
        }
        Ok(Attempt { mark: Some(mark) })
    }

    /// The process ends in order: what it is loading has not ended it.
    pub(crate) fn end(&self) {
        if let Some(directory) = &self.directory {
            clear(fs::remove_dir_all(directory));
        }
    }
}

impl Attempt {
    /// Loading is over, with or without success: the process lives.
    pub(crate) fn survived(self) {
        if let Some(mark) = self.mark {
            clear(fs::remove_file(mark));
        }
    }
}

fn clear(removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "failed to take away the mark of a variant's loading");
    }
}

/// How many processes died while they loaded the variant; a mark that is damaged stands for one.
fn deaths(mark: &Path) -> u32 {
    fs::read_to_string(mark).map_or(0, |text| text.trim().parse().unwrap_or(1))
}

fn rest_after(deaths: u32, mark: &Path, now: SystemTime) -> Option<Duration> {
    let doublings = deaths.checked_sub(1)?.min(MOST_DOUBLINGS);
    let marked = fs::metadata(mark).and_then(|mark| mark.modified()).ok()?;
    // A clock that was set back must not make it longer than it is meant to be.
    let since = now.duration_since(marked).unwrap_or_default();
    (FIRST_REST * 2_u32.pow(doublings)).checked_sub(since).filter(|rest| !rest.is_zero())
}

fn write(directory: &Path, mark: &Path, deaths: u32) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    fs::write(mark, deaths.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn refused(attempts: &Attempts, later: Duration) -> Option<(u32, Duration)> {
        match attempts.begin(&name("a"), SystemTime::now() + later) {
            Err(VariantError::Died { deaths, rest }) => Some((deaths, rest)),
            Ok(_) | Err(_) => None,
        }
    }

    #[test]
    fn a_variant_that_ended_the_process_rests_longer_each_time() {
        let store = tempfile::tempdir().unwrap();
        let attempts = Attempts::kept_in(Some(store.path()));
        assert_eq!(refused(&attempts, Duration::ZERO), None);
        // The process died: the next one finds the mark.
        let (deaths, rest) = refused(&attempts, Duration::ZERO).unwrap();
        assert!(deaths == 1 && rest <= FIRST_REST, "{deaths} {rest:?}");
        assert_eq!(refused(&attempts, FIRST_REST + Duration::from_secs(1)), None);
        let (deaths, _) = refused(&attempts, FIRST_REST).unwrap();
        assert_eq!(deaths, 2);
        assert!(attempts.begin(&name("b"), SystemTime::now()).is_ok());
    }

    #[test]
    fn a_variant_that_the_process_survived_does_not_rest() {
        let store = tempfile::tempdir().unwrap();
        let attempts = Attempts::kept_in(Some(store.path()));
        attempts.begin(&name("a"), SystemTime::now()).unwrap().survived();
        assert_eq!(refused(&attempts, Duration::ZERO), None);
        attempts.end();
        assert_eq!(refused(&attempts, Duration::ZERO), None);
    }

    #[test]
    fn without_a_store_nothing_is_remembered() {
        let attempts = Attempts::kept_in(None);
        assert_eq!(refused(&attempts, Duration::ZERO), None);
        assert_eq!(refused(&attempts, Duration::ZERO), None);
    }
}
