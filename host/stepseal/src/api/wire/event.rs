//! What happened to a task.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use stepseal_receipts::time::Timestamp;
use utoipa::ToSchema;

use super::scalar::TimestampText;
use crate::store::{EventRow, StoreError};

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"n": 3, "kind": "step.started", "at": "2026-01-31T12:00:00.000Z", "body": {"step": "pay", "attempt": 1}}))]
pub struct Event {
    /// 1 for the first of the task. Send it as `after`, or as `Last-Event-ID`, to go on from there.
    pub n: u64,
    /// What, such as `step.succeeded`.
    pub kind: String,
    /// When.
    #[schema(value_type = TimestampText)]
    pub at: Timestamp,
    /// The rest. Events of a step have `step` and `attempt`.
    #[schema(value_type = Object)]
    pub body: Map<String, Value>,
}

/// What `data` of a server-sent event holds: the body with the time in it.
#[derive(Serialize, Deserialize)]
struct Data {
    at: Timestamp,
    #[serde(flatten)]
    body: Map<String, Value>,
}

impl Event {
    /// The `data` of the server-sent event: the body with `at` in it, on one line.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Data {
            at: self.at,
            body: self.body.clone(),
        })
    }

    /// The event out of the `id`, `event` and `data` of a server-sent event.
    pub fn from_data(n: u64, kind: String, data: &str) -> Result<Self, serde_json::Error> {
        let Data { at, body } = serde_json::from_str(data)?;
        Ok(Self { n, kind, at, body })
    }
}

impl TryFrom<EventRow> for Event {
    type Error = StoreError;

    fn try_from(row: EventRow) -> Result<Self, StoreError> {
        let body = serde_json::from_str(&row.body).map_err(|error| StoreError::Corrupt {
            what: "an event",
            why: error.to_string(),
        })?;
        Ok(Self {
            n: row.n,
            kind: row.kind,
            at: row.at,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event as engine;
    use stepseal_receipts::record::Status;

    fn survives(event: &engine::Event) {
        let at = Timestamp::from_unix_ms(1_000).unwrap();
        let kind = event.kind().to_owned();
        let row = EventRow {
            n: 7,
            at,
            kind: kind.clone(),
            body: serde_json::to_string(event).unwrap(),
        };
        let event = Event::try_from(row).unwrap();
        let data = event.data().unwrap();
        assert!(
            data.starts_with(r#"{"at":"1970-01-01T00:00:01.000Z","#),
            "{data}"
        );
        assert!(!data.contains('\n'), "{data}");
        assert_eq!(Event::from_data(7, kind, &data).unwrap(), event);
    }

    #[test]
    fn an_event_survives_the_stream() {
        survives(&engine::Event::StepFailed {
            step: "pay".to_owned(),
            attempt: 2,
            status: Status::Failed,
            code: None,
            message: Some("two\nlines".to_owned()),
            fuel: None,
        });
        // It has a time beside that of the event.
        survives(&engine::Event::StepRetrying {
            step: "pay".to_owned(),
            attempt: 2,
            not_before: Timestamp::from_unix_ms(9_000).unwrap(),
            asks: None,
        });
    }
}
