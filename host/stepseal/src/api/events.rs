//! The events of a task as a stream (WHATWG HTML, server-sent events).

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::limits::EVENT_PATIENCE;
use super::problem::ApiError;
use super::wire::Event;
use crate::engine::Engine;
use crate::store::EventRow;

/// Where one client is in the events of a task.
pub(crate) struct Feed {
    /// Who is asked for more.
    pub(crate) engine: Engine,
    /// The task.
    pub(crate) task: String,
    /// Number of the last event that was fetched.
    pub(crate) after: u64,
    /// Fetched and not sent.
    pub(crate) ready: VecDeque<EventRow>,
    /// No more will come.
    pub(crate) over: bool,
    /// Turns true when the host shuts down; the client goes on at the next one.
    pub(crate) closing: watch::Receiver<bool>,
    /// The stream's place among [`EVENT_STREAMS_MAX`](super::EVENT_STREAMS_MAX).
    #[expect(dead_code, reason = "held until the stream ends, and then given back")]
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The stream. It ends after the task's last event; where it breaks off before, the client comes back with
    /// `Last-Event-ID` and misses nothing.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        unfold(self, |mut feed| async move {
            let event = feed.next().await?;
            Some((Ok(event), feed))
        })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                return sent(row);
            }
            if self.over || *self.closing.borrow() {
                return None;
            }
            let fetched = tokio::select! {
                fetched = self.engine.events(&self.task, self.after, EVENT_PATIENCE) => fetched,
                _ = self.closing.wait_for(|closing| *closing) => return None,
            };
            match fetched {
                Ok((rows, over)) => {
                    self.after = rows.last().map_or(self.after, |row| row.n);
                    self.over = over;
                    self.ready = rows.into();
                }
                Err(error) => {
                    // The status is sent long ago: all that is left is to log it and to end.
                    drop(ApiError::from(error));
                    return None;
                }
            }
        }
    }
}

/// The event as it is sent, or nothing where the database holds something unreadable.
fn sent(row: EventRow) -> Option<sse::Event> {
    let event = Event::try_from(row).map_err(ApiError::from).ok()?;
    let data = event
        .data()
        .map_err(|error| ApiError::internal(&error))
        .ok()?;
    Some(
        sse::Event::default()
            .id(event.n.to_string())
            .event(event.kind)
            .data(data),
    )
}
