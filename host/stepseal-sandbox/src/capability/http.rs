//! `wasi:http/outgoing-handler`: requests to destinations that are granted, live or from the transcript of an earlier run.
//!
//! For a guest a request takes no time of its clock. It is sent when the guest has written its body to the end and then waits, or
//! looks whether something is ready; there the host stands still until every such request is answered in full. So whatever
//! the network does, a guest sees the same in the same order when it is run again from the transcript: no answer that comes in
//! pieces, and no timer that fires before an answer. The resources of `wasi:http/types` are wasmtime's; only `handle` is ours.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json as canonical_json;
use tokio::task::unconstrained;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, Method, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{
    Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::bytes::Bytes;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::access::World;
use crate::guest::Guest;
use crate::http::{Answered, Fault, HttpAccess, HttpUse, Outgoing, Target, is_forbidden};
use crate::limits::{
    HTTP_BODY_BYTES_MAX, HTTP_BODY_CHUNK_BYTES, HTTP_BODY_CHUNKS_MAX, HTTP_HEADERS_MAX,
    HTTP_REQUEST_HEADER_BYTES_MAX, HTTP_WAITING_MAX, WORLD_BYTES_MAX,
};
use crate::secrets::Secrets;
use crate::transcript::Begun;

/// The interface with `handle` in it; the linker takes it for every patch of WASI 0.2.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

/// Interfaces of this file.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:http/types", "wasi:http/outgoing-handler"];

/// The network as one step sees it.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
    granted: Granted,
    /// Requests that were handed over and are not answered yet, in their order.
    waiting: Vec<Waiting>,
    /// Bytes of their bodies.
    waiting_bytes: usize,
    /// Requests sent under each rule.
    sent: Vec<u32>,
    used: HttpUse,
}

enum Granted {
    None,
    Live(Option<HttpAccess>),
    Replay,
}

/// A request that was handed over.
struct Waiting {
    /// Where its answer goes: the resource, and the task that is in it until then, since numbers of resources come again.
    future: u32,
    task: tokio::task::Id,
    asked: Asked,
    body: Body,
}

/// A request as the guest made it.
struct Asked {
    method: String,
    scheme: &'static str,
    authority: String,
    path_with_query: String,
    headers: HeaderMap,
    options: RequestOptions,
}

enum Body {
    /// The guest may still write.
    Open(HyperOutgoingBody, Vec<u8>),
    Whole(Vec<u8>),
    Bad(Fault),
}

/// What becomes of a request.
enum Turn {
    /// It is answered at once: where nothing is granted, without a word in the transcript.
    Unrecorded(Fault),
    Recorded(Begun, Vec<u8>),
    Refused(Begun, Fault),
    Live(Begun, Box<Outgoing>),
}

impl Http {
    pub(crate) fn new(world: &World) -> Self {
        let granted = match world {
            World::None => Granted::None,
            World::Live(live) if live.is_empty() => Granted::None,
            World::Live(live) => Granted::Live(live.http.clone()),
            World::Replay(_) => Granted::Replay,
        };
        let rules = match &granted {
            Granted::Live(Some(access)) => access.rules.len(),
            _ => 0,
        };
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(HTTP_REQUEST_HEADER_BYTES_MAX);
        Self {
            ctx,
            hooks: Hooks,
            granted,
            waiting: Vec::new(),
            waiting_bytes: 0,
            sent: vec![0; rules],
            used: HttpUse::default(),
        }
    }

    pub(crate) fn used(&self) -> HttpUse {
        self.used
    }

    fn access(&self) -> Option<&HttpAccess> {
        match &self.granted {
            Granted::Live(access) => access.as_ref(),
            Granted::None | Granted::Replay => None,
        }
    }

    /// Takes what the guest has written of bodies until now, so that it can write more.
    pub(crate) fn drain(&mut self) {
        for waiting in &mut self.waiting {
            waiting.body.read(&mut self.waiting_bytes);
        }
    }

