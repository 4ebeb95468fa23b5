//! Path segments, query parameters and header fields, read strictly.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::header::{HeaderMap, HeaderName};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record;

use super::Api;
use super::limits::{FIELD_LENGTH_MAX, PAGE_DEFAULT, WAIT_SECONDS_MAX};
use super::problem::ApiError;
use crate::engine::Actor;
use crate::engine::tenants::Caller;

/// Who asks, by the client's own account: it goes into the record of what is done.
pub(crate) const ACTOR: HeaderName = HeaderName::from_static("stepseal-actor");

/// Names a repeated request; an Internet-Draft of the HTTPAPI working group.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the client would like (RFC 7240).
pub(crate) const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Which of it was done (RFC 7240 §3).
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Where a stream of events broke off (WHATWG HTML, server-sent events).
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The one variable segment of the path: an id or a name. Whether there is such a thing is for the engine to say.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(segment)) => Ok(Self(segment)),
            Err(rejection) => Err(ApiError::parameter("path", rejection.body_text())),
        }
    }
}

/// Who asks. Every place but the public ones has it from the guard.
pub(crate) struct Asker(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned().map(Self);
        caller.ok_or_else(|| ApiError::internal(&"nobody said who asks"))
    }
}

/// The id of a task in the path, which the caller may see: to a tenant, another's task is none.
pub(crate) struct TaskSegment(pub(crate) String);

impl FromRequestParts<Api> for TaskSegment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Segment(id) = Segment::from_request_parts(parts, api).await?;
        let Asker(caller) = Asker::from_request_parts(parts, api).await?;
        if caller != Caller::Operator {
            api.engine().task_row(&caller, &id).await?;
        }
        Ok(Self(id))
    }
}

/// The one variable segment of the path, where it is a digest.
pub(crate) struct DigestSegment(pub(crate) Digest);

impl<S: Send + Sync> FromRequestParts<S> for DigestSegment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Segment(segment) = Segment::from_request_parts(parts, state).await?;
        segment
            .parse()
            .map(Self)
            .map_err(|error| ApiError::parameter("digest", error))
    }
}

/// Query parameters. One that nobody knows is an error, where the type denies unknown fields.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                // What is left names the parameter.
                let why = text
                    .strip_prefix("Failed to deserialize query string: ")
                    .unwrap_or(&text);
                Err(ApiError::parameter("query", why))
            }
        }
    }
}

/// The number of entries of a page, from the parameter `limit`.
pub(crate) fn page_size(limit: Option<u32>, max: u32) -> Result<u32, ApiError> {
    let size = limit.unwrap_or(PAGE_DEFAULT.min(max));
    if (1..=max).contains(&size) {
        Ok(size)
    } else {
        Err(ApiError::parameter(
            "limit",
            format!("{size} is not from 1 to {max}"),
        ))
    }
}

/// The id that a page goes on after, from the parameter `cursor`.
pub(crate) fn cursor(cursor: Option<String>) -> Result<Option<String>, ApiError> {
    let Some(text) = cursor else { return Ok(None) };
    // The cursor is the id of the page's last entry; nothing else ever was one.
    uuid::Uuid::try_parse(&text)
        .map(|id| Some(id.hyphenated().to_string()))
        .map_err(|_| {
            ApiError::parameter(
                "cursor",
                "this is not a cursor: send what `next` of the page before says",
            )
        })
}

/// Cuts a list that was asked for with one entry more than a page has, and gives the cursor of the page after.
pub(crate) fn cut<T>(rows: &mut Vec<T>, size: u32, id: impl Fn(&T) -> &str) -> Option<String> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if rows.len() <= size {
        return None;
    }
    rows.truncate(size);
    rows.last().map(|row| id(row).to_owned())
}

/// Who asks for an act, where the client says so in `Stepseal-Actor`.
pub(crate) struct ActorHeader(pub(crate) Actor);

impl<S: Send + Sync> FromRequestParts<S> for ActorHeader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let name = visible_ascii(&parts.headers, &ACTOR, "Stepseal-Actor")?;
        Ok(Self(name.map(|name| record::Actor { name, role: None })))
    }
}

/// The `Idempotency-Key`.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    visible_ascii(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")
}

/// A field of 1 to 255 visible ASCII characters, at most once.
fn visible_ascii(
    headers: &HeaderMap,
    name: &HeaderName,
    shown: &'static str,
) -> Result<Option<String>, ApiError> {
    let mut fields = headers.get_all(name).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let wrong = |why| Err(ApiError::parameter(shown, why));
    if fields.next().is_some() {
        return wrong("it is there more than once; send one");
    }
    let bytes = field.as_bytes();
    if !(1..=FIELD_LENGTH_MAX).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
        return wrong("it must have 1 to 255 visible ASCII characters, without spaces");
    }
    Ok(field.to_str().ok().map(str::to_owned))
}

