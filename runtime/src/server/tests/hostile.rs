//! What must not harm the others: bodies and connections that are too large, too slow, too many, or no requests at all.

use std::net::SocketAddr;

use dnnshifter_portfolio::description::{CheckValues, Datatype};
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{listen::serve_at_most, *};
use crate::{
    testing::description,
    variant::{Resident, VariantFolder},
};

/// Fewer than in service: a process may have 1024 files on some systems, and both ends are in this one.
pub(super) const CONNECTIONS: usize = 64;

/// A server on a real port.
pub(super) struct Served {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Served {
    pub(super) async fn start(service: &Arc<Service>) -> Self {
        Self::behind(Front::plain(router(Arc::clone(service)))).await
    }

    pub(super) async fn behind(front: Front) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve_at_most(CONNECTIONS, listener, front, stop.clone()));
        Self { address, stop, serving }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A good request over a new connection, and the first line of its answer.
    pub(super) async fn infer(&self) -> String {
        let body = one_item();
        let mut client = self.connect().await;
        let head = format!(
            "POST {INFER} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        first_line(client).await
    }

    /// Good requests are answered while all these connections are open; then it ends.
    pub(super) async fn infer_beside(self, open: Vec<TcpStream>) {
        for _ in 0..20 {
            assert_eq!(self.infer().await, "HTTP/1.1 200 OK");
        }
        drop(open);
        self.end().await;
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// The first line of all that comes until the server closes.
pub(super) async fn first_line(mut client: impl AsyncRead + Unpin) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    drop(client.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_claim_or_as_it_comes() {
    let service = two_variants(Chooser::Clients);
    let limit = largest_body_bytes(&service.switch.active().unwrap().interface);
    assert!(limit < 100_000, "{limit}");
    let claim = Request::post(INFER).header(CONTENT_LENGTH, limit + 1).body(Body::empty());
    let large = Request::post(INFER).body(vec![b' '; limit + 1].into());
    let claimed_large = Request::post(INFER).header(CONTENT_LENGTH, 16 << 20).body(one_item().into());
    for request in [claim, large, claimed_large] {
        let reply = send(&service, request.unwrap()).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE, "{}", reply.text());
        assert!(reply.text().contains("send smaller batches"), "{}", reply.text());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let service = two_variants(Chooser::Clients);
    for path in [INFER, "/v2/repository/models/m/load"] {
        let begun = stream::once(async { Ok::<_, std::io::Error>(vec![b'{']) });
        let body = Body::from_stream(begun.chain(stream::pending()));
        let reply = ask(&service, Method::POST, path, body).await;
        assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT, "{}", reply.text());
    }
    assert!(service.load.items_per_second(service.clock.now()) < 1e-9);
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let request = Request::post(INFER).header(CONTENT_ENCODING, "gzip").body(one_item().into());
    let reply = send(&two_variants(Chooser::Clients), request.unwrap()).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{}", reply.text());
}

#[tokio::test]
async fn what_a_client_wrote_is_not_given_back_at_length() {
    let service = two_variants(Chooser::Clients);
    let long = "x".repeat(10_000);
    for path in [
        format!("/v2/models/{long}/infer"),
        format!("/v2/models/m/versions/{long}/infer"),
        format!("/{long}"),
    ] {
        let reply = ask(&service, Method::POST, &path, one_item()).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(reply.body.len() < 400, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused() {
    let service = two_variants(Chooser::Clients);
    for (method, path) in [
        (Method::POST, "/v2/models/%ff/infer"),
        (Method::POST, "/v2/models/m/versions/%ff/infer"),
        (Method::GET, "/v2/models/%C3%28"),
        (Method::GET, "/v2/models/%ff/versions/big/ready"),
        (Method::POST, "/v2/repository/models/%ff/load"),
    ] {
        let reply = ask(&service, method, path, one_item()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}: {}", reply.text());
        let said = reply.json()["error"].to_string();
        assert!(
            said.contains("Invalid UTF-8 in `") && said.contains("percent-encoded UTF-8"),
            "{path}: {said}"
        );
    }
    // A slash may be part of a name that does not exist; it is no other path.
    let reply = ask(&service, Method::GET, "/v2/models/a%2Fb", "").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.text().contains("no model \\\"a/b\\\""), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_cannot_be_answered_within_its_own_timeout_is_shed() {
    let engine = Constant::of(1.0);
    let service = service(Chooser::Clients, vec![resident_on(&engine, "big").taking(LONG)]);
    engine.shut();
    let spawned = Arc::clone(&service);
    let first = tokio::spawn(async move { ask(&spawned, Method::POST, INFER, one_item()).await.status });
    while service.lane.length() < 1 {
        tokio::task::yield_now().await;
    }
    let mut hurried: Value = serde_json::from_str(&one_item()).unwrap();
    hurried["parameters"] = json!({"timeout": 5000});
    let shed = ask(&service, Method::POST, INFER, hurried.to_string()).await;
    engine.open();
    assert_eq!(shed.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(shed.text().contains("are allowed") || shed.text().contains("own timeout"), "{}", shed.text());
    assert_eq!(service.metrics.overload_items(), 0, "it is the client's own wish");
    assert_eq!(first.await.unwrap(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_half_open_connections_keep_nobody_out() {
    let service = two_variants(Chooser::Clients);
    let served = Served::start(&service).await;
    let mut idle = Vec::new();
    for count in 0..4 * CONNECTIONS {
        let mut client = served.connect().await;
        match count % 3 {
            0 => client.write_all(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: h\r\nx-").await.unwrap(),
            1 => client.shutdown().await.unwrap(),
            _ => (),
        }
        idle.push(client);
    }
    served.infer_beside(idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_of_slow_bodies_keep_nobody_out() {
    let service = two_variants(Chooser::Clients);
    let served = Served::start(&service).await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS / 2 {
        let mut client = served.connect().await;
        let head = format!("POST {INFER} HTTP/1.1\r\nhost: h\r\ncontent-length: 70000\r\n\r\n{{\"inputs\"");
        client.write_all(head.as_bytes()).await.unwrap();
        slow.push(client);
    }
    served.infer_beside(slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_of_http_ends_with_its_connection() {
    let service = two_variants(Chooser::Clients);
    let served = Served::start(&service).await;
    let large_header = format!("GET /livez HTTP/1.1\r\nhost: h\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let cases: [(&[u8], &str); 3] = [
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xff\xfe\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (large_header.as_bytes(), "HTTP/1.1 431 Request Header Fields Too Large"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot frames at all", ""),
    ];
    for (bytes, expected) in cases {
        let mut client = served.connect().await;
        // The server may have closed before it has read all.
        drop(client.write_all(bytes).await);
        let said = first_line(client).await;
        assert!(expected.is_empty() || said == expected || said.is_empty(), "{said}");
        assert_eq!(served.infer().await, "HTTP/1.1 200 OK");
    }
    served.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_idle_is_closed() {
    let served = Served::start(&two_variants(Chooser::Clients)).await;
    let client = served.connect().await;
    let began = tokio::time::Instant::now();
    assert_eq!(first_line(client).await, "");
    assert!(began.elapsed() > Duration::from_mins(1));
    served.end().await;
}

#[tokio::test]
async fn requests_of_many_short_texts_are_refused_before_they_take_all_memory() {
    const TEXTS: usize = 60_000;
    let engine = Constant::of(1.0);
    let mut described = description("texts", 1.0);
    (described.input.datatype, described.input.shape) = (Datatype::Bytes, vec![TEXTS as u64]);
    described.check.input = CheckValues::Texts(vec![String::new(); TEXTS]);
    let variant = Resident::load(&engine, VariantFolder::without_file(described)).unwrap();
    let service = service(Chooser::Clients, vec![variant]);
    let body = json!({"inputs": [{"name": "image", "shape": [1, TEXTS], "datatype": "BYTES", "data": vec!["a"; TEXTS]}]});
    let body = body.to_string();
    engine.shut();
    // Bodies of 240 kB, of which thirty would be no eighth of what may be held: but each takes 3.4 MB.
    // They are kept: whose client is gone gives its memory back.
    let mut waiting: Vec<_> =
        (0..30).map(|_| Box::pin(ask(&service, Method::POST, INFER, body.clone()))).collect();
    let refused = waiting.iter_mut().find_map(FutureExt::now_or_never);
    engine.open();
    let refused = refused.expect("all thirty wait");
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.text().contains("the requests that wait hold too much memory"), "{}", refused.text());
}