    /// Finds the rule for a request and makes of it what is sent.
    fn judge(&mut self, asked: &Asked, body: Vec<u8>) -> Result<Outgoing, Fault> {
        let target = Target::parse(asked.scheme, &asked.authority, &asked.path_with_query);
        let target = target.ok_or(Fault::UriInvalid)?;
        let access = self.access().ok_or(Fault::Denied)?.clone();
        let mut rules = access.rules.iter().enumerate();
        let rule = rules.find(|(_, rule)| rule.allows(&asked.method, &target));
        let (index, rule) = rule.ok_or(Fault::Denied)?;
        if body.len() as u64 > rule.limits.request_bytes {
            return Err(Fault::RequestBody);
        }
        if asked.headers.len() > HTTP_HEADERS_MAX {
            return Err(Fault::RequestHeaders);
        }
        let mut headers = asked.headers.clone();
        // The host says how long the body is, since it knows.
        headers.remove(CONTENT_LENGTH);
        for injected in &rule.injected {
            let secret = access.secrets.get(injected.secret());
            let secret = secret.ok_or(Fault::SecretMissing)?;
            let value = HeaderValue::try_from(injected.value(secret));
            let mut value = value.map_err(|_| Fault::SecretMissing)?;
            value.set_sensitive(true);
            headers.insert(injected.name.clone(), value);
        }
        if self.sent[index] >= rule.limits.calls {
            return Err(Fault::TooMany);
        }
        self.sent[index] += 1;
        self.used.sent += 1;
        let mut limits = rule.limits;
        if let Some(wanted) = asked.options.connect_timeout {
            limits.connect = limits.connect.min(wanted);
        }
        if let Some(wanted) = asked.options.first_byte_timeout {
            limits.first_byte = limits.first_byte.min(wanted);
        }
        Ok(Outgoing {
            method: asked.method.clone(),
            path_and_query: target.path_and_query(),
            origin: target.origin,
            headers,
            body: body.into(),
            addresses: rule.addresses.clone(),
            limits,
        })
    }

    fn count(&mut self, answer: &Result<Answered, Fault>) {
        match answer {
            Ok(_) => self.used.answered += 1,
            Err(fault) if fault.is_refusal() => self.used.refused += 1,
            Err(_) => self.used.failed += 1,
        }
    }
}

impl Body {
    fn read(&mut self, bytes: &mut usize) {
        let Self::Open(body, taken) = self else {
            return;
        };
        // `unconstrained`: what is there must be seen, however much the thread has done.
        while let Some(frame) = unconstrained(body.frame()).now_or_never() {
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        *bytes += data.len();
                        if *bytes > HTTP_BODY_BYTES_MAX {
                            *bytes -= taken.len() + data.len();
                            *self = Self::Bad(Fault::RequestBody);
                            return;
                        }
                        taken.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => {
                    *bytes -= taken.len();
                    *self = Self::Bad(Fault::RequestUnfinished);
                    return;
                }
                None => {
                    *self = Self::Whole(std::mem::take(taken));
                    return;
                }
            }
        }
    }
}

