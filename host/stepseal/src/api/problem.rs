//! What went wrong, as an answer.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use stepseal_sandbox::LoadError;

use super::wire::problem::{MEDIA_TYPE, TYPE_PREFIX};
use super::wire::{Fault, Problem};
use crate::engine::EngineError;
use crate::store::StoreError;

/// Seconds after which it is worth trying again where nobody knows better.
const RETRY_AFTER_S: u64 = 1;

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No token, or one that is nobody's.
    Unauthorized,
    /// The caller may not do this.
    Forbidden,
    /// No such thing.
    NotFound,
    /// It was there, and is erased.
    Erased,
    /// The place is there, but not for this method.
    MethodNotAllowed,
    /// The body came too slowly.
    BodyTimeout,
    /// The body is larger than allowed.
    TooLarge,
    /// The body is of another media type.
    MediaType,
    /// The body cannot be read as JSON.
    MalformedJson,
    /// The connection broke, or the body was not framed right.
    BrokenBody,
    /// A path segment, query parameter or header field is wrong.
    BadParameter,
    /// The body can be read and is not right.
    Invalid,
    /// A component was refused, with the code that says why.
    Component(&'static str),
    /// It clashes with what is there, with the engine's code.
    Conflict(&'static str),
    /// No room for this work right now.
    Busy,
    /// Too many connections, requests or bytes at one time.
    Overloaded,
    /// The disk of the database is full.
    DiskFull,
    /// The host cannot take tasks.
    NotReady,
    /// The host did not answer in time.
    Timeout,
    /// A defect, or a broken disk.
    Internal,
}

impl Kind {
    /// The status it goes out with.
    pub(crate) fn status(self) -> StatusCode {
        self.describe().1
    }

    /// Code, status and title.
    fn describe(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::Unauthorized => (
                "unauthorized",
                S::UNAUTHORIZED,
                "The host's token is needed",
            ),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "This is not allowed"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "There is no such thing"),
            Self::Erased => ("erased", S::GONE, "It was erased"),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "This cannot be done here",
            ),
            Self::BodyTimeout => (
                "body-timeout",
                S::REQUEST_TIMEOUT,
                "The body came too slowly",
            ),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::MediaType => (
                "media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The body is of the wrong media type",
            ),
            Self::MalformedJson => (
                "malformed-json",
                S::BAD_REQUEST,
                "The body is not acceptable JSON",
            ),
            Self::BrokenBody => ("broken-body", S::BAD_REQUEST, "The body did not arrive"),
            Self::BadParameter => ("bad-parameter", S::BAD_REQUEST, "A parameter is not right"),
            Self::Invalid => (
                "invalid",
                S::UNPROCESSABLE_ENTITY,
                "The request is not right",
            ),
            Self::Component(code) => (code, S::UNPROCESSABLE_ENTITY, "The component was refused"),
            Self::Conflict(code) => (code, S::CONFLICT, "This clashes with what is there"),
            Self::Busy => ("busy", S::TOO_MANY_REQUESTS, "The host is busy"),
            Self::Overloaded => (
                "overloaded",
                S::SERVICE_UNAVAILABLE,
                "The host has too much to do",
            ),
            Self::DiskFull => (
                "disk-full",
                S::SERVICE_UNAVAILABLE,
                "The host has no room to store anything",
            ),
            Self::NotReady => (
                "not-ready",
                S::SERVICE_UNAVAILABLE,
                "The host cannot take tasks",
            ),
            Self::Timeout => (
                "timeout",
                S::SERVICE_UNAVAILABLE,
                "The host did not answer in time",
            ),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "The host failed"),
        }
    }
}

/// A problem on its way to the client.
#[derive(Debug)]
pub(crate) struct ApiError {
    kind: Kind,
    detail: String,
    faults: Vec<Fault>,
    retry_after_s: Option<u64>,
    /// The `error` of `WWW-Authenticate` (RFC 6750 §3).
    bearer_error: Option<&'static str>,
}