/// How long `Prefer: wait=N` (RFC 7240 §4.3) asks to wait, at most [`WAIT_SECONDS_MAX`].
///
/// A preference that cannot be understood is no error (RFC 7240 §2), and of two `wait`s the first counts.
pub(crate) fn prefer_wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all(PREFER)
        .iter()
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| field.split(','))
        .find_map(|preference| {
            let (name, value) = preference.split(';').next()?.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("wait")
                .then(|| value.trim().trim_matches('"'))
        })
        .filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()))
        // Digits that do not fit ask for longer than anything.
        .map(|value| value.parse().unwrap_or(u64::MAX).min(WAIT_SECONDS_MAX))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
}

/// The number of the last event seen: `Last-Event-ID`, which a reconnecting client sends, before the parameter `after`,
/// which is still in its address.
pub(crate) fn last_event(headers: &HeaderMap, after: Option<u64>) -> Result<u64, ApiError> {
    let Some(field) = headers.get(LAST_EVENT_ID) else {
        return Ok(after.unwrap_or(0));
    };
    let number = field.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| ApiError::parameter("Last-Event-ID", "it is not the number of an event"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &HeaderName, fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(name, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    fn wait(fields: &[&str]) -> Option<u64> {
        prefer_wait(&headers(&PREFER, fields)).map(|patience| patience.as_secs())
    }

    #[test]
    fn a_preferred_wait_is_understood_among_others() {
        assert_eq!(wait(&[]), None);
        assert_eq!(wait(&["wait=10"]), Some(10));
        assert_eq!(wait(&["Wait = 10"]), Some(10));
        assert_eq!(wait(&["wait=\"10\""]), Some(10));
        assert_eq!(wait(&["respond-async, wait=10; foo=bar"]), Some(10));
        assert_eq!(wait(&["respond-async", "wait=7"]), Some(7));
        assert_eq!(wait(&["wait=7, wait=9"]), Some(7));
    }

    #[test]
    fn a_wait_without_measure_is_cut() {
        assert_eq!(wait(&["wait=61"]), Some(60));
        assert_eq!(wait(&["wait=99999999999999999999999999"]), Some(60));
    }

    #[test]
    fn a_wait_that_is_no_number_is_ignored() {
        for field in [
            "wait",
            "wait=",
            "wait=-1",
            "wait=+5",
            "wait=soon",
            "wait=0",
            "waits=5",
        ] {
            assert_eq!(wait(&[field]), None, "{field}");
        }
    }

    #[test]
    fn an_idempotency_key_is_visible_and_single() {
        let key = |fields: &[&str]| idempotency_key(&headers(&IDEMPOTENCY_KEY, fields));
        assert_eq!(key(&[]).unwrap(), None);
        assert_eq!(key(&["order-17"]).unwrap().as_deref(), Some("order-17"));
        assert!(key(&[&"k".repeat(255)]).is_ok());
        assert!(key(&[&"k".repeat(256)]).is_err());
        assert!(key(&[""]).is_err());
        assert!(key(&["a b"]).is_err());
        assert!(key(&["a", "a"]).is_err());
    }

    #[test]
    fn a_page_is_cut_where_one_entry_too_many_came() {
        let mut rows = vec!["c".to_owned(), "b".to_owned(), "a".to_owned()];
        assert_eq!(cut(&mut rows, 2, |row| row).as_deref(), Some("b"));
        assert_eq!(rows, ["c", "b"]);
        assert_eq!(cut(&mut rows, 2, |row| row), None);
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_page_has_a_size() {
        assert_eq!(page_size(None, 200).unwrap(), 50);
        assert_eq!(page_size(None, 20).unwrap(), 20);
        assert_eq!(page_size(Some(200), 200).unwrap(), 200);
        assert!(page_size(Some(201), 200).is_err());
        assert!(page_size(Some(0), 200).is_err());
    }

    #[test]
    fn a_cursor_is_an_id() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(cursor(Some(id.to_owned())).unwrap().as_deref(), Some(id));
        assert!(cursor(Some("' or 1=1".to_owned())).is_err());
        assert_eq!(cursor(None).unwrap(), None);
    }

    #[test]
    fn a_reconnecting_client_goes_on_where_it_broke_off() {
        assert_eq!(
            last_event(&headers(&LAST_EVENT_ID, &["7"]), Some(2)).unwrap(),
            7
        );
        assert_eq!(last_event(&HeaderMap::new(), Some(2)).unwrap(), 2);
        assert_eq!(last_event(&HeaderMap::new(), None).unwrap(), 0);
        assert!(last_event(&headers(&LAST_EVENT_ID, &["x"]), None).is_err());
    }
}
