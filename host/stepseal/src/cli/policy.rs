//! `stepseal policy`: upload policies and say where they apply.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use stepseal_receipts::digest::Digest;

use super::client::{Client, encode};
use super::output::{short, table};
use super::{Answer, Context, files, plugin};
use crate::api::wire;

/// Upload policies and say where they apply.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Upload a policy.
    #[command(after_help = "Example:\n  stepseal policy push target/guests/spending-limit.wasm")]
    Push(Push),
    /// Put a policy in force, with settings and a scope.
    #[command(
        after_help = "Example:\n  stepseal policy bind spending-limit --plugin ledger \\\n    \
        --settings '{\"limits\":{\"USD\":{\"approval_above\":\"100.00\",\"deny_above\":\"1000.00\"}}}'"
    )]
    Bind(Bind),
    /// End a binding; running tasks are judged without it from then on.
    #[command(
        after_help = "Example:\n  stepseal policy unbind 0197f3c2-5a7e-7cc1-b3a0-4f6f0c1c2d3e"
    )]
    Unbind(Unbind),
    /// List the policies in force, oldest first.
    #[command(after_help = "Example:\n  stepseal policy list --output json")]
    List,
}

/// What `policy push` is given.
#[derive(Args, Debug)]
pub(super) struct Push {
    /// The component.
    file: PathBuf,
}

/// What `policy bind` is given.
#[derive(Args, Debug)]
pub(super) struct Bind {
    /// The policy: its name (the version uploaded last), name@version, or digest.
    policy: String,
    /// Settings as JSON, or @FILE.
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE")]
    settings: String,
    /// Only tasks of this tenant; `operator` for those that came with the host's own token.
    #[arg(long)]
    tenant: Option<String>,
    /// Only tasks of this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only steps of this plugin.
    #[arg(long)]
    plugin: Option<String>,
    /// Only steps of this type.
    #[arg(long, value_name = "TYPE")]
    step_type: Option<String>,
    /// Only tasks with this label; may be given more than once.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Whether its verdict counts, or is only recorded.
    #[arg(long, value_enum, default_value_t = Mode::Enforce)]
    mode: Mode,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// It counts.
    Enforce,
    /// It is recorded and changes nothing.
    Monitor,
}

/// What `policy unbind` is given.
#[derive(Args, Debug)]
pub(super) struct Unbind {
    /// The binding's id, as `policy list` shows it.
    id: String,
}

impl Policy {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Push(command) => {
                plugin::push(context, &command.file, wire::ComponentKind::Policy)
            }
            Self::Bind(command) => command.run(context),
            Self::Unbind(command) => {
                context
                    .client()?
                    .delete(&format!("/v1/policies/{}", encode(&command.id)))?;
                Ok(Answer::Yes)
            }
            Self::List => list(context),
        }
    }
}

impl Bind {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let settings = files::json_argument(&self.settings, "--settings")?;
        let client = context.client()?;
        let body = wire::NewPolicy {
            component: find(&client, &self.policy)?,
            settings,
            scope: wire::Scope {
                tenant: self.tenant,
                agent: self.agent,
                plugin: self.plugin,
                step_type: self.step_type,
                labels: BTreeMap::from_iter(self.labels),
            },
            mode: match self.mode {
                Mode::Enforce => wire::Mode::Enforce,
                Mode::Monitor => wire::Mode::Monitor,
            },
        };
        let answer = client.post("/v1/policies", &body)?;
        let policy: wire::Policy = client.decode(&answer)?;
        context.output.result(&answer, || {
            format!(
                "{} {} is in force as {}",
                policy.name, policy.version, policy.id
            )
        })?;
        Ok(Answer::Yes)
    }
}

/// The component a name, `name@version` or digest means.
fn find(client: &Client, policy: &str) -> anyhow::Result<Digest> {
    if policy.starts_with("sha256:") {
        return policy.parse().context("the policy's digest is wrong");
    }
    let (name, version) = match policy.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (policy, None),
    };
    let answer = client.get("/v1/components?kind=policy")?;
    let list: wire::List<wire::Component> = client.decode(&answer)?;
    // The list is by name, then time of upload.
    let found = list.items.iter().rev().find(|component| {
        component.name == name && version.is_none_or(|version| component.version == version)
    });
    match found {
        Some(component) => Ok(component.digest),
        None => bail!("there is no policy {policy}: upload it with `stepseal policy push`"),
    }
}

fn list(context: &Context) -> anyhow::Result<Answer> {
    let client = context.client()?;
    let answer = client.get("/v1/policies")?;
    let list: wire::List<wire::Policy> = client.decode(&answer)?;
    context.output.result(&answer, || {
        let rows = list.items.iter().map(|policy| {
            [
                policy.id.clone(),
                format!("{}@{}", policy.name, policy.version),
                short(&policy.component.to_string()),
                match policy.mode {
                    wire::Mode::Enforce => "enforce",
                    wire::Mode::Monitor => "monitor",
                }
                .to_owned(),
                scope(&policy.scope),
                policy.settings.to_string(),
            ]
        });
        table(
            [
                "binding",
                "policy",
                "component",
                "mode",
                "scope",
                "settings",
            ],
            rows,
        )
    })?;
    Ok(Answer::Yes)
}

fn scope(scope: &wire::Scope) -> String {
    let named = [
        ("tenant", &scope.tenant),
        ("agent", &scope.agent),
        ("plugin", &scope.plugin),
        ("step type", &scope.step_type),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}")));
    let labels = scope
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let parts: Vec<String> = named.chain(labels).collect();
    if parts.is_empty() {
        "everything".to_owned()
    } else {
        parts.join(", ")
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