impl ApiError {
    /// A problem with a sentence that says where and what to do.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after_s = match kind {
            Kind::Busy | Kind::Overloaded | Kind::DiskFull | Kind::NotReady | Kind::Timeout => {
                Some(RETRY_AFTER_S)
            }
            _ => None,
        };
        Self {
            kind,
            detail: detail.into(),
            faults: Vec::new(),
            retry_after_s,
            bearer_error: None,
        }
    }

    /// With the places in the body that are wrong.
    pub(crate) fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// The token is missing or wrong.
    pub(crate) fn unauthorized(detail: &str, bearer_error: Option<&'static str>) -> Self {
        Self {
            bearer_error,
            ..Self::new(Kind::Unauthorized, detail)
        }
    }

    /// A parameter is wrong.
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(Kind::BadParameter, format!("{name}: {why}"))
    }

    /// A failure of the host: `why` is for the log only.
    pub(crate) fn internal(why: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %why, "a request failed");
        Self::new(
            Kind::Internal,
            "the host failed to do this; its log says why",
        )
    }

    /// The status it goes out with.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The object it goes out as.
    pub(crate) fn to_wire(&self) -> Problem {
        let (code, status, title) = self.kind.describe();
        Problem {
            kind: format!("{TYPE_PREFIX}{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: Some(code.to_owned()),
            faults: self.faults.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.to_wire()).expect("a problem has string keys only");
        let mut response = (self.status(), [(CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Unauthorized {
            let challenge = match self.bearer_error {
                None => HeaderValue::from_static("Bearer realm=\"stepseal\""),
                Some(error) => {
                    HeaderValue::from_str(&format!("Bearer realm=\"stepseal\", error=\"{error}\""))
                        .expect("the error codes of RFC 6750 are visible ASCII")
                }
            };
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let detail = error.to_string();
        match error {
            EngineError::NotFound { .. } => Self::new(Kind::NotFound, detail),
            EngineError::Erased(_) => Self::new(Kind::Erased, detail),
            EngineError::Invalid(faults) => Self::new(Kind::Invalid, detail)
                .with_faults(faults.into_iter().map(Fault::from).collect()),
            EngineError::Component(load) => load.into(),
            EngineError::Conflict { code, .. } => Self::new(Kind::Conflict(code), detail),
            EngineError::Forbidden(_) => Self::new(Kind::Forbidden, detail),
            EngineError::Busy { retry_after_s } => Self {
                retry_after_s: Some(retry_after_s),
                ..Self::new(Kind::Busy, detail)
            },
            EngineError::Unreachable(_) => {
                tracing::warn!(error = %detail, "components cannot be reached");
                Self::new(
                    Kind::Overloaded,
                    "the place of components does not answer; try again",
                )
            }
            EngineError::Store(store) => store.into(),
            EngineError::Foreign { .. } | EngineError::Behind { .. } | EngineError::Internal(_) => {
                Self::internal(&detail)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Lost => Self::new(
                Kind::Overloaded,
                "the database has too much to do; try again",
            ),
            StoreError::Full => Self::new(Kind::DiskFull, error.to_string()),
            StoreError::Newer { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Unusable { .. }
            | StoreError::Refused { .. }
            | StoreError::Database(_)
            | StoreError::Migrate(_) => Self::internal(&error),
        }
    }
}

impl From<LoadError> for ApiError {
    fn from(error: LoadError) -> Self {
        let kind = match &error {
            LoadError::TooLarge { .. } => Kind::TooLarge,
            LoadError::NotWasm => Kind::Component("not-wasm"),
            LoadError::CoreModule => Kind::Component("core-module"),
            LoadError::NotComponent(_) => Kind::Component("not-component"),
            LoadError::NoKnownExport { .. } => Kind::Component("no-known-export"),
            LoadError::Ambiguous => Kind::Component("ambiguous-export"),
            LoadError::WrongKind { .. } => Kind::Component("wrong-kind"),
            LoadError::ForeignImport { .. } => Kind::Component("foreign-import"),
            LoadError::ImportMismatch(_) => Kind::Component("import-mismatch"),
            LoadError::WrongType { .. } => Kind::Component("wrong-type"),
            LoadError::Busy => Kind::Busy,
            LoadError::Unavailable(_) => Kind::Overloaded,
            LoadError::Compile(_) => Kind::Component("does-not-compile"),
            LoadError::Describe(_) => Kind::Component("describe-failed"),
            LoadError::BadDescriptor(_) => Kind::Component("bad-descriptor"),
            // Of what is left, `WrongDigest` and `Io` are the host's own trouble. The enum may grow: until a new variant is
            // named here, its text is not known to be fit for clients.
            _ => return Self::internal(&error),
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;
    use axum::body::to_bytes;
    use serde_json::{Value, json};

    async fn sent(error: impl Into<ApiError>) -> (Response, Value) {
        let response = error.into().into_response();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 64 * 1024).await.unwrap();
        let value = serde_json::from_slice(&body).unwrap();
        (
            Response::from_parts(parts, axum::body::Body::empty()),
            value,
        )
    }

    #[tokio::test]
    async fn faults_go_out_with_their_pointers() {
        let (response, body) = sent(EngineError::Invalid(vec![engine::Fault {
            pointer: "/plan/steps/0/uses".to_owned(),
            message: "there is no plugin \"legder\"".to_owned(),
        }]))
        .await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["type"], "https://stepseal.dev/problems/invalid");
        assert_eq!(body["status"], 422);
        assert_eq!(
            body["faults"],
            json!([{"pointer": "/plan/steps/0/uses", "message": "there is no plugin \"legder\""}])
        );
    }

    #[tokio::test]
    async fn a_conflict_keeps_the_engines_code_and_words() {
        let (response, body) = sent(EngineError::Conflict {
            code: "already-decided",
            message: "ada has decided".to_owned(),
        })
        .await;
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(body["code"], "already-decided");
        assert_eq!(body["detail"], "ada has decided");
    }

    #[tokio::test]
    async fn what_the_disk_says_stays_in_the_log() {
        let secret = "unable to open /var/lib/secret/stepseal.db";
        let errors = [
            EngineError::Internal(secret.to_owned()),
            EngineError::Store(StoreError::Corrupt {
                what: "a grant document",
                why: secret.to_owned(),
            }),
            EngineError::Component(LoadError::Io(std::io::Error::other(secret))),
        ];
        for error in errors {
            let (response, body) = sent(error).await;
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(!body.to_string().contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn busy_says_when_to_come_back() {
        let (response, _) = sent(EngineError::Busy { retry_after_s: 7 }).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        let (response, _) = sent(StoreError::Busy).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }

    #[tokio::test]
    async fn a_refused_component_says_why_and_a_large_one_is_413() {
        let (response, body) = sent(LoadError::CoreModule).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(body["code"], "core-module");
        assert!(body["detail"].as_str().unwrap().contains("core module"));
        let (response, _) = sent(LoadError::TooLarge {
            bytes: 2,
            bytes_max: 1,
        })
        .await;
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_wrong_token_is_challenged() {
        let (response, _) = sent(ApiError::unauthorized("no", Some("invalid_token"))).await;
        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            "Bearer realm=\"stepseal\", error=\"invalid_token\""
        );
        let (response, _) = sent(ApiError::unauthorized("no", None)).await;
        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            "Bearer realm=\"stepseal\""
        );
    }
}
