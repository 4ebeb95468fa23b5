//! `stepseal task`: submit, watch, show, list and cancel tasks.

mod watch;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::Value;
use stepseal_receipts::state::TaskState;

use super::client::{Client, encode, query};
use super::output::{one_line, short, table, thousands};
use super::{Answer, Context, files};
use crate::api::wire;

/// Seconds a host lets one request wait for a task.
const WAIT_SECONDS_MAX: u64 = 60;

/// Submit tasks and follow them.
#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Submit a task: a plan with its input, as JSON.
    #[command(after_help = "Example:\n  stepseal task submit plan.json --watch\n  \
        echo '{\"plan\":{\"steps\":[{\"id\":\"b\",\"uses\":\"ledger/balance\",\"with\":{\"account\":\"alice\"}}]}}' | stepseal task submit -\n\n\
        A plan also says how long a step and the task may take (timeout_ms), how often and after what a step is tried again (retry),\n\
        what its failure means (on_failure) and when it begins (not_before). --check says what is wrong with it and runs nothing.")]
    Submit(Submit),
    /// Follow the events of a task to its end.
    #[command(after_help = "Example:\n  stepseal task watch 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e")]
    Watch(watch::Watch),
    /// Show a task and its steps.
    #[command(after_help = "Example:\n  stepseal task show 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e")]
    Show(Show),
    /// List tasks, newest first.
    #[command(after_help = "Example:\n  stepseal task list --state waiting --limit 20")]
    List(List),
    /// Take a task back. An effect that has begun is not undone.
    #[command(after_help = "Example:\n  stepseal task cancel 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e")]
    Cancel(Show),
    /// Erase all that is kept of a finished task but its records: plan, inputs, outputs, events, approvals, agent and labels;
    /// with --records these too.
    #[command(
        after_help = "Example:\n  stepseal task erase 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e --basis 'GDPR Art. 17, request 4711' --actor dana\n\n\
        The act and its basis are in the log. The task's receipt proves as much as before, and shows no payload. With --records\n\
        it proves that there were records, where and how they were linked, and what they said is gone: `verify` refuses it\n\
        without --allow-erased."
    )]
    Erase(Erase),
}

/// What `task submit` is given.
#[derive(Args, Debug)]
pub(super) struct Submit {
    /// The submission; `-` reads stdin.
    file: PathBuf,
    /// Idempotency key: the same key and submission again give the task that is there.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait up to so many seconds until the task ends or waits for a person.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=WAIT_SECONDS_MAX), conflicts_with_all = ["watch", "check"])]
    wait: Option<u64>,
    /// Follow the task's events to its end.
    #[arg(long, conflicts_with = "check")]
    watch: bool,
    /// Run nothing: show what every step would be and what the policies say.
    #[arg(long)]
    check: bool,
}

/// Which task.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The task's id.
    id: String,
}

/// What `task erase` is given.
#[derive(Args, Debug)]
pub(super) struct Erase {
    /// The task's id.
    id: String,
    /// Why it must be erased: a law, a contract, a request. It is never erased itself, so name nobody.
    #[arg(long, value_name = "TEXT")]
    basis: String,
    /// Erase the signed records too. Their leaves stay in the log.
    #[arg(long)]
    records: bool,
}

/// What `task list` is given.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Only tasks in this state: queued, running, waiting, succeeded, failed, denied or cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Only tasks of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on where the list before ended.
    #[arg(long)]
    cursor: Option<String>,
}

