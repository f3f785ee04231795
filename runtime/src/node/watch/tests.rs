//! A placement that is followed through all that an API server may do.

use http::StatusCode;
use tokio::sync::mpsc;

use super::*;
use crate::node::server::{Answer, Server, placement};

/// Notes the generations that it learns of.
struct Notes(mpsc::UnboundedSender<Option<i64>>);

impl Listener for Notes {
    async fn changed(&mut self, placement: VariantPlacement, _source: Source, _received: Instant) {
        self.0.send(placement.metadata.generation).unwrap();
    }
}

/// What a follower learns of a server with these answers, until it has learned of `generation`.
async fn learned(answers: impl IntoIterator<Item = Answer>, generation: i64) -> Vec<i64> {
    let (notes, mut learned) = mpsc::unbounded_channel();
    let ((server, _), stop) = (Server::new(answers, Answer::Silence), CancellationToken::new());
    let until = async {
        let mut generations = Vec::new();
        while generations.last() != Some(&generation) {
            generations.extend(learned.recv().await.unwrap());
        }
        stop.cancel();
        generations
    };
    tokio::join!(follow(server.api(), "p-n", stop.clone(), Notes(notes)), until).1
}

/// Time passes when nothing else happens: deadlines and pauses are kept, and cost nothing.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_fails_or_answers_nonsense_is_asked_again() {
    let bad = || {
        [
            Answer::Silence,
            Answer::ok("<html>a captive portal</html>"),
            Answer::ok("{}"),
            Answer::error(StatusCode::INTERNAL_SERVER_ERROR),
            Answer::error(StatusCode::UNAUTHORIZED),
        ]
    };
    let (list, watch) = ([Answer::list(&[placement(1)])], [Answer::watch(&[placement(2)])]);
    assert_eq!(learned(bad().into_iter().chain(list.clone()), 1).await, [1], "before the first list");
    assert_eq!(
        learned(list.into_iter().chain(bad()).chain(watch), 2).await.last(),
        Some(&2),
        "before a watch"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_ended() {
    let answers = [
        Answer::list(&[placement(1)]),
        Answer::watch(&[placement(2)]),
        Answer::watch(&[]),
        Answer::watch(&[placement(3)]),
    ];
    assert_eq!(learned(answers, 3).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn who_follows_a_silent_server_can_be_stopped() {
    let ((server, _), stop) = (Server::new([], Answer::Silence), CancellationToken::new());
    let (notes, _learned) = mpsc::unbounded_channel();
    stop.cancel();
    follow(server.api(), "p-n", stop, Notes(notes)).await;
}
