//! Attacks by what is sent as a component: how one is sent, and held against its row.

mod attacks;
mod described;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) use attacks::uploads;
use serde_json::{Value, json};

use crate::host::client::Client;
use crate::host::tasks::one_step;
use crate::support::stepseal_in;
use crate::wat::{Plugin, parse_str};

const MIB: usize = 1 << 20;

/// Something that is sent, what becomes of it, and why.
pub(super) struct Upload {
    /// What it is: a row of the documentation.
    pub(super) attack: &'static str,
    /// What holds it.
    pub(super) held_by: &'static str,
    send: How,
    pub(super) ends: Ends,
}

/// How it is sent.
enum How {
    /// As a client does.
    Whole(fn() -> Vec<u8>),
    /// So many bytes, announced or in chunks without an end, by a client that goes on until it is stopped.
    Flood { announced: bool },
    /// A part of what is announced, by a client that hangs up then.
    Part,
}

/// What the host makes of it.
pub(super) enum Ends {
    /// It is refused with this status and code, and the detail says this.
    Refused(u16, &'static str, &'static str),
    /// It is a plugin like any other, and its one step runs.
    Taken,
    /// The same, and it stays what it said it is: whoever asks it again is told that, and it has no other step.
    SameAgain,
}

fn refused(
    attack: &'static str,
    bytes: fn() -> Vec<u8>,
    code: &'static str,
    says: &'static str,
    held_by: &'static str,
) -> Upload {
    Upload {
        attack,
        held_by,
        send: How::Whole(bytes),
        ends: Ends::Refused(422, code, says),
    }
}

fn taken(attack: &'static str, bytes: fn() -> Vec<u8>, held_by: &'static str) -> Upload {
    Upload {
        attack,
        held_by,
        send: How::Whole(bytes),
        ends: Ends::Taken,
    }
}

/// A body of `run` that gives its input back.
const ECHO: &str = "(call $ok (local.get $input) (local.get $input-len))";

fn component(text: &str) -> Vec<u8> {
    parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text:.4000}"))
}

/// A good plugin, of this name of five letters, with these imports of the component and items of its main module.
fn plugin(name: &str, imports: String, items: &str) -> Vec<u8> {
    let plugin = Plugin {
        imports,
        items: format!("(data (i32.const 512) \"{name}\") {items}"),
        run: ECHO.into(),
        ..Plugin::default()
    };
    component(&plugin.text())
}

/// What came of sending.
struct Answered {
    status: u16,
    text: String,
    /// Bytes of the body that the host took, or its machine did for it.
    sent: usize,
}

/// Sends an upload as a client that does not stop for an answer.
fn stubborn(host: &Client, framing: &str, chunk: &[u8], bytes_max: usize) -> Answered {
    let address = host.url().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/components HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\ncontent-type: application/wasm\r\n\
         connection: close\r\n{framing}\r\n\r\n",
        host.token()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answered = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut reading = stream.try_clone().unwrap();
        let reader = scope.spawn({
            let answered = &answered;
            move || {
                let mut answer = Vec::new();
                // A host that is done with a client that still sends may reset the connection after its answer.
                let _ = reading.read_to_end(&mut answer);
                answered.store(true, Ordering::Relaxed);
                String::from_utf8_lossy(&answer).into_owned()
            }
        });
        let mut sent = 0;
        while sent < bytes_max
            && !answered.load(Ordering::Relaxed)
            && stream.write_all(chunk).is_ok()
        {
            sent += chunk.len();
        }
        // Where everything was sent, nothing more comes.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let text = reader.join().unwrap();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answered {
            status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
            text,
            sent,
        }
    })
}

impl Upload {
    /// Sends it; what becomes of it must be what is wanted, and nothing of what is refused is kept.
    #[track_caller]
    pub(super) fn ends_as_it_must(&self, host: &Client) {
        let known = || {
            host.get("/v1/components")["items"]
                .as_array()
                .unwrap()
                .len()
        };
        let before = known();
        match (&self.send, &self.ends) {
            (How::Whole(bytes), Ends::Refused(status, code, says)) => {
                let problem = host.upload_bytes(bytes()).problem(*status, code);
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(says), "{}: {detail}", self.attack);
                assert!(detail.len() < 4_000, "{}: {detail}", self.attack);
                assert_eq!(known(), before, "{}: it is kept", self.attack);
            }
            (How::Whole(bytes), Ends::Taken | Ends::SameAgain) => {
                let bytes = bytes();
                let answer = host.upload_bytes(bytes.clone()).expect(201).json();
                let name = answer["name"].as_str().unwrap();
                let input = json!({"n": 1});
                let task = host.submit_and_wait(&one_step(&format!("{name}/{name}"), &input));
                assert_eq!(task["steps"][0]["output"], input, "{}: {task}", self.attack);
                let place = format!(
                    "/v1/components/{}/content",
                    answer["digest"].as_str().unwrap()
                );
                let content = host.call("GET", place).send().expect(200);
                assert_eq!(content.header("content-type"), Some("application/wasm"));
                assert!(
                    content.body == bytes,
                    "{}: other bytes are given out",
                    self.attack
                );
                if matches!(self.ends, Ends::SameAgain) {
                    self.is_the_same_again(host, &bytes, &answer);
                }
            }
            (raw, Ends::Refused(status, code, _)) => {
                let answered = match raw {
                    How::Flood { announced: true } => stubborn(
                        host,
                        "content-length: 1000000000",
                        &vec![0; MIB],
                        1_000_000_000,
                    ),
                    How::Flood { announced: false } => {
                        let chunk = [&b"100000\r\n"[..], &vec![0; MIB], b"\r\n"].concat();
                        stubborn(host, "transfer-encoding: chunked", &chunk, 1_000_000_000)
                    }
                    _ => stubborn(host, "content-length: 2000", &[0; 1_000], 1_000),
                };
                assert_eq!(
                    answered.status, *status,
                    "{}: {}",
                    self.attack, answered.text
                );
                assert!(
                    answered.text.contains(code),
                    "{}: {}",
                    self.attack,
                    answered.text
                );
                // What is kept for a component, what is thrown away, and what the kernel holds on its way.
                assert!(
                    answered.sent < (32 + 64 + 32) * MIB,
                    "{}: {} bytes were taken",
                    self.attack,
                    answered.sent
                );
                assert_eq!(known(), before, "{}: it is kept", self.attack);
            }
            (_, Ends::Taken | Ends::SameAgain) => unreachable!("what is sent by hand is refused"),
        }
    }

    /// Asks it again, in another process and at another time.
    #[track_caller]
    fn is_the_same_again(&self, host: &Client, bytes: &[u8], answer: &Value) {
        let check = ["--output", "json", "plugin", "check", "-"];
        let again = stepseal_in(Path::new("."), &check, bytes).expect(0).json();
        for member in ["kind", "name", "version", "digest"] {
            assert_eq!(again[member], answer[member], "{}: {again:#}", self.attack);
        }
        let steps = &answer["descriptor"]["steps"];
        assert_eq!(
            again["steps"][0]["name"], steps[0]["name"],
            "{}",
            self.attack
        );
        let name = answer["name"].as_str().unwrap();
        let hidden = one_step(&format!("{name}/never-described"), &json!({"n": 1}));
        host.post("/v1/tasks", &hidden).faults(422, "invalid");
    }
}
