//! The second table: the runtime beside other servers.

use std::fmt::Write;

use super::{
    super::{
        Spread,
        figure::peers::{PeerFigures, PeerReport},
    },
    spread,
};

/// What a row of the second table shows of a server.
type Cell = fn(&PeerFigures) -> Option<Spread>;

/// Whether it answered when asked as fast as it answers.
fn loaded(figures: &PeerFigures) -> bool {
    figures.capacity.most > 0.0
}

/// One column for each server.
pub(super) fn table(peers: &[PeerReport]) -> String {
    let mut text = String::from("\n## Beside other servers\n\n|  |");
    for PeerReport { name, version, .. } in peers {
        let _ = write!(text, " {name} {version} |");
    }
    text.push_str("\n| --- |");
    text.push_str(&" --- |".repeat(peers.len()));
    let rows: [(&str, Cell); 9] = [
        ("p50 of single requests, REST with binary tensors, ms", |it| it.raw_p50_ms),
        ("p50 of single requests, gRPC, ms", |it| it.grpc_p50_ms),
        ("p50 of single requests, REST with JSON, ms", |it| it.json_p50_ms),
        ("Capacity, requests/s", |it| loaded(it).then_some(it.capacity)),
        ("Answers in time at three times the capacity, over the capacity", |it| {
            loaded(it).then_some(it.goodput_ratio)
        }),
        ("p99 of the answers then, ms", |it| loaded(it).then_some(it.overload_p99_ms)),
        ("Memory of six variants, all processes, MB", |it| Some(it.memory_mb)),
        ("Request to load the largest variant to its answer, ms", |it| it.load_ms),
        ("Process start to first answer, ms", |it| Some(it.first_answer_ms)),
    ];
    for (row, cell) in rows {
        let _ = write!(text, "\n| {row} |");
        for peer in peers {
            let figures = peer.figures.as_ref().ok();
            let shown = figures.and_then(cell).map_or_else(|| "-".to_owned(), |value| spread(&value));
            let _ = write!(text, " {shown} |");
        }
    }
    text.push_str(
        "\n\nAll servers have the same six files, one core, one thread of ONNX Runtime, and the same clients on the other core.\n\
         A dash is what a server does not have: clients load models of MLServer only, and FastAPI has no gRPC.\n\
         Capacity and overload are of the half-size variant, asked in the form that costs the server the least: REST with binary tensors, of MLServer gRPC.\n",
    );
    for PeerReport { name, figures, .. } in peers {
        let _ = match figures {
            Ok(figures) if loaded(figures) => Ok(()),
            Ok(_) => writeln!(
                text,
                "{name} answered nothing when two clients asked at once; that may be our way of running it, so nothing is said of its capacity."
            ),
            Err(why) => {
                writeln!(text, "{name} was not measured: {}.", why.lines().next().unwrap_or_default())
            }
        };
    }
    text
}
