//! A hundred transfers at once, out of an account that has enough for sixty.

use std::thread;

use anyhow::{anyhow, bail, ensure};
use stepseal_receipts::state::TaskState;

use super::payments::payment;
use super::story::Story;
use super::tasks::{Teller, minor_units, only_step};
use crate::api::wire;

/// Clients that submit side by side.
const CLIENTS: usize = 10;
/// Transfers of each.
const TRANSFERS: usize = 10;
/// How many of 1.00 carol can pay for out of 60.00.
const AFFORDABLE: usize = 60;

pub(super) fn tell(teller: &Teller, story: &mut Story) -> anyhow::Result<()> {
    let accounts = ["alice", "bob", "carol", "equity:USD"];
    let [alice, bob, _, _] = teller.balances(accounts)?;
    let tasks = {
        let _busy = story.busy("a hundred transfers at once");
        rush(teller)?
    };
    let mut paid = 0;
    for task in &tasks {
        let step = only_step(task)?;
        match task.state {
            TaskState::Succeeded => paid += 1,
            TaskState::Failed => {
                let message = step.message.as_deref().unwrap_or_default();
                ensure!(
                    message.contains("insufficient-funds"),
                    "a transfer failed for another reason: {message}"
                );
            }
            state => bail!("task {} of the hundred is {}", task.id, state.as_str()),
        }
    }
    let refused = tasks.len() - paid;
    ensure!(
        paid == AFFORDABLE,
        "{paid} transfers of 1.00 went out of 60.00"
    );
    let now = teller.balances(accounts)?;
    let expected = [
        alice,
        bob + minor_units("60.00")?,
        0,
        -minor_units("5060.00")?,
    ];
    ensure!(
        now == expected,
        "the accounts have {now:?} where they should have {expected:?}"
    );
    ensure!(now.iter().sum::<i128>() == 0, "money was made or lost");
    story.line(&format!(
        "100 transfers of 1.00 at once out of carol's 60.00: {paid} ran, {refused} were refused, and all accounts still sum to 0.00."
    ))
}

/// Submits all transfers side by side, then sees each to its end.
fn rush(teller: &Teller) -> anyhow::Result<Vec<wire::Task>> {
    let submitted: anyhow::Result<Vec<String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    let submit = |_| teller.submit(&payment("carol", "bob", "1.00"));
                    (0..TRANSFERS)
                        .map(submit)
                        .collect::<anyhow::Result<Vec<String>>>()
                })
            })
            .collect();
        let mut ids = Vec::new();
        for client in clients {
            ids.extend(
                client
                    .join()
                    .map_err(|_| anyhow!("a client broke down"))??,
            );
        }
        Ok(ids)
    });
    submitted?.iter().map(|id| teller.finish(id)).collect()
}
