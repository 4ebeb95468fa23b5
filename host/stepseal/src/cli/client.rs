//! A REST client of a host: timeouts, bounded answers, and problems told so that a person can act on them.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{HeaderMap, Request, Response};

use super::output::one_line;
use crate::api::wire;
use crate::config::HostAddress;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a whole request may take: longer than a host lets a client wait for a task.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a stream of events may be silent: longer than the host's keep-alives are apart.
const STREAM_SILENCE: Duration = Duration::from_mins(1);
/// Bytes of an answer. A receipt is the largest.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Bytes of an answer that reports a problem.
const PROBLEM_BYTES_MAX: u64 = 1 << 20;

/// A client of one host. Clones share connections.
#[derive(Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    address: HostAddress,
    actor: Option<String>,
}

/// What a host answered.
pub(super) struct Answer {
    /// HTTP status, 200 to 299.
    pub(super) status: u16,
    /// The whole body.
    pub(super) body: Vec<u8>,
}

/// Why a host's answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// There was no answer.
    #[error(
        "the host at {url} could not be reached: {why}. Is it running? `stepseal doctor` looks closer"
    )]
    Unreachable { url: String, why: String },
    /// The host says no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// An answer that no Stepseal host gives.
    #[error(
        "{url} answered something that no Stepseal host of this version says ({why}). Is --url right?"
    )]
    Strange { url: String, why: String },
}

/// A problem document (RFC 9457) a host sent.
#[derive(Clone, Debug)]
pub(super) struct Problem(pub(super) wire::Problem);

impl Client {
    pub(super) fn new(address: HostAddress) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .user_agent(concat!("stepseal/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.new_agent(),
            address,
            actor: None,
        }
    }

    /// The same, saying for the record who asks.
    pub(super) fn acting_as(self, actor: Option<String>) -> Self {
        Self { actor, ..self }
    }

    /// Where the host is.
    pub(super) fn url(&self) -> &str {
        &self.address.url
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(&self.send("GET", path, &[], None)?)
    }

    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        self.post_with(path, &[], body).map(|(_, value)| value)
    }

    /// Posts JSON with headers; gives the status as well.
    pub(super) fn post_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &impl Serialize,
    ) -> Result<(u16, Value), ClientError> {
        let body = self.encode(body)?;
        let headers = [&[("content-type", "application/json")], headers].concat();
        let answer = self.send("POST", path, &headers, Some(&body))?;
        Ok((answer.status, self.json(&answer)?))
    }

    pub(super) fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, ClientError> {
        let body = self.encode(body)?;
        self.json(&self.send(
            "PUT",
            path,
            &[("content-type", "application/json")],
            Some(&body),
        )?)
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.send("DELETE", path, &[], None).map(drop)
    }

    /// The bytes of an answer as they are.
    pub(super) fn bytes(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        Ok(self.send("GET", path, &[], None)?.body)
    }

    /// Uploads a component; gives whether it is new and what the host made of it.
    pub(super) fn upload(&self, wasm: &[u8]) -> Result<(bool, Value), ClientError> {
        let answer = self.send(
            "POST",
            "/v1/components",
            &[("content-type", "application/wasm")],
            Some(wasm),
        )?;
        Ok((answer.status == 201, self.json(&answer)?))
    }

    /// Opens a stream of server-sent events.
    pub(super) fn stream(
        &self,
        path: &str,
        last_event: u64,
    ) -> Result<impl Read + use<>, ClientError> {
        let request = self
            .request("GET", path)
            .header("accept", "text/event-stream")
            .header("last-event-id", last_event.to_string());
        let request = request.body(()).map_err(|error| self.strange(&error))?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(None)
            .timeout_per_read(Some(STREAM_SILENCE))
            .build();
        let response = self
            .agent
            .run(request)
            .map_err(|error| self.failed(&error))?;
        let response = self.refuse_problems(response)?;
        Ok(response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .reader())
    }

    /// Reads an answer's JSON as the type it should be.
    pub(super) fn decode<T: DeserializeOwned>(&self, value: &Value) -> Result<T, ClientError> {
        T::deserialize(value).map_err(|error| self.strange(&error))
    }

    fn request(&self, method: &str, path: &str) -> ureq::http::request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.url));
        let request = match &self.address.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        match &self.actor {
            Some(actor) => request.header("stepseal-actor", actor),
            None => request,
        }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ClientError> {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if let Some(body) = body {
            let request = request.body(body).map_err(|error| self.strange(&error))?;
            self.agent.run(request)
        } else {
            let request = request.body(()).map_err(|error| self.strange(&error))?;
            self.agent.run(request)
        };
        let response = self.refuse_problems(sent.map_err(|error| self.failed(&error))?)?;
        let status = response.status().as_u16();
        let body = self.read(response, ANSWER_BYTES_MAX)?;
        Ok(Answer { status, body })
    }

    fn refuse_problems(
        &self,
        response: Response<ureq::Body>,
    ) -> Result<Response<ureq::Body>, ClientError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let is_problem = content_type(response.headers()).starts_with("application/problem+json");
        let body = self.read(response, PROBLEM_BYTES_MAX)?;
        let problem = is_problem.then(|| Problem::parse(&body)).flatten();
        Err(match problem {
            Some(problem) => ClientError::Problem(Box::new(problem)),
            None => self.strange(&format_args!("status {status} without a problem document")),
        })
    }

    fn read(&self, response: Response<ureq::Body>, bytes_max: u64) -> Result<Vec<u8>, ClientError> {
        response
            .into_body()
            .into_with_config()
            .limit(bytes_max)
            .read_to_vec()
            .map_err(|error| self.failed(&error))
    }

    fn json(&self, answer: &Answer) -> Result<Value, ClientError> {
        serde_json::from_slice(&answer.body).map_err(|error| self.strange(&error))
    }

    fn encode(&self, body: &impl Serialize) -> Result<Vec<u8>, ClientError> {
        serde_json::to_vec(body).map_err(|error| self.strange(&error))
    }

    fn failed(&self, error: &ureq::Error) -> ClientError {
        match error {
            ureq::Error::Io(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::HostNotFound
            | ureq::Error::Timeout(_)
            | ureq::Error::Tls(_) => ClientError::Unreachable {
                url: self.url().to_owned(),
                why: error.to_string(),
            },
            error => self.strange(error),
        }
    }

    fn strange(&self, why: &dyn fmt::Display) -> ClientError {
        ClientError::Strange {
            url: self.url().to_owned(),
            why: why.to_string(),
        }
    }
}