impl Task {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Submit(command) => command.run(context),
            Self::Watch(command) => command.run(context),
            Self::Show(command) => {
                let client = context.client()?;
                let task = client.get(&path(&command.id, ""))?;
                show(context, &client, &task)
            }
            Self::List(command) => command.run(context),
            Self::Cancel(command) => {
                let client = context.client()?;
                let task = client.post(&path(&command.id, "/cancel"), &serde_json::json!({}))?;
                show(context, &client, &task)?;
                Ok(Answer::Yes)
            }
            Self::Erase(command) => {
                let (place, kept) = if command.records {
                    ("/records", "its leaves in the log")
                } else {
                    ("/payloads", "its records")
                };
                let place = path(&command.id, place);
                let place = query(&place, &[("basis", Some(command.basis))]);
                context.client()?.delete(&place)?;
                let value = serde_json::json!({ "id": command.id, "erased": true });
                context.output.result(&value, || {
                    format!(
                        "erased: nothing is kept of task {} but {kept}",
                        one_line(&command.id)
                    )
                })?;
                Ok(Answer::Yes)
            }
        }
    }
}

impl Submit {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let submission = files::read_json(&self.file, "the submission")?;
        let client = context.client()?;
        if self.check {
            return check(context, &client, &submission);
        }
        let prefer = self.wait.map(|seconds| format!("wait={seconds}"));
        let mut headers = Vec::new();
        if let Some(key) = &self.key {
            headers.push(("idempotency-key", key.as_str()));
        }
        if let Some(prefer) = &prefer {
            headers.push(("prefer", prefer));
        }
        let (status, answer) = client.post_with("/v1/tasks", &headers, &submission)?;
        let task: wire::Task = client.decode(&answer)?;
        if status == 200 {
            context.output.note(&format!(
                "the key was used before: this is task {}",
                task.id
            ));
        }
        if self.watch {
            return watch::follow(context, &client, &task.id, 0);
        }
        let answer = show(context, &client, &answer)?;
        // A task that goes on is no failure of its submission.
        Ok(if self.wait.is_some() {
            answer
        } else {
            Answer::Yes
        })
    }
}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let limit = Some(self.limit.to_string());
        let values = [
            ("state", self.state),
            ("agent", self.agent),
            ("limit", limit),
            ("cursor", self.cursor),
        ];
        let answer = client.get(&query("/v1/tasks", &values))?;
        let page: wire::Page<wire::TaskSummary> = client.decode(&answer)?;
        context.output.result(&answer, || {
            let rows = page.items.iter().map(|task| {
                let labels = task
                    .labels
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                let labels: Vec<String> = labels.collect();
                [
                    task.id.clone(),
                    task.state.as_str().to_owned(),
                    task.agent.clone().unwrap_or_default(),
                    labels.join(" "),
                    task.created.to_string(),
                ]
            });
            table(["task", "state", "agent", "labels", "created"], rows)
        })?;
        if let Some(next) = page.next {
            context
                .output
                .note(&format!("there are more: --cursor {next}"));
        }
        Ok(Answer::Yes)
    }
}

/// The path of something about a task.
pub(super) fn path(id: &str, rest: &str) -> String {
    format!("/v1/tasks/{}{rest}", encode(id))
}

/// Shows a task; no where it ended without success.
fn show(context: &Context, client: &Client, answer: &Value) -> anyhow::Result<Answer> {
    let task: wire::Task = client.decode(answer)?;
    context.output.result(answer, || text(&task))?;
    Ok(Answer::of(
        !task.state.is_final() || task.state == TaskState::Succeeded,
    ))
}

fn text(task: &wire::Task) -> String {
    let mut lines = vec![format!("task {} {}", task.id, task.state.as_str())];
    if let Some(reason) = &task.reason {
        lines.push(format!("  {}", one_line(reason)));
    }
    if let Some(agent) = &task.agent {
        lines.push(format!(
            "  submitted by {} at {}",
            one_line(agent),
            task.created
        ));
    }
    let rows = task.steps.iter().map(|step| {
        [
            step.id.clone(),
            step.uses.clone(),
            step.state.as_str().to_owned(),
            step.attempt.to_string(),
            step.fuel.map(thousands).unwrap_or_default(),
            step.output_digest
                .map(|digest| short(&digest.to_string()))
                .unwrap_or_default(),
        ]
    });
    lines.push(table(
        ["step", "uses", "state", "attempt", "fuel", "output"],
        rows,
    ));
    for step in &task.steps {
        lines.extend(remarks(step));
    }
    lines.join("\n")
}