impl Guest {
    /// Takes a request over. It is sent once its body is whole and the guest waits.
    fn http_handle(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> wasmtime::Result<Result<Resource<HostFutureIncomingResponse>, ErrorCode>> {
        self.charge(0);
        let options = options
            .map(|options| self.table.delete(options))
            .transpose()?;
        let request = self.table.delete(request)?;
        if self.http.waiting.len() >= HTTP_WAITING_MAX {
            return Ok(Err(ErrorCode::ConnectionLimitReached));
        }
        let scheme = match request.scheme {
            Some(Scheme::Http) => "http",
            Some(Scheme::Https) | None => "https",
            Some(Scheme::Other(_)) => return Ok(Err(ErrorCode::HttpProtocolError)),
        };
        let body = match request.body {
            Some(body) => Body::Open(body, Vec::new()),
            None => Body::Whole(Vec::new()),
        };
        // Nothing runs in it: it stands for the answer until that is there.
        let pending = spawn(std::future::pending());
        let task = pending.id();
        let future = HostFutureIncomingResponse::Pending(pending);
        let future = self.table.push(future)?;
        self.http.waiting.push(Waiting {
            future: future.rep(),
            task,
            asked: Asked {
                method: method(request.method),
                scheme,
                authority: request.authority.unwrap_or_default(),
                path_with_query: request.path_with_query.unwrap_or_default(),
                headers: request.headers.into(),
                options: options.unwrap_or_default(),
            },
            body,
        });
        Ok(Ok(future))
    }

    /// Whether the guest still has the future that a request's answer goes to.
    fn is_awaited(&self, waiting: &Waiting) -> bool {
        let future = Resource::<HostFutureIncomingResponse>::new_borrow(waiting.future);
        matches!(
            self.table.get(&future),
            Ok(HostFutureIncomingResponse::Pending(task)) if task.id() == waiting.task
        )
    }

    /// Answers every request that is whole. Called wherever the guest waits or looks.
    pub(crate) async fn http_settle(&mut self) -> wasmtime::Result<()> {
        if self.http.waiting.is_empty() {
            return Ok(());
        }
        self.http.drain();
        let mut turns = Vec::new();
        for waiting in std::mem::take(&mut self.http.waiting) {
            match waiting.body {
                _ if !self.is_awaited(&waiting) => {}
                Body::Open(..) => self.http.waiting.push(waiting),
                Body::Whole(body) => {
                    let turn = self.http_turn(&waiting.asked, Ok(body))?;
                    turns.push((waiting.future, turn));
                }
                Body::Bad(fault) => {
                    let turn = self.http_turn(&waiting.asked, Err(fault))?;
                    turns.push((waiting.future, turn));
                }
            }
        }
        let held = self.http.waiting.iter().map(|waiting| match &waiting.body {
            Body::Open(_, taken) => taken.len(),
            Body::Whole(_) | Body::Bad(_) => 0,
        });
        self.http.waiting_bytes = held.sum();
        self.http_answer(turns).await
    }

    /// What becomes of a request that is whole.
    fn http_turn(&mut self, asked: &Asked, body: Result<Vec<u8>, Fault>) -> wasmtime::Result<Turn> {
        let held = body.as_ref().map_or(0, Vec::len);
        let header_bytes: usize = asked
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        self.charge(held + header_bytes + asked.authority.len() + asked.path_with_query.len());
        if matches!(self.http.granted, Granted::None) {
            return Ok(Turn::Unrecorded(Fault::Denied));
        }
        if !self.journal.has_room() {
            return Ok(Turn::Unrecorded(Fault::TooMany));
        }
        let request = asked.encode(&body);
        self.refuse_secrets(request.to_string().as_bytes(), "a request")?;
        self.refuse_secrets(body.as_deref().unwrap_or_default(), "a request")?;
        let mut begun = self
            .journal
            .begin(&request)
            .map_err(|stop| self.stop(stop))?;
        if let Some(recorded) = begun.recorded.take() {
            return Ok(Turn::Recorded(begun, recorded));
        }
        match body.and_then(|body| self.http.judge(asked, body)) {
            Ok(outgoing) => Ok(Turn::Live(begun, Box::new(outgoing))),
            Err(fault) => Ok(Turn::Refused(begun, fault)),
        }
    }

    /// Sends what is to be sent, all at once, and answers in the order of the requests.
    async fn http_answer(&mut self, turns: Vec<(u32, Turn)>) -> wasmtime::Result<()> {
        let access = self.http.access().cloned();
        let sent = turns.into_iter().map(|(future, turn)| {
            let access = access.clone();
            async move {
                let (begun, answer) = match turn {
                    Turn::Unrecorded(fault) => (None, Source::Fault(fault)),
                    Turn::Recorded(begun, recorded) => (Some(begun), Source::Record(recorded)),
                    Turn::Refused(begun, fault) => (Some(begun), Source::Fault(fault)),
                    Turn::Live(begun, outgoing) => {
                        let answer = match access {
                            Some(access) => {
                                let answer = access.client.send(*outgoing).await;
                                answer.map(|answered| answered.for_guest(&access.secrets))
                            }
                            None => Err(Fault::Denied),
                        };
                        (
                            Some(begun),
                            answer.map_or_else(Source::Fault, Source::Answer),
                        )
                    }
                };
                (future, begun, answer)
            }
        });
        // Other tasks of a guest of WASI 0.3 may wait for a time meanwhile, and it must not come.
        let shared = Arc::clone(&self.shared);
        for (future, begun, answer) in shared.clock.outside(join_all(sent)).await {
            let answer = self.http_record(begun, answer)?;
            let bytes = answer.as_ref().map_or(0, |answered| answered.body.len());
            self.charge(bytes);
            let future = Resource::<HostFutureIncomingResponse>::new_borrow(future);
            *self.table.get_mut(&future)? = ready(answer);
        }
        Ok(())
    }

    /// Puts an answer into the transcript, or takes it out of the recorded one.
    fn http_record(
        &mut self,
        begun: Option<Begun>,
        answer: Source,
    ) -> wasmtime::Result<Result<Answered, Fault>> {
        let answer = match (begun, answer) {
            (None, Source::Fault(fault)) => Err(fault),
            (None, Source::Answer(_) | Source::Record(_)) => Err(Fault::Denied),
            (Some(begun), Source::Record(recorded)) => {
                let Some(answer) = decode(&recorded) else {
                    let how = "has a recorded answer that no run can have had";
                    return Err(self.stop(begun.differs(how)));
                };
                if answer.is_ok() && !self.journal.hold(recorded.len()) {
                    let how = "has a larger answer than any run can have had";
                    return Err(self.stop(begun.differs(how)));
                }
                self.journal.end(begun, recorded);
                return Ok(answer);
            }
            (Some(begun), Source::Fault(fault)) => {
                self.journal.end(begun, encode(&Err(fault)));
                Err(fault)
            }
            (Some(begun), Source::Answer(answered)) => {
                let mut answer = Ok(answered);
                let mut response = encode(&answer);
                if !self.journal.hold(response.len()) {
                    answer = Err(Fault::ResponseBody);
                    response = encode(&answer);
                }
                self.journal.end(begun, response);
                answer
            }
        };
        self.http.count(&answer);
        Ok(answer)
    }
}

/// Where an answer comes from.
enum Source {
    Fault(Fault),
    Answer(Answered),
    Record(Vec<u8>),
}

/// An answer as the guest finds it.
fn ready(answer: Result<Answered, Fault>) -> HostFutureIncomingResponse {
    let answer = answer.map_err(Fault::to_guest).map(|answered| {
        let body: WasiBody = Full::new(answered.body)
            .map_err(|never| match never {})
            .boxed_unsync();
        let mut response = http::Response::new(body);
        *response.status_mut() = answered.status;
        *response.headers_mut() = answered.headers;
        let nothing_runs: AbortOnDropJoinHandle<()> = spawn(async {});
        (response, nothing_runs)
    });
    HostFutureIncomingResponse::Ready(answer)
}

fn method(method: Method) -> String {
    match method {
        Method::Get => "GET".to_owned(),
        Method::Head => "HEAD".to_owned(),
        Method::Post => "POST".to_owned(),
        Method::Put => "PUT".to_owned(),
        Method::Delete => "DELETE".to_owned(),
        Method::Connect => "CONNECT".to_owned(),
        Method::Options => "OPTIONS".to_owned(),
        Method::Trace => "TRACE".to_owned(),
        Method::Patch => "PATCH".to_owned(),
        Method::Other(name) => name,
    }
}

impl Asked {
    /// The request whose digest goes into the transcript.
    fn encode(&self, body: &Result<Vec<u8>, Fault>) -> Value {
        let body = match body {
            Ok(body) if body.is_empty() => Value::Null,
            Ok(body) => Digest::of(body).to_string().into(),
            Err(fault) => json!({ "error": fault.as_str() }),
        };
        json!({
            "op": "http",
            "method": self.method,
            "scheme": self.scheme,
            "authority": self.authority,
            "path": self.path_with_query,
            "headers": encode_headers(&self.headers),
            "body": body,
        })
    }
}

impl Answered {
    /// Without what the guest may not see: a server may send back the secret that it was sent.
    fn for_guest(mut self, secrets: &Secrets) -> Self {
        for value in self.headers.values_mut() {
            if let Some(redacted) = secrets.redacted(value.as_bytes()) {
                *value = HeaderValue::from_bytes(&redacted)
                    .unwrap_or_else(|_| HeaderValue::from_static("[secret]"));
            }
        }
        if let Some(redacted) = secrets.redacted(&self.body) {
            self.body = redacted.into();
            self.headers.remove(CONTENT_LENGTH);
        }
        // In the order of the transcript, so that a guest that is run again goes through them in the same. Wasmtime would hide some of
        // them from the guest; so they need not be kept either.
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for name in sorted_names(&self.headers) {
            if !is_forbidden(name) {
                for value in self.headers.get_all(name) {
                    headers.append(name, value.clone());
                }
            }
        }
        self.headers = headers;
        self
    }
}

/// Headers by name, each value's bytes as the characters of the same numbers, so that any bytes have one text.
fn encode_headers(headers: &HeaderMap) -> Value {
    let pairs = sorted_names(headers).into_iter().flat_map(|name| {
        headers.get_all(name).iter().map(move |value| {
            let value: String = value.as_bytes().iter().map(|b| char::from(*b)).collect();
            json!([name.as_str(), value])
        })
    });
    pairs.collect()
}

fn sorted_names(headers: &HeaderMap) -> Vec<&HeaderName> {
    let mut names: Vec<&HeaderName> = headers.keys().collect();
    names.sort_by_key(|name| name.as_str());
    names
}

fn decode_headers(value: &Value) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in value.as_array()? {
        let [name, value] = pair.as_array()?.as_slice() else {
            return None;
        };
        let bytes = value
            .as_str()?
            .chars()
            .map(|c| u8::try_from(u32::from(c)).ok());
        let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
        let name = HeaderName::try_from(name.as_str()?).ok()?;
        if headers.len() >= HTTP_HEADERS_MAX {
            return None;
        }
        headers.append(name, HeaderValue::from_bytes(&bytes).ok()?);
    }
    Some(headers)
}

