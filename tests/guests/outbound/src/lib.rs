//! A plugin that uses every capability an operator can grant, for the black-box tests of the host: it sends requests as it is told, and
//! gives away what it was sent in every way a guest has.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a handler takes its input and gives a Result"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepseal_plugin::{Call, Failure, JsonSchema, log, plugin, schemars};

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::config::store as config;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use bindings::wasi::io::poll;
use bindings::wasi::io::streams::StreamError;
use bindings::wasi::keyvalue::{atomics, batch, store};

mod bindings {
    #![expect(
        clippy::same_length_and_capacity,
        reason = "generated: a list crosses as pointer and length"
    )]
    wit_bindgen::generate!({ path: "wit", world: "outbound", generate_all });
}

/// The bucket of the steps that use one.
const BUCKET: &str = "outbound";

/// Bytes of a body written at once: what a stream takes in one call.
const CHUNK_BYTES: usize = 4_096;

plugin! {
    /// Uses every capability an operator can grant.
    name: "outbound",
    steps: {
        /// Sends requests side by side and tells what came back.
        "send" => send,
        /// Sends a request, turns the body around and gives it away as told.
        "leak" => leak,
        /// Adds one to a number in the bucket, with a request between reading and writing it.
        "send-and-count" => send_and_count,
        /// Tells what the configuration holds.
        "config" => configuration,
        /// Uses the key-value store's atomics and batches.
        "many" => many,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Requests {
    requests: Vec<Request>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default = "get")]
    method: String,
    #[serde(default = "http")]
    scheme: String,
    authority: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// Bytes of a body of dots; none where absent.
    #[serde(default)]
    body_bytes: Option<usize>,
}

fn get() -> String {
    "GET".to_owned()
}

fn http() -> String {
    "http".to_owned()
}

/// What came back: a response, or the error's name.
#[derive(Default, Serialize, JsonSchema)]
struct Response {
    status: Option<u16>,
    headers: BTreeMap<String, String>,
    body: String,
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Responses {
    responses: Vec<Response>,
    /// Whether a timer of an hour that was waited for beside the first response fired before it.
    timer_was_first: bool,
}

/// Hands a request over; the error's name where the host does not take it.
fn hand_over(request: &Request) -> Result<FutureIncomingResponse, String> {
    let fields = Fields::new();
    for (name, value) in &request.headers {
        let set = fields.append(name, value.as_bytes());
        set.map_err(|error| format!("{error:?}"))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let invalid = |()| "invalid".to_owned();
    outgoing
        .set_method(&method(&request.method))
        .map_err(invalid)?;
    let scheme = match request.scheme.as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    outgoing.set_scheme(Some(&scheme)).map_err(invalid)?;
    outgoing
        .set_authority(Some(&request.authority))
        .map_err(invalid)?;
    outgoing
        .set_path_with_query(Some(&request.path))
        .map_err(invalid)?;
    let body = request.body_bytes.map(|bytes| (outgoing.body(), bytes));
    let future = outgoing_handler::handle(outgoing, None).map_err(|error| format!("{error:?}"))?;
    if let Some((body, bytes)) = body {
        let body = body.map_err(invalid)?;
        let stream = body.write().map_err(invalid)?;
        let mut left = bytes;
        while left > 0 {
            let chunk = vec![b'.'; left.min(CHUNK_BYTES)];
            left -= chunk.len();
            stream
                .blocking_write_and_flush(&chunk)
                .map_err(|error| format!("{error:?}"))?;
        }
        drop(stream);
        OutgoingBody::finish(body, None).map_err(|error| format!("{error:?}"))?;
    }
    Ok(future)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    }
}

fn response(future: Result<FutureIncomingResponse, String>) -> Response {
    match future.and_then(|future| received(&future)) {
        Ok(response) => response,
        Err(error) => Response {
            error: Some(error),
            ..Response::default()
        },
    }
}

fn received(future: &FutureIncomingResponse) -> Result<Response, String> {
    future.subscribe().block();
    let answer = future.get().ok_or("no answer after all")?;
    let response = answer
        .map_err(|()| "taken twice".to_owned())?
        .map_err(|error| format!("{error:?}"))?;
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()));
    Ok(Response {
        status: Some(response.status()),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body(&response)?).into_owned(),
        error: None,
    })
}

