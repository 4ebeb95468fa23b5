//! Clients that cost little: all of them on one thread, with requests that are put together before and answers of which no more is
//! read than is needed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::process::{Host, cpu_of};

/// Bytes that an answer is read in.
const READ_BYTES: usize = 16 << 10;

/// Pause between two looks at a task.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(2);

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Submit, and wait until the task is over.
    Finish,
    /// The same; where a person is asked on the way, approve.
    Approve,
    /// Submit, and leave it when a person is asked.
    Leave,
}

/// What came of a load.
pub(crate) struct Load {
    pub(crate) tasks: u32,
    pub(crate) wall: Duration,
    /// CPU time of the host for each task.
    pub(crate) host_cpu: Duration,
    /// CPU time of the clients for each task.
    pub(crate) client_cpu: Duration,
    /// Transactions of the database for each task.
    pub(crate) commits: f64,
    /// From the request to the answer, the shortest first.
    times: Vec<Duration>,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.tasks) / self.wall.as_secs_f64()
    }

    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        self.times[(self.times.len() - 1) * percent / 100]
    }
}

/// Runs tasks, with so many clients at a time.
pub(crate) fn run(host: &Host, body: &str, way: Way, clients: usize, tasks: u32) -> Load {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (before, begun) = (Spent::now(host), Instant::now());
    let mut times = LocalSet::new().block_on(&runtime, async {
        let left = Rc::new(Cell::new(tasks));
        let clients: Vec<_> = (0..clients)
            .map(|_| {
                let left = Rc::clone(&left);
                let address = Address::of(host);
                let submit = address.request("POST", "/v1/tasks", "prefer: wait=30\r\n", body);
                tokio::task::spawn_local(async move {
                    let mut client = Client::connect(address).await;
                    let mut times = Vec::new();
                    while left.get() > 0 {
                        left.set(left.get() - 1);
                        let begun = Instant::now();
                        client.task(&submit, way).await;
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for client in clients {
            times.extend(client.await.expect("a client"));
        }
        times
    });
    let (wall, after) = (begun.elapsed(), Spent::now(host));
    times.sort_unstable();
    Load {
        tasks,
        wall,
        host_cpu: after.host.saturating_sub(before.host) / tasks,
        client_cpu: after.client.saturating_sub(before.client) / tasks,
        commits: (after.commits - before.commits) / f64::from(tasks),
        times,
    }
}

/// What was spent so far.
struct Spent {
    host: Duration,
    client: Duration,
    commits: f64,
}

impl Spent {
    fn now(host: &Host) -> Self {
        Self {
            commits: commits(host),
            host: host.cpu(),
            client: cpu_of("self"),
        }
    }
}

/// Transactions of the database so far.
fn commits(host: &Host) -> f64 {
    let answer = host
        .client()
        .exchange("GET", "/metrics", "application/json", b"");
    let (_, text) = answer.expect("the host answers");
    let text = String::from_utf8(text).expect("metrics are text");
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("stepseal_commits_total "));
    count
        .and_then(|count| count.parse().ok())
        .expect("commits are counted")
}

/// One connection, one request at a time.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    address: Address,
}

/// Where the host is, and what opens it.
struct Address {
    socket: String,
    token: String,
}

impl Address {
    fn of(host: &Host) -> Self {
        let (socket, token) = host.address().expect("the host runs");
        Self { socket, token }
    }

    /// A request as it goes over the wire.
    fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             {headers}content-length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .into_bytes()
    }
}

impl Client {
    async fn connect(address: Address) -> Self {
        let stream = TcpStream::connect(&address.socket).await;
        let stream = stream.expect("the host takes connections");
        stream.set_nodelay(true).expect("it is a TCP stream");
        Self {
            stream,
            read: Vec::with_capacity(READ_BYTES),
            address,
        }
    }

    async fn task(&mut self, submit: &[u8], way: Way) {
        let answer = self.exchange(submit).await;
        let state = text_of(answer, "state");
        if way == Way::Finish {
            assert_eq!(state, "succeeded", "{answer}");
            return;
        }
        assert_eq!(state, "waiting", "{answer}");
        if way == Way::Leave {
            return;
        }
        let task = text_of(answer, "id").to_owned();
        let approval = format!("/v1/approvals/{}", text_of(answer, "approval"));
        let ask = self.address.request("GET", &approval, "", "");
        let subject = text_of(self.exchange(&ask).await, "subject");
        let decision =
            format!(r#"{{"decision":"approve","subject":"{subject}","approver":"dana"}}"#);
        let decide = self.address.request("POST", &approval, "", &decision);
        self.exchange(&decide).await;
        // There is nothing that says when a task is over which a person let go on, so it is looked at again and again.
        let look = self
            .address
            .request("GET", &format!("/v1/tasks/{task}"), "", "");
        while text_of(self.exchange(&look).await, "state") != "succeeded" {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// One request, whose answer is good; gives its body.
    async fn exchange(&mut self, request: &[u8]) -> &str {
        let written = self.stream.write_all(request).await;
        written.expect("the host reads");
        self.read.clear();
        let (head, length) = loop {
            self.more().await;
            let Some(end) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.read[..end]).expect("a head is text");
            let good = head.starts_with("HTTP/1.1 20");
            assert!(good, "{}", String::from_utf8_lossy(&self.read));
            let mut lengths = head
                .lines()
                .filter_map(|line| line.strip_prefix("content-length: "));
            let length = lengths.next().and_then(|length| length.parse().ok());
            break (end + 4, length.unwrap_or(0_usize));
        };
        while self.read.len() < head + length {
            self.more().await;
        }
        std::str::from_utf8(&self.read[head..]).expect("JSON is UTF-8")
    }

    async fn more(&mut self) {
        let bytes = self.stream.read_buf(&mut self.read).await;
        assert!(bytes.expect("the host answers") > 0, "the host hung up");
    }
}

/// The first text of this name in an answer.
fn text_of<'a>(answer: &'a str, name: &str) -> &'a str {
    let wanted = format!("\"{name}\":\"");
    let found = answer.split_once(&wanted);
    let text = found.and_then(|(_, after)| after.split_once('"'));
    text.unwrap_or_else(|| panic!("no {name} in {answer}")).0
}
