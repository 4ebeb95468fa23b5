//! A client that costs little, so that the machine's cores are the host's: one connection, one request at a time.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// A connection to the host.
pub(crate) struct Client {
    stream: RefCell<BufReader<TcpStream>>,
    token: String,
}

impl Client {
    pub(crate) fn new(address: &str, token: String) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: RefCell::new(BufReader::new(stream)),
            token,
        })
    }

    /// Submits a task and waits until it is done.
    pub(crate) fn submit(&self, body: &str) -> Value {
        self.request(
            "POST",
            "/v1/tasks",
            "application/json\r\nprefer: wait=30",
            body.as_bytes(),
        )
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.request(
            "POST",
            path,
            "application/json",
            body.to_string().as_bytes(),
        )
    }

    pub(crate) fn upload(&self, component: &[u8]) -> Value {
        self.request("POST", "/v1/components", "application/wasm", component)
    }

    /// One request, whose answer is good and JSON.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Value {
        let (status, answer) = self
            .exchange(method, path, content_type, body)
            .expect("the host answers");
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
        serde_json::from_slice(&answer).expect("the host answers with JSON")
    }

    /// One request and its answer: status and body.
    pub(crate) fn exchange(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Vec<u8>)> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            self.token,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let mut stream = self.stream.borrow_mut();
        stream.get_mut().write_all(&request)?;
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let broken = || std::io::Error::other("not an answer in HTTP/1.1");
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or_else(broken)?;
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| broken())?;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok((status, answer))
    }
}
