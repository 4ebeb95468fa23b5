//! Attacks that reach out: requests to where nobody may go, servers that are in league with a plugin or hostile to everybody, and
//! plugins that give away a secret. The guest is `outbound`.

use serde_json::{Value, json};
use stepseal_receipts::record::Status;

use super::{By, Run, run};
use crate::host::client::Client;
use crate::outbound::SECRET;
use crate::server::Server;

/// What stands in a host's `/etc/hosts` besides, where the system lets a test change it.
pub(in crate::hostile) const NAMES: &str =
    "10.1.2.3 inside.example\nfd00::1 inside6.example\n169.254.169.254 metadata.example\n";

/// Servers that requests are sent to.
pub(super) struct Servers {
    /// Granted by its address.
    granted: Server,
    /// Granted by a name or without its address, and so to nobody.
    other: Server,
}

impl Servers {
    pub(super) fn start() -> Self {
        Self {
            granted: Server::start(),
            other: Server::start(),
        }
    }

    /// Grants what the attacks are about. The first rule that a request fits counts.
    pub(super) fn grant(&self, host: &Client) {
        let granted = |path: &str, more: Value| {
            let mut rule = json!({"scheme": "http", "host": "127.0.0.1", "port": self.granted.port(), "path": path,
                "methods": ["GET", "POST"], "addresses": ["127.0.0.1"]});
            rule.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            rule
        };
        let named = |name: &str, port: u16| json!({"scheme": "http", "host": name, "port": port});
        let impatient = json!({"limits": {"first_byte_ms": 500, "total_ms": 1_000}});
        let injected = json!({"secrets": {"authorization": "Bearer {api-key}"}});
        let limits = json!({"limits": {"calls": 3, "request_bytes": 50_000, "response_bytes": 50_000,
            "connect_ms": 600_000, "first_byte_ms": 600_000, "total_ms": 600_000}});
        let secret = json!({"value": SECRET});
        host.put("/v1/secrets/api-key", &secret).expect(200);
        let document = json!({"buckets": ["outbound"], "limits": super::wide_limits(), "http": [
            granted("/ok/slow", impatient.clone()), granted("/ok/silent", impatient),
            granted("/ok/reversed", injected.clone()), granted("/ok/echo", injected),
            granted("/ok", limits),
            named("127.0.0.1", self.other.port()), named("localhost", self.other.port()),
            named("169.254.169.254", 80), named("metadata.example", 80),
            named("inside.example", 80), named("inside6.example", 80),
        ]});
        host.grant("outbound", &document);
    }

    /// A request to the server that is granted.
    fn request(&self, path: &str) -> Value {
        json!({"authority": self.granted.authority(), "path": path})
    }

    /// Checks that nobody came where nobody may go.
    pub(in crate::hostile) fn were_left_alone(&self) {
        let heard = self.other.heard();
        assert!(heard.is_empty(), "{heard:?}");
        let mut heard = self.granted.heard().into_iter();
        let astray = heard.find(|head| {
            !head.lines().next().unwrap().contains(" /ok/") || head.contains("evil.example")
        });
        assert_eq!(astray, None);
    }
}

/// One request, which a guest is told this about.
fn asks(
    attack: &'static str,
    request: fn(&Servers) -> Value,
    told: &'static str,
    held_by: &'static str,
) -> Run {
    let input = move |servers: &Servers| json!({"requests": [request(servers)]});
    let by = By::Request("send", Box::new(input));
    let mut run = run(attack, by, Status::Ok, "", held_by);
    run.told = Some(told);
    run
}

/// A plugin that gets hold of a secret, and gives it away like this.
fn leaks(
    attack: &'static str,
    how: &'static str,
    status: Status,
    says: &'static str,
    held_by: &'static str,
) -> Run {
    let input =
        move |servers: &Servers| json!({"request": servers.request("/ok/reversed"), "how": how});
    let by = By::Request("leak", Box::new(input));
    run(attack, by, status, says, held_by)
}

pub(super) fn network() -> Vec<Run> {
    [places(), servers(), secrets()]
        .into_iter()
        .flatten()
        .collect()
}

