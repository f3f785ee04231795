//! A server that answers at once, with nothing: the floor of a round trip on this machine. One thread a connection, which blocks; HTTP/1.1
//! as our own client writes it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, Result};

/// As long as the answer to an inference.
const ANSWER_BYTES: usize = 256;

/// Serves until the process is ended.
pub fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            // A client that goes away ends its connection with an error.
            drop(converse(stream));
        });
    }
    Ok(())
}

fn converse(mut stream: TcpStream) -> Result<()> {
    let body = "x".repeat(ANSWER_BYTES);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {ANSWER_BYTES}\r\n\r\n{body}"
    );
    let mut requests = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    while let Some(bytes) = body_length(&mut requests)? {
        let mut request = vec![0; bytes];
        requests.read_exact(&mut request)?;
        stream.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// Reads the head of a request; `None` when the client has gone.
fn body_length(requests: &mut impl BufRead) -> Result<Option<usize>> {
    let (mut bytes, mut line) = (0, String::new());
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                return Ok(Some(bytes));
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            bytes = value.parse()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_is_read_from_its_head() {
        let mut requests =
            &b"POST /x HTTP/1.1\r\nhost: h\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n"[..];
        assert_eq!(body_length(&mut requests).unwrap(), Some(3));
        requests = &requests[3..];
        assert_eq!(body_length(&mut requests).unwrap(), Some(0));
        assert_eq!(body_length(&mut requests).unwrap(), None);
    }
}
