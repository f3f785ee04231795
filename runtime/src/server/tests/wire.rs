//! What clients may do by the rules of HTTP/1.1, over a real connection.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    hostile::{Served, first_line},
    *,
};

async fn served() -> (Served, TcpStream) {
    let served = Served::start(&two_variants(Chooser::Clients)).await;
    let client = served.connect().await;
    (served, client)
}

/// The head of an inference request, with these headers too.
fn head(headers: &str) -> String {
    format!("POST {INFER} HTTP/1.1\r\nhost: h\r\n{headers}\r\n\r\n")
}

/// All that comes up to `end`, or until the server closes.
async fn read_to(client: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        match client.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn who_asks_whether_to_send_a_body_is_told() {
    let (served, mut client) = served().await;
    let body = one_item();
    let ask = head(&format!("connection: close\r\nexpect: 100-continue\r\ncontent-length: {}", body.len()));
    client.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(read_to(&mut client, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(first_line(client).await, "HTTP/1.1 200 OK");
    let mut client = served.connect().await;
    let ask = head("expect: 100-continue\r\ncontent-length: 100000000");
    client.write_all(ask.as_bytes()).await.unwrap();
    let said = read_to(&mut client, "\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 413 Payload Too Large"), "{said}");
    served.end().await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let (served, mut client) = served().await;
    let body = one_item();
    let (first, second) = body.split_at(20);
    let chunks = [first, second, ""].map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).concat();
    let request = head("connection: close\r\ntransfer-encoding: chunked") + &chunks;
    client.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(first_line(client).await, "HTTP/1.1 200 OK");
    served.end().await;
}

#[tokio::test]
async fn a_head_without_a_body_leaves_the_connection_as_it_was() {
    let (served, mut client) = served().await;
    client.write_all(b"HEAD /v2 HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let said = read_to(&mut client, "\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200 OK") && said.contains("content-length: "), "{said}");
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    assert_eq!(first_line(client).await, "HTTP/1.1 200 OK");
    served.end().await;
}

#[tokio::test]
async fn requests_may_follow_each_other_without_waiting() {
    let (served, mut client) = served().await;
    let body = one_item();
    let one = head(&format!("content-length: {}", body.len())) + &body;
    client.write_all(one.repeat(3).as_bytes()).await.unwrap();
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    served.end().await;
}

/// A closed half is how a client goes away, whose request is then not computed: so it need not be answered. It must only not linger.
#[tokio::test]
async fn a_connection_that_is_half_closed_after_its_request_ends() {
    let (served, mut client) = served().await;
    let body = one_item();
    let request = head(&format!("content-length: {}", body.len())) + &body;
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let said = first_line(client).await;
    assert!(said == "HTTP/1.1 200 OK" || said.is_empty(), "{said}");
    served.end().await;
}