/// What a person wants to know of a step beside its row.
fn remarks(step: &wire::Step) -> Vec<String> {
    let mut lines = Vec::new();
    let name = one_line(&step.id);
    for verdict in &step.verdicts {
        let reason = verdict.reason.as_deref().unwrap_or_default();
        lines.push(format!(
            "{name}: {} says {}{}{}",
            one_line(&verdict.policy),
            verdict.verdict,
            if reason.is_empty() { "" } else { ": " },
            one_line(reason)
        ));
    }
    if let Some(message) = &step.message {
        lines.push(format!("{name}: {}", one_line(message)));
    }
    if let Some(approval) = &step.approval {
        lines.push(format!(
            "{name}: waits for a person: stepseal approval show {}",
            one_line(approval)
        ));
    }
    if let Some(time) = &step.not_before {
        let attempt = step.attempt + 1;
        lines.push(format!(
            "{name}: attempt {attempt} does not begin before {time}"
        ));
    }
    if let Some(output) = &step.output {
        lines.push(format!("{name}: output {}", clipped(&output.to_string())));
    }
    lines
}

/// The beginning of a text that may be long.
pub(super) fn clipped(text: &str) -> String {
    const CHARS_MAX: usize = 400;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}… ({} bytes)", one_line(&text[..at]), text.len()),
        None => one_line(text).into_owned(),
    }
}

/// What a plan says of time and failure of a step, and what holds where it does not.
fn rules(step: &wire::CheckedStep) -> String {
    let retry = &step.retry;
    let mut said = vec![format!("{} ms an attempt", step.timeout_ms)];
    if let Some(attempts) = retry.max_attempts.filter(|attempts| *attempts > 1) {
        said.push(format!(
            "{attempts} attempts, after {}",
            retry.on.join(", ")
        ));
    }
    said.extend(step.not_before.map(|time| format!("not before {time}")));
    said.extend(step.on_failure.map(|then| match then {
        wire::OnFailure::Fail => "then the task fails".to_owned(),
        wire::OnFailure::Pause => "then a person is asked".to_owned(),
    }));
    format!("{}: {}", one_line(&step.id), one_line(&said.join("; ")))
}

fn check(context: &Context, client: &Client, submission: &Value) -> anyhow::Result<Answer> {
    let answer = client.post("/v1/plans/check", submission)?;
    let check: wire::PlanCheck = client.decode(&answer)?;
    context.output.result(&answer, || {
        let rows = check.steps.iter().map(|step| {
            let reasons = step.verdicts.iter().map(|verdict| {
                format!(
                    "{}: {}",
                    verdict.policy,
                    verdict.reason.as_deref().unwrap_or(&verdict.verdict)
                )
            });
            let reasons: Vec<String> = reasons.collect();
            [
                step.id.clone(),
                format!("{}@{}/{}", step.plugin, step.version, step.step_type),
                if step.effectful { "effectful" } else { "pure" }.to_owned(),
                step.verdict.clone(),
                reasons.join("; "),
            ]
        });
        let steps = table(["step", "uses", "kind", "verdict", "policies"], rows);
        let mut lines = vec![steps];
        lines.extend(check.steps.iter().map(rules));
        if let Some(ms) = check.timeout_ms {
            lines.push(format!("the task must be over after {ms} ms"));
        }
        lines.push(format!("the plan as a whole: {}", one_line(&check.verdict)));
        lines.join("\n")
    })?;
    match check.verdict.as_str() {
        "deny" => Ok(Answer::No),
        "allow" | "needs-approval" | "unknown" => Ok(Answer::Yes),
        verdict => bail!(
            "the host gave the verdict {:?}, which this version does not know",
            one_line(verdict)
        ),
    }
}
