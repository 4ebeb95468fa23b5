//! A server on loopback that steps send requests to. It serves well, or does everything to a client but that.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::host::eventually;

/// Between two bytes of a body that is slow.
const DRIP: Duration = Duration::from_millis(50);

/// A server that remembers what it was asked.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    port: u16,
    /// The heads of requests, in the order of their ends.
    heard: Mutex<Vec<String>>,
    /// How many requests to `/hold` may be answered.
    let_go: Mutex<usize>,
    changed: Condvar,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self(Arc::new(Inner {
            port: listener.local_addr().unwrap().port(),
            heard: Mutex::default(),
            let_go: Mutex::default(),
            changed: Condvar::new(),
        }));
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = serving.clone();
                // A client that goes away is no fault of a server.
                std::thread::spawn(move || serving.answer(stream?));
            }
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.0.port)
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        self.0.heard.lock().unwrap().clone()
    }

    /// Lets one more request to `/hold` be answered.
    pub(crate) fn let_go(&self) {
        *self.0.let_go.lock().unwrap() += 1;
        self.0.changed.notify_all();
    }

    /// Takes back what was let go and not used.
    pub(crate) fn let_nobody_go(&self) {
        *self.0.let_go.lock().unwrap() = 0;
    }

    pub(crate) fn wait_for_requests(&self, count: usize) {
        eventually(&format!("{count} requests arrive"), || {
            (self.heard().len() >= count).then_some(())
        });
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let mut head = Vec::new();
        while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
            head.push(line);
        }
        // Somebody connected and asked nothing.
        let Some(asked) = head.first() else {
            return Ok(());
        };
        let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
        let authorization = head
            .iter()
            .find_map(|line| line.strip_prefix("authorization: Bearer "));
        let reversed: String = authorization.unwrap_or_default().chars().rev().collect();
        self.0.heard.lock().unwrap().push(head.join("\n"));
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let (status, headers, body) = match path {
            "/ok/echo" => ("200 OK", String::new(), head.join("\n")),
            "/ok/reversed" => ("200 OK", String::new(), reversed),
            "/ok/redirect" => {
                let to = if query.is_empty() {
                    "/ok/elsewhere"
                } else {
                    query
                };
                ("302 Found", format!("location: {to}\r\n"), String::new())
            }
            "/ok/huge" => ("200 OK", String::new(), "x".repeat(100_000)),
            "/ok/hold" => {
                let mut let_go = self.0.let_go.lock().unwrap();
                while *let_go == 0 {
                    let_go = self.0.changed.wait(let_go).unwrap();
                }
                *let_go -= 1;
                ("200 OK", String::new(), "held".to_owned())
            }
            "/ok/endless-headers" => return for_ever(&mut stream, "", "x-more: headers\r\n"),
            "/ok/endless-header" => return for_ever(&mut stream, "x-long: ", "xxxxxxxxxxxxxxxx"),
            "/ok/endless-body" => {
                let begin = "transfer-encoding: chunked\r\n\r\n";
                return for_ever(&mut stream, begin, "10\r\nxxxxxxxxxxxxxxxx\r\n");
            }
            "/ok/slow" => return slowly(&mut stream),
            "/ok/silent" => return stream.read_to_end(&mut Vec::new()).map(drop),
            "/ok/two-lengths" => {
                return write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"
                );
            }
            _ => (
                "200 OK",
                "x-from: server\r\n".to_owned(),
                "hello".to_owned(),
            ),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
    }
}

/// Sends this again and again, until the client has enough.
fn for_ever(stream: &mut TcpStream, begin: &str, again: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\n{begin}")?;
    let again = again.repeat(64);
    loop {
        stream.write_all(again.as_bytes())?;
    }
}

/// Sends a body a byte at a time, until the client has enough.
fn slowly(stream: &mut TcpStream) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"
    )?;
    loop {
        stream.write_all(b"x")?;
        std::thread::park_timeout(DRIP);
    }
}