impl ClientError {
    /// The code of the problem document, where it is one.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(problem.code()),
            Self::Unreachable { .. } | Self::Strange { .. } => None,
        }
    }
}

impl Problem {
    fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok().map(Self)
    }

    /// For programs: the last part of `type`.
    fn code(&self) -> &str {
        let kind = &self.0.kind;
        self.0
            .code
            .as_deref()
            .unwrap_or_else(|| kind.rsplit('/').next().unwrap_or(kind))
    }

    /// What to do, where the host cannot know how its client was called.
    fn remedy(&self) -> Option<&'static str> {
        Some(match (self.0.status, self.code()) {
            (401, _) => {
                "give the token of this host with --token or STEPSEAL_TOKEN, or its data directory with --data"
            }
            (409, "changed") => {
                "look again with `stepseal approval show`, and decide about what it shows now"
            }
            (409, "name-taken") => "raise the version in the component and build it again",
            (409, "key-reused") => "choose another --key, or send the same submission as before",
            _ => return None,
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = &self.0;
        write!(
            f,
            "{} ({} {})",
            one_line(&problem.title),
            problem.status,
            one_line(self.code())
        )?;
        if !problem.detail.is_empty() && problem.detail != problem.title {
            write!(f, "\n  {}", one_line(&problem.detail))?;
        }
        for fault in &problem.faults {
            let place = match fault.pointer.as_str() {
                "" => "the whole document",
                pointer => pointer,
            };
            write!(
                f,
                "\n  at {}: {}",
                one_line(place),
                one_line(&fault.message)
            )?;
        }
        match self.remedy() {
            Some(remedy) => write!(f, "\n  {remedy}"),
            None => Ok(()),
        }
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A value as one segment of a path or one value of a query (RFC 3986 §2.3: all but the unreserved characters are encoded).
pub(super) fn encode(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// `path?name=value&...` of the values that are there.
pub(super) fn query(path: &str, values: &[(&str, Option<String>)]) -> String {
    let given = values.iter().filter_map(|(name, value)| {
        value
            .as_ref()
            .map(|value| format!("{name}={}", encode(value)))
    });
    let given: Vec<String> = given.collect();
    if given.is_empty() {
        return path.to_owned();
    }
    format!("{path}?{}", given.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_where_and_what_to_do() {
        let body = br#"{"type":"https://stepseal.dev/problems/name-taken","title":"Name taken","status":409,
            "detail":"ledger 0.1.0 belongs to other bytes","faults":[{"pointer":"/plan/steps/0","message":"no\nsuch plugin"}]}"#;
        let problem = Problem::parse(body).unwrap();
        assert_eq!(
            problem.to_string(),
            "Name taken (409 name-taken)\n  ledger 0.1.0 belongs to other bytes\n  at /plan/steps/0: no\\nsuch plugin\n  \
             raise the version in the component and build it again"
        );
    }

    #[test]
    fn what_is_no_problem_document_is_not_taken_for_one() {
        assert!(Problem::parse(b"<html>bad gateway</html>").is_none());
        assert!(Problem::parse(b"[]").is_none());
    }

    #[test]
    fn an_id_from_the_command_line_stays_one_segment() {
        assert_eq!(encode("../x?y=ü"), "..%2Fx%3Fy%3D%C3%BC");
        assert_eq!(encode("sha256:00"), "sha256:00");
        let path = query(
            "/v1/tasks",
            &[("state", None), ("agent", Some("a b".to_owned()))],
        );
        assert_eq!(path, "/v1/tasks?agent=a%20b");
    }

    #[test]
    fn a_host_that_is_not_there_is_unreachable() {
        let client = Client::new(HostAddress {
            // No program is given this port unless it asks for it.
            url: "http://127.0.0.1:1".to_owned(),
            token: Some("t".to_owned()),
        });
        assert!(matches!(
            client.get("/healthz"),
            Err(ClientError::Unreachable { .. })
        ));
    }
}