fn places() -> Vec<Run> {
    const ADDRESS: &str = "what is not of the public internet must be granted by its address; the host resolves names, and connects to what it checked";
    const RULES: &str = "requests are judged in their plain form, and that form is what is sent";
    const PROHIBITED: &str = "ErrorCode::DestinationIpProhibited";
    const DENIED: &str = "ErrorCode::HttpRequestDenied";
    vec![
        asks(
            "HTTP to a host that nobody granted",
            |_| json!({"authority": "evil.example"}),
            DENIED,
            RULES,
        ),
        asks(
            "HTTP to loopback",
            |servers| json!({"authority": servers.other.authority()}),
            PROHIBITED,
            ADDRESS,
        ),
        asks(
            "HTTP to loopback, the address written as one number",
            |servers| json!({"authority": format!("2130706433:{}", servers.other.port())}),
            PROHIBITED,
            ADDRESS,
        ),
        asks(
            "HTTP to loopback through a name",
            |servers| json!({"authority": format!("localhost:{}", servers.other.port())}),
            PROHIBITED,
            ADDRESS,
        ),
        asks(
            "HTTP to where clouds keep credentials",
            |_| json!({"authority": "169.254.169.254"}),
            PROHIBITED,
            ADDRESS,
        ),
        asks(
            "HTTP to there through DNS",
            |_| json!({"authority": "metadata.example"}),
            PROHIBITED,
            ADDRESS,
        )
        .with_names(),
        asks(
            "HTTP to a private address through DNS",
            |_| json!({"authority": "inside.example"}),
            PROHIBITED,
            ADDRESS,
        )
        .with_names(),
        asks(
            "HTTP to a private address of IPv6 through DNS",
            |_| json!({"authority": "inside6.example"}),
            PROHIBITED,
            ADDRESS,
        )
        .with_names(),
        asks(
            "HTTP to loopback by a redirect",
            |servers| {
                servers.request(&format!(
                    "/ok/redirect?http://{}/",
                    servers.other.authority()
                ))
            },
            "302",
            "the host follows no redirects",
        ),
        asks(
            "HTTP to a path beside the granted one, climbing out of it",
            |servers| servers.request("/ok/../admin"),
            DENIED,
            RULES,
        ),
        asks(
            "the same, with the dots encoded",
            |servers| servers.request("/ok/%2e%2e/admin"),
            DENIED,
            RULES,
        ),
        asks(
            "a `Host` header of another host",
            |servers| json!({"authority": servers.granted.authority(), "path": "/ok/a", "headers": [["host", "evil.example"]]}),
            "HeaderError::Forbidden",
            "what says where a message goes and how it is read is the host's to write",
        ),
        asks(
            "a body larger than is granted",
            |servers| json!({"authority": servers.granted.authority(), "path": "/ok/a", "method": "POST", "body_bytes": 60_000}),
            "ErrorCode::HttpRequestBodySize(None)",
            "a limit of the grant",
        ),
        flood(),
    ]
}

/// More requests at once than are granted.
fn flood() -> Run {
    let input = |servers: &Servers| json!({"requests": vec![servers.request("/ok/a"); 100]});
    let by = By::Request("send", Box::new(input));
    let held_by = "a limit of the grant, and 16 that wait at a time";
    let mut run = run("a hundred requests at once", by, Status::Ok, "", held_by);
    run.told = Some("ErrorCode::ConnectionLimitReached");
    run
}

fn servers() -> Vec<Run> {
    const TIME: &str = "limits of the grant on the time to the first byte and to the last";
    const HEAD: &str = "100 headers, and 64 KiB for all of them";
    const TIMEOUT: &str = "ErrorCode::HttpResponseTimeout";
    const HEADERS: &str = "ErrorCode::HttpResponseHeaderSectionSize(None)";
    vec![
        asks(
            "a server that never answers",
            |servers| servers.request("/ok/silent"),
            TIMEOUT,
            TIME,
        ),
        asks(
            "a server with a slow body",
            |servers| servers.request("/ok/slow"),
            TIMEOUT,
            TIME,
        ),
        asks(
            "a server with an endless body",
            |servers| servers.request("/ok/endless-body"),
            "ErrorCode::HttpResponseBodySize(None)",
            "a limit of the grant on the bytes of a response",
        ),
        asks(
            "a server with endless headers",
            |servers| servers.request("/ok/endless-headers"),
            HEADERS,
            HEAD,
        ),
        asks(
            "a server with an endless header",
            |servers| servers.request("/ok/endless-header"),
            HEADERS,
            HEAD,
        ),
        asks(
            "a server that says two lengths of one body",
            |servers| servers.request("/ok/two-lengths"),
            "ErrorCode::HttpProtocolError",
            "a response that can be read in two ways is none",
        ),
    ]
}

fn secrets() -> Vec<Run> {
    const FOUND: &str = "all that leaves a step is looked through for its secrets in every usual spelling; one that gives a secret away fails";
    const REDACTED: &str = "texts for people are kept without it";
    let leak = |attack, how| {
        leaks(attack, how, Status::Failed, "secret api-key", FOUND).code("secret-leak")
    };
    vec![
        asks(
            "a server that tells the secret it was sent",
            |servers| servers.request("/ok/echo"),
            "[secret api-key]",
            "responses are redacted before the guest or the transcript see them",
        ),
        leak(
            "a secret in the output, got hold of in league with the server",
            "output",
        ),
        leak("a secret in a key", "key"),
        leak("a secret in a value", "value"),
        leak("a secret in a request", "request"),
        leaks("a secret in the log", "log", Status::Ok, "", REDACTED),
        leaks(
            "a secret in an error",
            "failure",
            Status::Failed,
            "[secret api-key]",
            REDACTED,
        ),
        leaks(
            "a secret in a panic",
            "panic",
            Status::Trap,
            "[secret api-key]",
            REDACTED,
        ),
    ]
}
