//! `stepseal approval`: see what waits for a person, and decide.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::{Approval as Claim, Decision, sign_approval};

use super::client::{Client, encode, query};
use super::output::{one_line, table};
use super::task::clipped;
use super::{Answer, Context, Usage, files};
use crate::api::wire::{self, Choice};

/// See what waits for a person, and decide.
#[derive(Debug, Subcommand)]
pub(super) enum Approval {
    /// List approvals, newest first; the open ones unless told otherwise.
    #[command(
        after_help = "Example:\n  stepseal approval list\n  stepseal approval list --state approved"
    )]
    List(List),
    /// Show everything an approver needs.
    #[command(
        after_help = "Example:\n  stepseal approval show 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e"
    )]
    Show(Show),
    /// Let it run, once, with exactly what was shown.
    #[command(
        after_help = "Example:\n  stepseal approval approve 0197f3c2-… --as dana --comment 'checked with the supplier'\n\n\
        On a terminal it shows what would run and asks. A program gives --subject, the digest of what it has seen.\n\n\
        With --key the approver's own tool signs it, and a receipt proves who approved:\n  \
        stepseal approval approve 0197f3c2-… --as dana --key dana.pem"
    )]
    Approve(Decide),
    /// Do not let it run; its task is denied.
    #[command(
        after_help = "Example:\n  stepseal approval reject 0197f3c2-… --as dana --comment 'no such supplier'"
    )]
    Reject(Decide),
}

/// What `approval list` is given.
#[derive(Args, Debug)]
pub(super) struct List {
    /// open, approved, rejected, expired, void, or all.
    #[arg(long, default_value = "open")]
    state: String,
    /// Only approvals of this task.
    #[arg(long)]
    task: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on where the list before ended.
    #[arg(long)]
    cursor: Option<String>,
}

/// Which approval.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// The approval's id.
    id: String,
}

/// What a decision is given.
#[derive(Args, Debug)]
pub(super) struct Decide {
    /// The approval's id.
    id: String,
    /// Who decides.
    #[arg(long = "as", value_name = "NAME")]
    approver: String,
    /// The role they hold.
    #[arg(long)]
    role: Option<String>,
    /// What they say; it goes to the host, not into the record.
    #[arg(long)]
    comment: Option<String>,
    /// Digest of what the approver has seen, instead of being shown it and asked.
    #[arg(long, value_name = "sha256:HEX")]
    subject: Option<Digest>,
    /// Sign it with this private key. Who has a key at the host (`keys approver list`) must.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Approval {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::List(command) => command.run(context),
            Self::Show(command) => {
                let client = context.client()?;
                let answer = client.get(&path(&command.id))?;
                let approval: wire::Approval = client.decode(&answer)?;
                context.output.result(&answer, || text(&approval))?;
                check(&approval)?;
                Ok(Answer::Yes)
            }
            Self::Approve(command) => command.run(context, Choice::Approve),
            Self::Reject(command) => command.run(context, Choice::Reject),
        }
    }
}

impl List {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let values = [
            ("state", Some(self.state).filter(|state| state != "all")),
            ("task", self.task),
            ("limit", Some(self.limit.to_string())),
            ("cursor", self.cursor),
        ];
        let answer = client.get(&query("/v1/approvals", &values))?;
        let page: wire::Page<wire::ApprovalSummary> = client.decode(&answer)?;
        context.output.result(&answer, || {
            let rows = page.items.iter().map(|approval| {
                let reasons = approval
                    .asks
                    .iter()
                    .map(|ask| format!("{}: {}", ask.by, ask.reason));
                let reasons: Vec<String> = reasons.collect();
                [
                    approval.id.clone(),
                    state(approval.state).to_owned(),
                    format!(
                        "{}@{}/{}",
                        approval.plugin, approval.version, approval.step_type
                    ),
                    approval.agent.clone().unwrap_or_default(),
                    reasons.join("; "),
                    approval.expires.to_string(),
                ]
            });
            table(
                ["approval", "state", "would run", "agent", "why", "expires"],
                rows,
            )
        })?;
        if let Some(next) = page.next {
            context
                .output
                .note(&format!("there are more: --cursor {next}"));
        }
        Ok(Answer::Yes)
    }
}

