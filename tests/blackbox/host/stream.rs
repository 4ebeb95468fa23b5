//! Server-sent events (WHATWG HTML, section 9.2), read one by one as the host sends them.

use std::io::{BufRead as _, BufReader, Read};

use serde_json::Value;

use super::client::Client;

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Its number.
    pub(crate) id: u64,
    /// What happened.
    pub(crate) kind: String,
    /// The rest.
    pub(crate) data: Value,
}

/// A stream of events. It ends when the host ends it.
pub(crate) struct Stream(BufReader<Box<dyn Read + Send>>);

impl Client {
    /// The events of a task, from the one after `last`.
    pub(crate) fn stream(&self, task: &str, last: Option<u64>) -> Stream {
        let mut call = self
            .call("GET", format!("/v1/tasks/{task}/events"))
            .header("accept", "text/event-stream");
        if let Some(last) = last {
            call = call.header("last-event-id", last);
        }
        let response = call.open();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream(BufReader::new(Box::new(
            response
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader(),
        )))
    }
}

impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let (mut id, mut kind, mut data) = (None, None, None);
        loop {
            let mut line = String::new();
            if self
                .0
                .read_line(&mut line)
                .expect("the stream goes on or ends")
                == 0
            {
                assert!(id.is_none(), "the stream ended within an event");
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", value)) => id = Some(value.parse().expect("a number")),
                Some(("event", value)) => kind = Some(value.to_owned()),
                Some(("data", value)) => {
                    data = Some(serde_json::from_str(value).expect("JSON on one line"));
                }
                // An empty line ends an event; after a comment it ends nothing.
                None if id.is_some() => {
                    return Some(Event {
                        id: id?,
                        kind: kind.expect("a kind"),
                        data: data.expect("data"),
                    });
                }
                _ => {}
            }
        }
    }
}
