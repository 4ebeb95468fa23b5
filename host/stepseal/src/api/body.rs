//! Request bodies: bounded in bytes, in time and in number, and read strictly.

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stepseal_receipts::json::{self, Limits, PAYLOAD_DEPTH_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Api;
use super::limits::{
    BODY_WALL_MAX, COMPONENT_BYTES_MAX, DISCARD_BYTES_MAX, DISCARD_WALL_MAX, PARSE_INLINE_BYTES_MAX,
};
use super::problem::{ApiError, Kind};
use super::wire::Fault;
use crate::engine::error::pointer;

/// Bytes that one permit for bodies stands for.
pub(crate) const UNIT_BYTES: usize = 1024;

/// A body of JSON that its type accepts.
pub(crate) struct StrictJson<T> {
    /// What it says.
    pub(crate) value: T,
    /// Room taken by the body, to be given back when the work on it is done.
    pub(crate) room: OwnedSemaphorePermit,
}

/// What a JSON body can be.
pub(crate) trait JsonBody: Sized + Send + 'static {
    /// Most bytes of the body.
    const BYTES_MAX: usize;

    /// From JSON that was parsed strictly.
    fn from_json(value: Value) -> Result<Self, Fault>;
}

/// Reads a fixed shape out of JSON and says where it does not fit.
pub(crate) fn shape<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_path_to_error::deserialize(value).map_err(|error| Fault {
        pointer: pointer(error.path()),
        message: error.inner().to_string(),
    })
}

impl<T: JsonBody> FromRequest<Api> for StrictJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let request = with_type(request, "application/json").await?;
        let Bounded { bytes, room } = Bounded::read(&api.0.bodies, request, T::BYTES_MAX).await?;
        // Millions of small values take a while, and the threads that serve connections must not be kept.
        let value = if bytes.len() > PARSE_INLINE_BYTES_MAX {
            tokio::task::spawn_blocking(move || parse::<T>(&bytes))
                .await
                .map_err(|error| ApiError::internal(&error))??
        } else {
            parse::<T>(&bytes)?
        };
        Ok(Self { value, room })
    }
}

fn parse<T: JsonBody>(bytes: &[u8]) -> Result<T, ApiError> {
    let limits = Limits {
        bytes_max: T::BYTES_MAX,
        depth_max: PAYLOAD_DEPTH_MAX,
    };
    let value = json::parse(bytes, &limits).map_err(|error| {
        let message = error.to_string();
        ApiError::new(Kind::MalformedJson, message.clone()).with_faults(vec![Fault {
            pointer: error.pointer,
            message,
        }])
    })?;
    T::from_json(value).map_err(|fault| {
        let place = if fault.pointer.is_empty() {
            "the body"
        } else {
            &fault.pointer
        };
        ApiError::new(Kind::Invalid, format!("{place}: {}", fault.message)).with_faults(vec![fault])
    })
}

/// The bytes of a component.
pub(crate) struct WasmBody(pub(crate) Bounded);

impl FromRequest<Api> for WasmBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let request = with_type(request, "application/wasm").await?;
        Bounded::read(&api.0.bodies, request, COMPONENT_BYTES_MAX)
            .await
            .map(Self)
    }
}

/// A body in memory, and the room it takes there.
pub(crate) struct Bounded {
    /// The body.
    pub(crate) bytes: Vec<u8>,
    /// Its room among the bodies of all requests.
    pub(crate) room: OwnedSemaphorePermit,
}