fn body(response: &IncomingResponse) -> Result<Vec<u8>, String> {
    let incoming = response.consume().map_err(|()| "no body".to_owned())?;
    let stream = incoming.stream().map_err(|()| "no stream".to_owned())?;
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(1 << 16) {
            Ok(bytes) => body.extend(bytes),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(_)) => return Err("the body broke off".to_owned()),
        }
    }
}

fn send(_: &Call, input: Requests) -> Result<Responses, Failure> {
    let futures: Vec<_> = input.requests.iter().map(hand_over).collect();
    let mut timer_was_first = false;
    if let Some(Ok(first)) = futures.first() {
        let answered = first.subscribe();
        let timer = monotonic_clock::subscribe_duration(3_600_000_000_000);
        timer_was_first = !poll::poll(&[&answered, &timer]).contains(&0);
    }
    Ok(Responses {
        responses: futures.into_iter().map(response).collect(),
        timer_was_first,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Leak {
    request: Request,
    how: How,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum How {
    Output,
    Failure,
    Log,
    Panic,
    Key,
    Value,
    Request,
    Keep,
}

#[derive(Serialize, JsonSchema)]
struct Leaked {
    text: String,
}

fn leak(_: &Call, input: Leak) -> Result<Leaked, Failure> {
    let got = response(hand_over(&input.request));
    let text: String = got.body.chars().rev().collect();
    let bucket = || store::open(BUCKET).map_err(refused);
    match input.how {
        How::Output => return Ok(Leaked { text }),
        How::Failure => return Err(Failure::Failed(text)),
        How::Log => log::info(&text),
        How::Panic => panic!("{text}"),
        How::Key => bucket()?.set(&text, b"x").map_err(refused)?,
        How::Value => bucket()?.set("k", text.as_bytes()).map_err(refused)?,
        How::Request => {
            let request = Request {
                path: format!("/other?q={text}"),
                ..input.request
            };
            let got = response(hand_over(&request));
            return Ok(Leaked { text: got.body });
        }
        How::Keep => {}
    }
    Ok(Leaked {
        text: text.len().to_string(),
    })
}

fn refused(error: store::Error) -> Failure {
    Failure::Failed(format!("{error:?}"))
}

#[derive(Serialize, JsonSchema)]
struct Counted {
    count: u64,
    status: Option<u16>,
    error: Option<String>,
}

fn send_and_count(_: &Call, input: Request) -> Result<Counted, Failure> {
    let bucket = store::open(BUCKET).map_err(refused)?;
    // Reads, so that whoever changes the number before the end of this step is in its way.
    bucket.get("count").map_err(refused)?;
    let got = response(hand_over(&input));
    let count = atomics::increment(&bucket, "count", 1).map_err(refused)?;
    Ok(Counted {
        count,
        status: got.status,
        error: got.error,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize, JsonSchema)]
struct Configuration {
    all: Vec<(String, String)>,
    greeting: Option<String>,
}

fn configuration(_: &Call, _: Nothing) -> Result<Configuration, Failure> {
    let failed = |error: config::Error| Failure::Failed(format!("{error:?}"));
    Ok(Configuration {
        all: config::get_all().map_err(failed)?,
        greeting: config::get("greeting").map_err(failed)?,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Many {
    set: BTreeMap<String, String>,
    delete: Vec<String>,
    increment: Vec<(String, u64)>,
    get: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    numbers: Vec<Result<u64, String>>,
    found: Result<Vec<Option<(String, String)>>, String>,
}

fn many(_: &Call, input: Many) -> Result<Found, Failure> {
    let bucket = store::open(BUCKET).map_err(refused)?;
    let set: Vec<_> = input
        .set
        .into_iter()
        .map(|(key, value)| (key, value.into_bytes()))
        .collect();
    batch::set_many(&bucket, &set).map_err(refused)?;
    batch::delete_many(&bucket, &input.delete).map_err(refused)?;
    let numbers = input.increment.iter().map(|(key, delta)| {
        let number = atomics::increment(&bucket, key, *delta);
        number.map_err(|error| format!("{error:?}"))
    });
    let numbers = numbers.collect();
    let found = batch::get_many(&bucket, &input.get).map_err(|error| format!("{error:?}"));
    let text =
        |(key, value): (String, Vec<u8>)| (key, String::from_utf8_lossy(&value).into_owned());
    Ok(Found {
        numbers,
        found: found.map(|found| found.into_iter().map(|it| it.map(text)).collect()),
    })
}
