//! `stepseal task watch`: the events of a task as they happen.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value};
use stepseal_receipts::state::TaskState;

use super::super::client::{Client, ClientError};
use super::super::output::one_line;
use super::super::{Answer, Context};
use super::{clipped, path};
use crate::api::wire;

/// Bytes of one line of the stream.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// How often a broken stream is taken up again without a new event in between.
const RECONNECTS_MAX: u32 = 5;

/// What `task watch` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Watch {
    /// The task's id.
    id: String,
    /// Only events after this number.
    #[arg(long, default_value_t = 0, value_name = "N")]
    after: u64,
}

impl Watch {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        follow(context, &client, &self.id, self.after)
    }
}

/// Prints the events of a task to its end; no where it ended without success.
pub(super) fn follow(
    context: &Context,
    client: &Client,
    id: &str,
    after: u64,
) -> anyhow::Result<Answer> {
    let mut last = after;
    let mut reconnects = 0;
    loop {
        let before = last;
        let ended = read_stream(context, client, id, &mut last);
        match ended {
            Ok(()) => {}
            // The stream is broken, not refused: go on after the last event that came.
            Err(error) if is_broken(&error) => {
                reconnects = if last > before { 0 } else { reconnects + 1 };
                if reconnects > RECONNECTS_MAX {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        let task: wire::Task = client.decode(&client.get(&path(id, ""))?)?;
        if task.state.is_final() {
            return Ok(Answer::of(task.state == TaskState::Succeeded));
        }
    }
}

fn is_broken(error: &anyhow::Error) -> bool {
    error.downcast_ref::<StreamBroken>().is_some()
        || matches!(error.downcast_ref(), Some(ClientError::Unreachable { .. }))
}

/// The stream of events ended in the middle.
#[derive(Debug, thiserror::Error)]
#[error("the stream of events broke off: {0}")]
struct StreamBroken(std::io::Error);

fn read_stream(context: &Context, client: &Client, id: &str, last: &mut u64) -> anyhow::Result<()> {
    let stream = client.stream(&path(id, "/events"), *last)?;
    let mut lines = BufReader::new(stream);
    let mut message = Message::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(StreamBroken)?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && read as u64 == LINE_BYTES_MAX {
            bail!("the host sent an event of more than {LINE_BYTES_MAX} bytes");
        }
        let text =
            std::str::from_utf8(&line).context("the host sent an event that is not UTF-8")?;
        if let Some(event) = message.take_line(text.trim_end_matches(['\r', '\n']))? {
            *last = event.n;
            print(context, &event)?;
        }
    }
}

/// A server-sent event as far as its lines have come (WHATWG HTML, "Server-sent events").
#[derive(Default)]
struct Message {
    id: Option<u64>,
    kind: String,
    data: String,
}

impl Message {
    fn take_line(&mut self, line: &str) -> anyhow::Result<Option<wire::Event>> {
        if line.is_empty() {
            let Self { id, kind, data } = std::mem::take(self);
            if data.is_empty() {
                return Ok(None);
            }
            let n = id.context("the host sent an event without a number")?;
            let event = wire::Event::from_data(n, kind, &data)
                .context("the host sent an event that cannot be read")?;
            return Ok(Some(event));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = value.parse().ok(),
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            // Comments (no field name) and `retry` say nothing of the task.
            _ => {}
        }
        Ok(None)
    }
}

fn print(context: &Context, event: &wire::Event) -> anyhow::Result<()> {
    if context.output.is_json() {
        context.output.json_line(&serde_json::to_value(event)?)?;
        return Ok(());
    }
    let step = event.body.get("step").and_then(Value::as_str);
    let line_rest = told(&event.body);
    let line = format!(
        "{:>4}  {}  {:<17} {:<12} {line_rest}",
        event.n,
        event.at,
        one_line(&event.kind),
        one_line(step.unwrap_or_default())
    );
    context.output.text(line.trim_end())?;
    Ok(())
}

/// What a person reads of an event: its plain members. The rest is for programs.
fn told(body: &Map<String, Value>) -> String {
    let told = body.iter().filter_map(|(name, value)| match value {
        _ if name == "step" || name == "kind" => None,
        Value::String(text) => Some(format!("{name}={text}")),
        Value::Number(_) | Value::Bool(_) => Some(format!("{name}={value}")),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    });
    clipped(&told.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<wire::Event> {
        let mut message = Message::default();
        text.lines()
            .filter_map(|line| message.take_line(line).unwrap())
            .collect()
    }

    #[test]
    fn events_are_read_between_comments_and_unknown_fields() {
        let text = ": keep-alive\n\nid: 3\nevent: step.started\nretry: 5\n\
            data: {\"at\":\"2026-01-31T12:00:00.000Z\",\ndata: \"step\":\"pay\"}\n\n: keep-alive\n\n";
        let events = events(text);
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].n, events[0].kind.as_str()), (3, "step.started"));
        assert_eq!(events[0].body["step"], "pay");
    }

    #[test]
    fn a_person_reads_the_plain_members_of_an_event() {
        let body = serde_json::json!({ "step": "pay", "kind": "k", "attempt": 1, "message": "a\nb", "judgements": [{}] });
        assert_eq!(told(body.as_object().unwrap()), "attempt=1 message=a\\nb");
    }

    #[test]
    fn an_event_without_a_number_is_an_error() {
        let mut message = Message::default();
        message
            .take_line("data: {\"at\":\"2026-01-31T12:00:00.000Z\"}")
            .unwrap();
        assert!(message.take_line("").is_err());
    }
}
