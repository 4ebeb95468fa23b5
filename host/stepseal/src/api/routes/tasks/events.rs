//! Following a task.

use std::collections::VecDeque;

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::events::Feed;
use crate::api::limits::{EVENT_KEEP_ALIVE, EVENT_PAGE_MAX, EVENT_PATIENCE};
use crate::api::params::{LAST_EVENT_ID, Params, TaskSegment, last_event};
use crate::api::problem::{ApiError, Kind};
use crate::api::wire::{Event, Page, Problem};
use crate::api::{Api, try_permit};

/// Where to begin.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EventParams {
    /// Only events after the one with this number. `Last-Event-ID` goes before it.
    #[param(nullable = false)]
    after: Option<u64>,
}

/// Streams the events of a task
///
/// Server-sent events: `id` is the number of the event, `event` its kind, `data` its body with `at`. The stream ends after
/// the task's last event. Where it breaks off before, come back with `Last-Event-ID`; where nothing is left, 204 tells an
/// `EventSource` not to come again. With `Accept: application/json` the events so far come as a list instead.
#[utoipa::path(get, path = "/v1/tasks/{id}/events", tag = "tasks", operation_id = "task_events",
    params(
        ("id" = String, Path, description = "Id of the task"),
        ("Last-Event-ID" = Option<u64>, Header, nullable = false, description = "Number of the last event that was seen"),
        EventParams,
    ),
    responses(
        (status = 200, description = "The events", content(
            (String = "text/event-stream", example = json!("id: 1\nevent: task.accepted\ndata: {\"at\":\"2026-01-31T12:00:00.000Z\"}\n\n")),
            (Page<Event> = "application/json"),
        )),
        (status = 204, description = "The task is over and nothing comes after the last event that was seen"),
        (status = 404, description = "There is no such task", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "It was erased (`erased`)", body = Problem, content_type = "application/problem+json"),
    ))]
pub(in crate::api) async fn task_events(
    State(api): State<Api>,
    TaskSegment(task): TaskSegment,
    Params(params): Params<EventParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let after = last_event(&headers, params.after)?;
    if wants_list(&headers) {
        return Ok(Json(list(&api, &task, after).await?).into_response());
    }
    let permit = try_permit(&api.0.streams).ok_or_else(|| {
        ApiError::new(
            Kind::Overloaded,
            "too many streams of events at one time; try again",
        )
    })?;
    // Asked for before the stream begins, so that a task that is not there is a 404 and not an empty stream.
    let row = api.engine().task(&task).await?.row;
    if row.state.is_final() && after >= row.events && headers.contains_key(LAST_EVENT_ID) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let feed = Feed {
        engine: api.engine().clone(),
        task,
        after,
        ready: VecDeque::new(),
        over: false,
        closing: api.closing(),
        permit,
    };
    let keep_alive = KeepAlive::new().interval(EVENT_KEEP_ALIVE);
    Ok(Sse::new(feed.stream())
        .keep_alive(keep_alive)
        .into_response())
}

/// The events there are, up to a page of them.
async fn list(api: &Api, task: &str, after: u64) -> Result<Page<Event>, ApiError> {
    let there = api.engine().task(task).await?.row.events;
    let mut items: Vec<Event> = Vec::new();
    let mut last = after;
    // The engine is asked only for events that are there, so it never has to wait for one.
    while last < there && items.len() < EVENT_PAGE_MAX {
        let (rows, _) = api.engine().events(task, last, EVENT_PATIENCE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            last = row.n;
            items.push(Event::try_from(row)?);
        }
    }
    items.truncate(EVENT_PAGE_MAX);
    let last = items.last().map_or(after, |event| event.n);
    let next = (last < there).then(|| last.to_string());
    Ok(Page { items, next })
}

/// Whether the client asks for JSON and not for a stream.
fn wants_list(headers: &HeaderMap) -> bool {
    let mut json = false;
    for field in headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|field| field.to_str().ok())
    {
        for range in field.split(',') {
            match range.split(';').next().unwrap_or_default().trim() {
                "text/event-stream" => return false,
                "application/json" => json = true,
                _ => {}
            }
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_list_is_for_who_asks_for_json_alone() {
        let wants = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            wants_list(&headers)
        };
        assert!(wants("application/json"));
        assert!(wants("application/json; q=0.9, text/html"));
        assert!(!wants("application/json, text/event-stream"));
        assert!(!wants("text/event-stream"));
        assert!(!wants("*/*"));
        assert!(!wants_list(&HeaderMap::new()));
    }
}
