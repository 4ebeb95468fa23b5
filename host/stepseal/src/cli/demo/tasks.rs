//! Tasks of the demo: submitted and followed as any client does.

use std::io::{self, Read as _};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use stepseal_receipts::state::TaskState;

use super::super::client::{Client, ClientError};
use super::super::task::path;
use crate::api::wire;

/// Who submits.
const AGENT: &str = "treasury-bot";
/// Bytes of a stream of events that are read to see a task end.
const EVENTS_BYTES_MAX: u64 = 16 << 20;
/// How often a task is followed to the end of its events before the demo gives up.
const FOLLOWS_MAX: u32 = 5;

/// A client with the demo's habits.
#[derive(Clone)]
pub(super) struct Teller {
    client: Client,
}

impl Teller {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Submits a plan and waits until it ends or waits for a person.
    pub(super) fn run(&self, steps: &Value) -> anyhow::Result<wire::Task> {
        let submission = json!({ "plan": { "steps": steps }, "agent": AGENT });
        self.run_submission(&submission, None).map(|(_, task)| task)
    }

    /// Like [`Teller::run`] with the whole submission and an idempotency key; says whether the task is new.
    pub(super) fn run_submission(
        &self,
        submission: &Value,
        key: Option<&str>,
    ) -> anyhow::Result<(bool, wire::Task)> {
        let mut headers = vec![("prefer", "wait=60")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        let (status, answer) = self.client.post_with("/v1/tasks", &headers, submission)?;
        Ok((status == 201, self.client.decode(&answer)?))
    }

    /// Submits a plan of one step and does not wait.
    pub(super) fn submit(&self, step: &Value) -> anyhow::Result<String> {
        let submission = json!({ "plan": { "steps": [step] }, "agent": AGENT });
        let task: wire::Task = self
            .client
            .decode(&self.client.post("/v1/tasks", &submission)?)?;
        Ok(task.id)
    }

    /// Follows a task to its end.
    pub(super) fn finish(&self, id: &str) -> anyhow::Result<wire::Task> {
        for _ in 0..FOLLOWS_MAX {
            // The stream ends with the task.
            let stream = self.client.stream(&path(id, "/events"), 0)?;
            io::copy(&mut stream.take(EVENTS_BYTES_MAX), &mut io::sink())?;
            let task = self.task(id)?;
            if task.state.is_final() {
                return Ok(task);
            }
        }
        bail!("task {id} did not end")
    }

    pub(super) fn task(&self, id: &str) -> anyhow::Result<wire::Task> {
        Ok(self.client.decode(&self.client.get(&path(id, ""))?)?)
    }

    pub(super) fn receipt(&self, id: &str) -> anyhow::Result<Vec<u8>> {
        Ok(self.client.bytes(&path(id, "/receipt"))?)
    }

    pub(super) fn trust(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.client.bytes("/v1/trust")?)
    }

    /// What accounts have, in minor units, in the order asked.
    pub(super) fn balances<const N: usize>(
        &self,
        accounts: [&str; N],
    ) -> anyhow::Result<[i128; N]> {
        let steps = accounts.iter().enumerate().map(|(at, account)| {
            json!({ "id": format!("b{at}"), "uses": "ledger/balance", "with": { "account": account } })
        });
        let task = self.run(&Value::Array(steps.collect()))?;
        succeeded(&task)?;
        let mut found = [0; N];
        for (balance, step) in found.iter_mut().zip(&task.steps) {
            *balance = minor_units(output(step, "available")?)?;
        }
        Ok(found)
    }
}

/// Refuses a task that did not succeed.
pub(super) fn succeeded(task: &wire::Task) -> anyhow::Result<()> {
    in_state(task, TaskState::Succeeded)
}

/// Refuses a task that is anywhere else.
pub(super) fn in_state(task: &wire::Task, wanted: TaskState) -> anyhow::Result<()> {
    let messages: Vec<&str> = task
        .steps
        .iter()
        .filter_map(|step| step.message.as_deref())
        .collect();
    ensure!(
        task.state == wanted,
        "task {} is {} where it should be {}: {} {}",
        task.id,
        task.state.as_str(),
        wanted.as_str(),
        task.reason.as_deref().unwrap_or_default(),
        messages.join("; ")
    );
    Ok(())
}

/// A text in a step's output.
pub(super) fn output<'a>(step: &'a wire::Step, member: &str) -> anyhow::Result<&'a str> {
    let output = step.output.as_ref().and_then(|output| output.get(member));
    output
        .and_then(Value::as_str)
        .with_context(|| format!("step {} has no output {member}", step.id))
}

/// The one step of a task.
pub(super) fn only_step(task: &wire::Task) -> anyhow::Result<&wire::Step> {
    match task.steps.as_slice() {
        [step] => Ok(step),
        steps => bail!(
            "task {} has {} steps where it should have one",
            task.id,
            steps.len()
        ),
    }
}

/// Refuses anything but the host's refusal with this code.
pub(super) fn refused<T>(answer: Result<T, ClientError>, code: &str) -> anyhow::Result<()> {
    match answer {
        Ok(_) => bail!("the host did what it should have refused with {code}"),
        Err(error) if error.code() == Some(code) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("this should have been refused with {code}"))
        }
    }
}

/// `-12.34` as -1234: exact, no floating point.
pub(super) fn minor_units(amount: &str) -> anyhow::Result<i128> {
    let wrong = || format!("{amount:?} is not an amount with two decimals");
    let (whole, cents) = amount.split_once('.').with_context(wrong)?;
    ensure!(
        cents.len() == 2 && cents.bytes().all(|digit| digit.is_ascii_digit()),
        wrong()
    );
    format!("{whole}{cents}").parse().with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(minor_units("4975.00").unwrap(), 497_500);
        assert_eq!(minor_units("-0.05").unwrap(), -5);
        for wrong in ["1", "1.5", "1.234", "a.00", "1.-5", ""] {
            assert!(minor_units(wrong).is_err(), "{wrong}");
        }
    }
}
