//! An HTTP client that believes nothing: every answer is held against `openapi.json` before a test sees it.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Request, Response};

use super::openapi::{Exchange, openapi};

/// How long a request may take: longer than a host lets a client wait for a task.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(2);

/// A client of one host, with its token.
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
    /// Operations that were reached, as `operation-id status`.
    reached: Mutex<BTreeSet<String>>,
}

/// A request to be sent.
#[must_use]
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    authorization: Option<String>,
    body: Option<Vec<u8>>,
}

/// What the host answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Vec<u8>,
    headers: ureq::http::HeaderMap,
    /// What was asked, for messages.
    asked: String,
}

impl Client {
    pub(super) fn new(url: String, token: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(REQUEST_TIMEOUT))
            .build();
        Self {
            agent: config.new_agent(),
            url,
            token,
            reached: Mutex::default(),
        }
    }

    /// Where the host is: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The host's token.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Operations that were reached, as `operation-id status`.
    pub(crate) fn reached(&self) -> BTreeSet<String> {
        self.reached
            .lock()
            .expect("no test goes on after a panic")
            .clone()
    }

    /// A request with the host's token.
    pub(crate) fn call(&self, method: &'static str, path: impl Into<String>) -> Call<'_> {
        Call {
            client: self,
            method,
            path: path.into(),
            headers: Vec::new(),
            authorization: Some(format!("Bearer {}", self.token)),
            body: None,
        }
    }

    /// What `GET` gives, which must be there.
    pub(crate) fn get(&self, path: impl Into<String>) -> Value {
        self.call("GET", path).send().expect(200).json()
    }

    /// What `POST` of JSON is answered with.
    pub(crate) fn post(&self, path: impl Into<String>, body: &Value) -> Answer {
        self.call("POST", path).json(body).send()
    }

    /// What `PUT` of JSON is answered with.
    pub(crate) fn put(&self, path: impl Into<String>, body: &Value) -> Answer {
        self.call("PUT", path).json(body).send()
    }
}

impl Call<'_> {
    /// With a header field.
    pub(crate) fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// With another `Authorization`, or none.
    pub(crate) fn authorization(mut self, field: Option<&str>) -> Self {
        self.authorization = field.map(str::to_owned);
        self
    }

    /// With a body of JSON.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a body.
    pub(crate) fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("content-type", media_type)
    }

    /// Sends it and holds the answer against the API's description.
    pub(crate) fn send(self) -> Answer {
        let asked = format!("{} {}", self.method, self.path);
        let response = self.open();
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response
            .into_body()
            .into_with_config()
            .limit(u64::MAX)
            .read_to_vec()
            .unwrap_or_else(|error| panic!("{asked}: the answer broke off: {error}"));
        let answer = Answer {
            status,
            body,
            headers,
            asked,
        };
        let operation = openapi().check(&Exchange {
            method: self.method,
            path: &self.path,
            sent: self.body.as_deref(),
            status,
            media_type: answer.header("content-type"),
            body: &answer.body,
        });
        if let Some(operation) = operation {
            self.client
                .reached
                .lock()
                .expect("no test goes on after a panic")
                .insert(format!("{operation} {status}"));
        }
        answer
    }

    /// Sends it and leaves the body to be read.
    pub(super) fn open(&self) -> Response<ureq::Body> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(format!("{}{}", self.client.url, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(field) = &self.authorization {
            request = request.header("authorization", field);
        }
        let sent = match &self.body {
            Some(body) => self
                .client
                .agent
                .run(request.body(body).expect("the test writes a request")),
            None => self
                .client
                .agent
                .run(request.body(()).expect("the test writes a request")),
        };
        sent.unwrap_or_else(|error| panic!("{} {}: no answer: {error}", self.method, self.path))
    }
}

impl Answer {
    /// This answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.asked, self.text());
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.asked, self.text()))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|field| field.to_str().ok())
    }

    /// The problem this must be, with this status and code.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(
            (self.status, problem["code"].as_str()),
            (status, Some(code)),
            "{}: {problem:#}",
            self.asked
        );
        assert_eq!(problem["status"], status, "the body tells the status too");
        assert_eq!(
            problem["type"],
            format!("https://stepseal.dev/problems/{code}")
        );
        problem
    }

    /// The pointers of the faults this must list, in order.
    #[track_caller]
    pub(crate) fn faults(&self, status: u16, code: &str) -> Vec<String> {
        let problem = self.problem(status, code);
        let faults = problem["faults"]
            .as_array()
            .unwrap_or_else(|| panic!("no faults: {problem:#}"));
        faults
            .iter()
            .map(|fault| fault["pointer"].as_str().expect("a pointer").to_owned())
            .collect()
    }
}
