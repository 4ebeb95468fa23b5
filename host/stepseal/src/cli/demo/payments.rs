//! Three payments: one that is allowed, one that a person approves, one that is denied.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::state::TaskState;

use super::super::approval;
use super::super::client::encode;
use super::super::output::{one_line, short, thousands};
use super::story::Story;
use super::tasks::{Teller, in_state, minor_units, only_step, output, refused, succeeded};
use crate::api::wire;

/// The tasks whose receipts are kept.
pub(super) struct Payments {
    pub(super) allowed: String,
    pub(super) approved: String,
    pub(super) denied: String,
}

pub(super) fn tell(teller: &Teller, story: &mut Story) -> anyhow::Result<Payments> {
    open_accounts(teller)?;
    story.line("treasury-bot opens alice (5000.00 USD), bob (0.00) and carol (60.00), and pays bob out of alice's account:")?;
    let allowed = allowed(teller, story)?;
    let approved = approved(teller, story)?;
    let denied = denied(teller, story)?;
    Ok(Payments {
        allowed,
        approved,
        denied,
    })
}

fn open_accounts(teller: &Teller) -> anyhow::Result<()> {
    let open = |id: &str, balance: Option<&str>| {
        let mut with = json!({ "account": id, "currency": "USD" });
        if let Some(balance) = balance {
            with["opening_balance"] = balance.into();
        }
        json!({ "id": id, "uses": "ledger/open-account", "with": with })
    };
    let task = teller.run(&json!([
        open("alice", Some("5000.00")),
        open("bob", None),
        open("carol", Some("60.00"))
    ]))?;
    succeeded(&task)
}

/// A plan of one payment.
pub(super) fn payment(from: &str, to: &str, amount: &str) -> Value {
    json!({ "id": "pay", "uses": "ledger/transfer",
        "with": { "from": from, "to": to, "amount": amount, "currency": "USD" } })
}

fn verdict<'a>(step: &'a wire::Step, wanted: &str) -> anyhow::Result<&'a wire::Verdict> {
    let found = step
        .verdicts
        .iter()
        .find(|verdict| verdict.policy == "spending-limit");
    let verdict = found.context("spending-limit said nothing")?;
    ensure!(
        verdict.verdict == wanted,
        "spending-limit says {} where it should say {wanted}",
        verdict.verdict
    );
    Ok(verdict)
}

fn allowed(teller: &Teller, story: &mut Story) -> anyhow::Result<String> {
    let submission = json!({
        "plan": { "steps": [payment("alice", "bob", "25.00")] },
        "agent": "treasury-bot", "labels": { "invoice": "2041" },
    });
    let (is_new, task) = teller.run_submission(&submission, Some("invoice-2041"))?;
    ensure!(is_new, "a key that was never used named a task");
    succeeded(&task)?;
    let step = only_step(&task)?;
    verdict(step, "allow")?;
    ensure!(
        output(step, "available")? == "4975.00",
        "alice has {} after paying 25.00",
        output(step, "available")?
    );
    story.line(&format!(
        "  25.00     runs: spending-limit allows it. alice has 4975.00; {} fuel.",
        thousands(step.fuel.context("the step has no fuel")?)
    ))?;
    let (again_new, again) = teller.run_submission(&submission, Some("invoice-2041"))?;
    ensure!(
        !again_new && again.id == task.id,
        "the same Idempotency-Key made a second task"
    );
    ensure!(
        teller.balances(["alice"])? == [minor_units("4975.00")?],
        "the same Idempotency-Key paid twice"
    );
    story.line("            Sent once more under the same Idempotency-Key: the same task answers, nothing is paid twice.")?;
    Ok(task.id)
}

fn approved(teller: &Teller, story: &mut Story) -> anyhow::Result<String> {
    let client = teller.client();
    let task = teller.run(&json!([payment("alice", "bob", "400.00")]))?;
    in_state(&task, TaskState::Waiting)?;
    let step = only_step(&task)?;
    verdict(step, "needs-approval")?;
    let id = step
        .approval
        .as_deref()
        .context("the step waits for no approval")?;
    let place = format!("/v1/approvals/{}", encode(id));
    let shown: wire::Approval = client.decode(&client.get(&place)?)?;
    approval::check(&shown)?;
    let input = shown
        .input
        .as_ref()
        .context("the approver is not shown the input")?;
    ensure!(input["amount"] == "400.00", "the approver is shown {input}");
    let ask = shown.asks.first().context("nothing is asked")?;
    story.line(&format!("  400.00    waits: {}", one_line(&ask.reason)))?;
    story.line(&format!(
        "            dana is shown {}@{}/{} {}",
        shown.plugin,
        shown.version,
        shown.step_type,
        one_line(&input.to_string())
    ))?;
    story.line(&format!(
        "            and approves exactly that: {}, recomputed here from the text the host published.",
        short(&shown.subject.to_string())
    ))?;
    let decide = |subject| {
        let decision = wire::NewDecision {
            decision: wire::Choice::Approve,
            subject,
            approver: "dana".to_owned(),
            role: None,
            comment: Some("matches invoice 2042".to_owned()),
            envelope: None,
        };
        client.post(&place, &decision)
    };
    refused(decide(Digest::of(b"something else")), "changed")?;
    let decided: wire::Approval = client.decode(&decide(shown.subject)?)?;
    ensure!(
        decided.state == wire::ApprovalState::Approved,
        "the approval was not taken"
    );
    let task = teller.finish(&task.id)?;
    succeeded(&task)?;
    let available = output(only_step(&task)?, "available")?;
    ensure!(
        available == "4575.00",
        "alice has {available} after paying 400.00"
    );
    refused(decide(shown.subject), "already-decided")?;
    story.line("            It runs; alice has 4575.00. Approving twice, or approving anything else, is refused (409).")?;
    Ok(task.id)
}

fn denied(teller: &Teller, story: &mut Story) -> anyhow::Result<String> {
    let before = teller.balances(["alice", "bob"])?;
    let task = teller.run(&json!([payment("alice", "bob", "2500.00")]))?;
    in_state(&task, TaskState::Denied)?;
    let step = only_step(&task)?;
    let reason = verdict(step, "deny")?.reason.as_deref().unwrap_or_default();
    ensure!(
        step.output.is_none(),
        "a step that was denied has an output"
    );
    ensure!(
        teller.balances(["alice", "bob"])? == before,
        "a payment that was denied moved money"
    );
    story.line(&format!(
        "  2500.00   is denied: {} Nothing moved.",
        one_line(reason)
    ))?;
    Ok(task.id)
}