impl Bounded {
    async fn read(
        bodies: &Arc<Semaphore>,
        request: Request,
        bytes_max: usize,
    ) -> Result<Self, ApiError> {
        let length = content_length(request.headers())?;
        let waits_for_go = request.headers().contains_key(EXPECT);
        let too_large = || {
            ApiError::new(
                Kind::TooLarge,
                format!("the body may have at most {bytes_max} bytes here; send less"),
            )
        };
        let mut stream = request.into_body().into_data_stream();
        if length.is_some_and(|length| length > bytes_max as u64) {
            // Who sent `Expect: 100-continue` reads the refusal before sending anything (RFC 9110 §10.1.1).
            if !waits_for_go {
                discard(&mut stream).await;
            }
            return Err(too_large());
        }
        let claimed = length.map_or(bytes_max, |length| {
            usize::try_from(length).unwrap_or(bytes_max)
        });
        let units = u32::try_from(claimed.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let room = bodies.clone().try_acquire_many_owned(units).map_err(|_| {
            ApiError::new(
                Kind::Overloaded,
                "too many large bodies at one time; try again",
            )
        })?;
        let collected = timeout(BODY_WALL_MAX, collect(&mut stream, bytes_max))
            .await
            .map_err(|_| {
                let seconds = BODY_WALL_MAX.as_secs();
                ApiError::new(
                    Kind::BodyTimeout,
                    format!("the body did not arrive within {seconds} seconds"),
                )
            })??;
        let Some(bytes) = collected else {
            discard(&mut stream).await;
            return Err(too_large());
        };
        Ok(Self { bytes, room })
    }
}

/// The body, or nothing where it is larger than `bytes_max`.
async fn collect(
    stream: &mut BodyDataStream,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk
            .map_err(|_| ApiError::new(Kind::BrokenBody, "the body ended before it was whole"))?;
        if chunk.len() > bytes_max - bytes.len() {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// Reads on for a while without keeping anything: a client that is still sending when the connection closes would see a
/// broken pipe in the place of the answer.
async fn discard(stream: &mut BodyDataStream) {
    let drained = async {
        let mut seen = 0_usize;
        while let Some(Ok(chunk)) = stream.next().await {
            seen = seen.saturating_add(chunk.len());
            if seen > DISCARD_BYTES_MAX {
                break;
            }
        }
    };
    // Late or not, the refusal goes out now.
    let _ = timeout(DISCARD_WALL_MAX, drained).await;
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(field) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = field.to_str().ok().and_then(|text| text.parse().ok());
    length
        .map(Some)
        .ok_or_else(|| ApiError::parameter("Content-Length", "it is not a number of bytes"))
}

/// The request, where its body has the media type that is wanted.
async fn with_type(request: Request, wanted: &'static str) -> Result<Request, ApiError> {
    match expect_type(request.headers(), wanted) {
        Ok(()) => Ok(request),
        Err(error) => {
            discard_body(request).await;
            Err(error)
        }
    }
}

/// Reads and throws away what comes with a request that is refused, so that the client comes to read why.
pub(crate) async fn discard_body(request: Request) {
    // Who sent `Expect: 100-continue` reads the refusal before sending anything (RFC 9110 §10.1.1).
    if !request.headers().contains_key(EXPECT) {
        discard(&mut request.into_body().into_data_stream()).await;
    }
}

/// Checks the media type; its parameters, such as `charset`, do not matter.
fn expect_type(headers: &HeaderMap, wanted: &'static str) -> Result<(), ApiError> {
    let found = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = found.map(|field| {
        field
            .split(|&b| b == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii()
    });
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(wanted.as_bytes())) {
        return Ok(());
    }
    let found = found.map_or("nothing".into(), String::from_utf8_lossy);
    Err(ApiError::new(
        Kind::MediaType,
        format!("the body must be sent as `Content-Type: {wanted}`, and the request says {found}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::StatusCode;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        name: String,
        sizes: Vec<u32>,
    }

    impl JsonBody for Shape {
        const BYTES_MAX: usize = 1024;

        fn from_json(value: Value) -> Result<Self, Fault> {
            shape(value)
        }
    }

    fn refusal(text: &str) -> (StatusCode, Fault) {
        let error = parse::<Shape>(text.as_bytes()).unwrap_err();
        let mut problem = error.to_wire();
        assert_eq!(problem.faults.len(), 1, "{problem:?}");
        (error.status(), problem.faults.remove(0))
    }

    fn room() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(4))
    }

    fn request(body: impl Into<Body>) -> Request {
        Request::new(body.into())
    }

    #[test]
    fn what_fits_is_read() {
        let shape = parse::<Shape>(br#"{"name":"x","sizes":[1,2]}"#).unwrap();
        assert_eq!(
            shape,
            Shape {
                name: "x".to_owned(),
                sizes: vec![1, 2]
            }
        );
    }

    #[test]
    fn a_duplicate_key_is_malformed_and_its_place_is_named() {
        let (status, fault) = refusal(r#"{"name":"x","sizes":[],"name":"y"}"#);
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(fault.message.contains("name"), "{fault:?}");
        let (_, inner) = refusal(r#"{"sizes":[{"a":1,"a":2}]}"#);
        assert!(inner.pointer.starts_with("/sizes/0"), "{inner:?}");
    }

    #[test]
    fn a_depth_bomb_is_malformed() {
        let bomb = format!("{}{}", "[".repeat(400), "]".repeat(400));
        assert_eq!(refusal(&bomb).0, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_cut_text_is_malformed() {
        assert_eq!(refusal(r#"{"name":"x""#).0, StatusCode::BAD_REQUEST);
        assert_eq!(refusal("").0, StatusCode::BAD_REQUEST);
        assert_eq!(
            refusal(r#"{"name":"x","sizes":[]} trailing"#).0,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn good_json_of_the_wrong_shape_is_invalid_with_a_pointer() {
        let (status, fault) = refusal(r#"{"name":"x","sizes":[1,"two"]}"#);
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(fault.pointer, "/sizes/1");
        assert_eq!(
            refusal(r#"{"name":"x","sizes":[],"a/b":1}"#).1.pointer,
            "/a~1b"
        );
        let (_, missing) = refusal(r#"{"name":"x"}"#);
        assert_eq!(missing.pointer, "");
        assert!(missing.message.contains("sizes"), "{missing:?}");
    }

    #[test]
    fn the_media_type_counts_and_its_parameters_do_not() {
        let mut headers = HeaderMap::new();
        assert!(expect_type(&headers, "application/json").is_err());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("Application/JSON ; charset=utf-8"),
        );
        assert!(expect_type(&headers, "application/json").is_ok());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonx"));
        let error = expect_type(&headers, "application/json").unwrap_err();
        assert_eq!(error.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_read_and_one_byte_more_is_not() {
        let read = Bounded::read(&room(), request("12345"), 5).await.unwrap();
        assert_eq!(read.bytes, b"12345");
        let error = Bounded::read(&room(), request("123456"), 5)
            .await
            .err()
            .unwrap();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_body_that_says_it_is_too_large_is_not_read() {
        let mut request = request("x");
        request
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("99999999999"));
        let error = Bounded::read(&room(), request, 5).await.err().unwrap();
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        let room = room();
        let first = Bounded::read(&room, request("x"), 3 * UNIT_BYTES)
            .await
            .unwrap();
        let error = Bounded::read(&room, request("x"), 3 * UNIT_BYTES)
            .await
            .err()
            .unwrap();
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(
            Bounded::read(&room, request("x"), 3 * UNIT_BYTES)
                .await
                .is_ok()
        );
    }
}