impl Decide {
    fn run(self, context: &Context, decision: Choice) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let key = self.key.as_deref().map(files::read_key).transpose()?;
        let subject = match self.subject {
            Some(subject) => subject,
            None => match self.ask(context, &client, decision)? {
                Some(subject) => subject,
                None => return Ok(Answer::No),
            },
        };
        let envelope = key.map(|key| {
            let claim = Claim {
                approver: self.approver.clone(),
                decision: match decision {
                    Choice::Approve => Decision::Approve,
                    Choice::Reject => Decision::Reject,
                },
                role: self.role.clone(),
                subject,
                envelope: None,
            };
            sign_approval(&claim, &key)
        });
        let body = wire::NewDecision {
            decision,
            subject,
            approver: self.approver,
            role: self.role,
            comment: self.comment,
            envelope,
        };
        let answer = client.post(&path(&self.id), &body)?;
        let approval: wire::Approval = client.decode(&answer)?;
        context.output.result(&answer, || {
            let missing = match approval.state {
                wire::ApprovalState::Open => "; more people must decide",
                _ => "",
            };
            format!(
                "approval {} is {}{missing}",
                approval.id,
                state(approval.state)
            )
        })?;
        Ok(Answer::Yes)
    }

    /// Shows what would run and asks; gives the digest of what was shown.
    fn ask(
        &self,
        context: &Context,
        client: &Client,
        decision: Choice,
    ) -> anyhow::Result<Option<Digest>> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let usage = "nobody is there to be asked: look with `stepseal approval show`, and give the digest of what you saw with --subject";
            return Err(Usage(usage.to_owned()).into());
        }
        let approval: wire::Approval = client.decode(&client.get(&path(&self.id))?)?;
        check(&approval)?;
        context.output.note(&text(&approval));
        let verb = match decision {
            Choice::Approve => "approve",
            Choice::Reject => "reject",
        };
        let mut err = io::stderr().lock();
        write!(err, "{verb} this? [y/N] ").and_then(|()| err.flush())?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        if matches!(line.trim(), "y" | "Y" | "yes") {
            return Ok(Some(approval.subject));
        }
        context.output.note("nothing was decided");
        Ok(None)
    }
}

fn path(id: &str) -> String {
    format!("/v1/approvals/{}", encode(id))
}

fn state(state: wire::ApprovalState) -> &'static str {
    match state {
        wire::ApprovalState::Open => "open",
        wire::ApprovalState::Approved => "approved",
        wire::ApprovalState::Rejected => "rejected",
        wire::ApprovalState::Expired => "expired",
        wire::ApprovalState::Void => "void",
    }
}

/// Checks that the digest is that of the text beside it, and that the text speaks of what is shown: a host that shows one
/// thing and asks approval for another is caught here.
pub(super) fn check(approval: &wire::Approval) -> anyhow::Result<()> {
    if Digest::of(approval.preimage.as_bytes()) != approval.subject {
        bail!("the host's digest is not that of the text it shows: do not approve this");
    }
    let preimage: serde_json::Value = serde_json::from_str(&approval.preimage)?;
    let shown = [
        ("/task", approval.task.clone()),
        ("/step", approval.step.clone()),
        ("/attempt", approval.attempt.to_string()),
        ("/component/sha256", approval.component.to_hex()),
    ];
    for (pointer, shown) in shown {
        if preimage
            .pointer(pointer)
            .and_then(serde_json::Value::as_str)
            != Some(&shown)
        {
            bail!(
                "what the host shows at {pointer} is not what it asks approval for: do not approve this"
            );
        }
    }
    Ok(())
}

fn text(approval: &wire::Approval) -> String {
    let mut lines = vec![
        format!("approval {} {}", approval.id, state(approval.state)),
        format!(
            "  would run   {}@{}/{} - {}",
            one_line(&approval.plugin),
            one_line(&approval.version),
            one_line(&approval.step_type),
            one_line(&approval.summary)
        ),
        format!("  component   {}", approval.component),
        format!(
            "  for         {}",
            one_line(
                approval
                    .agent
                    .as_deref()
                    .unwrap_or("an agent without a name")
            )
        ),
        format!(
            "  in          task {}, step {}, attempt {}",
            one_line(&approval.task),
            one_line(&approval.step),
            approval.attempt
        ),
    ];
    match &approval.input {
        Some(input) => lines.push(format!("  with        {}", one_line(&input.to_string()))),
        None => lines.push("  with        an input that was erased".to_owned()),
    }
    lines.push(format!(
        "  granted     {}",
        clipped(&approval.grants.to_string())
    ));
    for ask in &approval.asks {
        let role = ask
            .role
            .as_deref()
            .map(|role| format!(" who is {}", one_line(role)));
        lines.push(format!(
            "  asked by    {}: {} ({} approver(s){})",
            one_line(&ask.by),
            one_line(&ask.reason),
            ask.approvers,
            role.unwrap_or_default()
        ));
    }
    for decision in &approval.decisions {
        let verb = match decision.decision {
            Choice::Approve => "approved",
            Choice::Reject => "rejected",
        };
        lines.push(format!(
            "  {verb}    by {} at {}",
            one_line(&decision.approver),
            decision.at
        ));
    }
    if let Some(last) = &approval.last_like_it {
        let input = last
            .input
            .as_ref()
            .map_or("an erased input".to_owned(), |input| {
                clipped(&input.to_string())
            });
        lines.push(format!(
            "  last like it was approved with {input} ({})",
            last.opened
        ));
    }
    lines.push(format!("  expires     {}", approval.expires));
    lines.push(format!("  subject     {}", approval.subject));
    lines.join("\n")
}
