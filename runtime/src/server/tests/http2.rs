//! Connections of HTTP/2, as gRPC has them, that are idle, slow or half-closed: frames as they go over the wire (RFC 9113, 4.1).

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    hostile::{CONNECTIONS, Served},
    *,
};

/// What a client begins with, and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Types of frames, and the flag of headers that are complete.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, 1], content].concat()
}

/// The headers of a request by POST, as HPACK writes them without its tables (RFC 7541, 6.2.2).
fn post(path: &str) -> Vec<u8> {
    let literal = |index: u8, text: &str| [&[index, text.len() as u8], text.as_bytes()].concat();
    [vec![0x83, 0x86], literal(4, path), literal(1, "h")].concat()
}

/// What is sent, and then nothing more.
fn beginnings() -> Vec<Vec<u8>> {
    let headers = post("/inference.GRPCInferenceService/ModelInfer");
    let begun = [PREFACE, &frame(HEADERS, END_HEADERS, &headers)].concat();
    vec![
        PREFACE[..10].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &frame(HEADERS, 0, &headers)].concat(),
        begun.clone(),
        [begun, frame(DATA, 0, &[0, 0xff, 0xff, 0xff, 0xff, 1])].concat(),
    ]
}

async fn others_are_served_beside(connections: usize, half_closed: bool) {
    let served = Served::start(&two_variants(Chooser::Clients)).await;
    let beginnings = beginnings();
    let mut open: Vec<TcpStream> = Vec::new();
    for beginning in beginnings.iter().cycle().take(connections) {
        let mut client = served.connect().await;
        client.write_all(beginning).await.unwrap();
        if half_closed {
            client.shutdown().await.unwrap();
        }
        open.push(client);
    }
    served.infer_beside(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_ones_keep_nobody_out() {
    // None of them acknowledges that it is over: whoever waited for that would be here long.
    others_are_served_beside(4 * CONNECTIONS, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_closed_ones_keep_nobody_out() {
    others_are_served_beside(4 * CONNECTIONS, true).await;
}
