//! When the status is written, and when it is not, whatever the API server does. Time is that of the tests.

use dnnshifter_portfolio::{VariantProfile, profile::Distribution};
use http::{Method, StatusCode};

use super::*;
use crate::{
    node::server::{Answer, Server, placement},
    server::Chooser,
    testing::{name, profile, resident, service},
};

const SECOND: Duration = Duration::from_secs(1);

/// A reporter of the variants `big` and `small`, both measured, of which `big` serves.
fn reporter(server: &Server, pause: Duration) -> Reporter {
    let service = service(Chooser::Placement, vec![resident("big", 1.0), resident("small", 2.0)]);
    service.switch.measured(measured("big", 2_000));
    service.switch.measured(measured("small", 500));
    Reporter {
        api: server.api(),
        placement: "p-n".to_owned(),
        pod_uid: Some("pod".to_owned()),
        template_hash: Some("t".to_owned()),
        service,
        host: Host::default(),
        pauses: Box::new(std::iter::repeat(pause)),
    }
}

fn measured(variant: &str, mean_us: u64) -> VariantProfile {
    let time = Distribution::constant(mean_us, 100);
    VariantProfile { wall: time, cpu: time, ..profile(variant) }
}

fn stored(status: VariantPlacementStatus) -> Arc<VariantPlacement> {
    Arc::new(VariantPlacement { status: Some(status), ..placement(1) })
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_until_it_succeeds() {
    let bad = [
        Answer::Silence,
        Answer::error(StatusCode::INTERNAL_SERVER_ERROR),
        Answer::error(StatusCode::FORBIDDEN),
        Answer::ok("<html>a captive portal</html>"),
    ];
    let (server, mut statuses) = Server::new(bad, Answer::Stored);
    let (_seen, latest) = watch::channel(Some(Arc::new(placement(1))));
    let stop = CancellationToken::new();
    let until = async {
        let status = statuses.recv().await.unwrap();
        stop.cancel();
        status
    };
    let (status, ()) = tokio::join!(until, reporter(&server, SECOND).keep_reported(latest, stop.clone()));
    assert_eq!((status.active_variant_name.as_deref(), status.profiles.len()), (Some("big"), 2));
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|(method, path)| method == Method::PATCH && path.contains("/p-n/status?")));
}

#[tokio::test(start_paused = true)]
async fn measurements_that_moved_are_written_after_the_pause_that_was_drawn() {
    let (server, mut statuses) = Server::new([], Answer::Stored);
    let (seen, latest) = watch::channel(Some(Arc::new(placement(1))));
    let stop = CancellationToken::new();
    let reporter = reporter(&server, 75 * SECOND);
    let service = Arc::clone(&reporter.service);
    let until = async {
        let first = statuses.recv().await.unwrap();
        let began = Instant::now();
        seen.send_replace(Some(stored(first)));
        service.switch.measured(measured("big", 2_100));
        service.switch.measured(measured("small", 900));
        let second = statuses.recv().await.unwrap();
        stop.cancel();
        (second, began.elapsed())
    };
    let ((status, elapsed), ()) = tokio::join!(until, reporter.keep_reported(latest, stop.clone()));
    let means: Vec<_> = status.profiles.iter().map(|variant| variant.wall.mean_microseconds).collect();
    assert_eq!(means, [2_100, 900]);
    assert!((75 * SECOND..=75 * SECOND + TICK).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_switch_is_written_at_once_and_the_same_is_not_written_twice() {
    let (server, mut statuses) = Server::new([], Answer::Stored);
    let (seen, latest) = watch::channel(Some(Arc::new(placement(1))));
    let stop = CancellationToken::new();
    let reporter = reporter(&server, SECOND);
    let service = Arc::clone(&reporter.service);
    let until = async {
        seen.send_replace(Some(stored(statuses.recv().await.unwrap())));
        let began = Instant::now();
        // The watch is slow to show it; nothing else has changed.
        service.switch.refused(&name("big"), "broken".to_owned());
        let second = statuses.recv().await.unwrap();
        let elapsed = began.elapsed();
        tokio::time::advance(ECHO / 2).await;
        seen.send_replace(Some(stored(second.clone())));
        tokio::time::advance(4 * TICK).await;
        stop.cancel();
        (second, elapsed)
    };
    let ((status, elapsed), ()) = tokio::join!(until, reporter.keep_reported(latest, stop.clone()));
    assert_eq!((status.active_variant_name.as_deref(), elapsed), (Some("small"), Duration::ZERO));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn pauses_are_drawn_from_one_to_two_minutes_and_differ() {
    let drawn: Vec<_> = pauses().take(100).collect();
    let range = MEASUREMENT_INTERVAL..=2 * MEASUREMENT_INTERVAL;
    assert!(drawn.iter().all(|pause| range.contains(pause)));
    assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    let others: Vec<_> = pauses().take(100).collect();
    assert_ne!(drawn, others, "another process must draw others");
}

#[tokio::test]
async fn a_status_is_due_once_something_answers_or_was_refused_and_for_this_template_alone() {
    let (server, _) = Server::new([], Answer::Silence);
    let reporter = reporter(&server, SECOND);
    let due = |reporter: &Reporter| reporter.due(&placement(1), &Written::default());
    assert!(due(&reporter).is_some());
    let nothing_loaded = Reporter { service: service(Chooser::Placement, Vec::new()), ..reporter };
    assert!(due(&nothing_loaded).is_none());
    nothing_loaded.service.switch.direct(&[name("big")], None, std::time::Instant::now());
    assert!(due(&nothing_loaded).is_none());
    nothing_loaded.service.switch.refused(&name("big"), "broken".to_owned());
    assert!(due(&nothing_loaded).is_some());

    assert!(nothing_loaded.speaks_for(&placement(1)));
    let of_another = Reporter { template_hash: Some("other".to_owned()), ..nothing_loaded };
    assert!(!of_another.speaks_for(&placement(1)));
}

#[tokio::test]
async fn until_all_is_measured_what_an_earlier_pod_measured_stays() {
    let (server, _) = Server::new([], Answer::Silence);
    let measured_before = reporter(&server, SECOND).due(&placement(1), &Written::default()).unwrap();
    let service = service(Chooser::Placement, vec![resident("big", 1.0), resident("new", 2.0)]);
    service.switch.measured(measured("big", 9_000));
    let reporter = Reporter { service, ..reporter(&server, SECOND) };
    let stored = stored(measured_before);
    let profiles = |reporter: &Reporter| {
        let status = reporter.due(&stored, &Written::default()).unwrap();
        let of = |variant: &dnnshifter_crds::variant_placement::MeasuredVariant| {
            (variant.name.clone(), variant.wall.mean_microseconds)
        };
        status.profiles.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(profiles(&reporter), [("big".to_owned(), 2_000)]);
    reporter.service.switch.measured(measured("new", 700));
    assert_eq!(profiles(&reporter), [("big".to_owned(), 9_000), ("new".to_owned(), 700)]);
}