/// An answer as the transcript keeps it.
fn encode(answer: &Result<Answered, Fault>) -> Vec<u8> {
    canonical_json::canonical(&match answer {
        Ok(answered) => json!({
            "status": answered.status.as_u16(),
            "headers": encode_headers(&answered.headers),
            "body": BASE64.encode(&answered.body),
        }),
        Err(fault) => json!({ "error": fault.as_str() }),
    })
}

/// Reads what [`encode`] wrote. It was written by whoever wrote the transcript, so it must be what a run would have written.
fn decode(recorded: &[u8]) -> Option<Result<Answered, Fault>> {
    let limits = canonical_json::Limits {
        bytes_max: WORLD_BYTES_MAX,
        depth_max: 4,
    };
    let value = canonical_json::parse(recorded, &limits).ok()?;
    let answer = match value.get("error") {
        Some(fault) => Err(Fault::from_name(fault.as_str()?)?),
        None => Ok(Answered {
            status: StatusCode::from_u16(value.get("status")?.as_u64()?.try_into().ok()?).ok()?,
            headers: decode_headers(value.get("headers")?)?,
            body: Bytes::from(BASE64.decode(value.get("body")?.as_str()?).ok()?),
        }),
    };
    (encode(&answer) == recorded).then_some(answer)
}

/// What wasmtime asks about the types it brings.
struct Hooks;

impl WasiHttpHooks for Hooks {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _done: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = Result<
                    (
                        http::Response<WasiBody>,
                        Box<dyn Future<Output = Result<(), Error>> + Send>,
                    ),
                    Error,
                >,
            > + Send,
    > {
        // Never reached: wasmtime's `handle` is not linked.
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        HTTP_BODY_CHUNKS_MAX
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        HTTP_BODY_CHUNK_BYTES
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.charge(0);
        WasiHttpCtxView {
            ctx: &mut self.http.ctx,
            table: &mut self.table,
            hooks: &mut self.http.hooks,
        }
    }
}

pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    types::add_to_linker::<Guest, WasiHttp>(linker, &types::LinkOptions::default(), Guest::http)?;
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Guest>, (request, options): Handed| {
            Ok((store.data_mut().http_handle(request, options)?,))
        },
    )
}

/// What `handle` is given.
type Handed = (
    Resource<HostOutgoingRequest>,
    Option<Resource<RequestOptions>>,
);
