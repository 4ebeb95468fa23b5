//! `stepseal plugin`: check, upload and list plugins, and grant them what they may use.

mod check;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::Value;
use stepseal_receipts::digest::Digest;

use super::client::{Client, ClientError, encode};
use super::output::{bytes, one_line, short, table};
use super::{Answer, Context, Usage, files};
use crate::api::wire;

/// How often a host that compiles is asked how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);

/// Check, upload and list plugins, and grant them what they may use.
#[derive(Debug, Subcommand)]
pub(super) enum Plugin {
    /// Look into a component without a host: what it is, what it imports, what steps it has.
    #[command(after_help = "Example:\n  stepseal plugin check target/guests/ledger.wasm")]
    Check(check::Check),
    /// Upload a plugin.
    #[command(after_help = "Example:\n  stepseal plugin push target/guests/ledger.wasm")]
    Push(Push),
    /// List the uploaded plugins.
    #[command(after_help = "Example:\n  stepseal plugin list --output json")]
    List,
    /// Say what a plugin may use, in the place of what it might use before.
    #[command(
        after_help = "Example:\n  stepseal plugin grant ledger --bucket ledger --fuel 50000000\n  \
        stepseal plugin grant jq --file grant.json"
    )]
    Grant(Grant),
    /// List the grants a plugin ever had, the newest first.
    #[command(after_help = "Example:\n  stepseal plugin grants ledger")]
    Grants(Grants),
}

/// What `plugin push` is given.
#[derive(Args, Debug)]
pub(super) struct Push {
    /// The component.
    file: PathBuf,
}

/// What `plugin grant` is given.
#[derive(Args, Debug)]
pub(super) struct Grant {
    /// Name of the plugin; the grant holds for every version of it.
    plugin: String,
    /// A key-value bucket it may read and write; may be given more than once.
    #[arg(long = "bucket", value_name = "NAME", conflicts_with = "file")]
    buckets: Vec<String>,
    /// Units of fuel of one attempt.
    #[arg(long, conflicts_with = "file")]
    fuel: Option<u64>,
    /// Bytes of memory of one attempt.
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    memory: Option<u64>,
    /// Wall time of one attempt.
    #[arg(long, value_name = "MILLISECONDS", conflicts_with = "file")]
    wall: Option<u64>,
    /// Bytes of an input.
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    input: Option<u64>,
    /// Bytes of an output.
    #[arg(long, value_name = "BYTES", conflicts_with = "file")]
    output_bytes: Option<u64>,
    /// The whole grant document as JSON; `-` reads stdin.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Grant nothing: the plugin keeps the default limits and touches nothing.
    #[arg(long, conflicts_with_all = ["file", "buckets", "fuel", "memory", "wall", "input", "output_bytes"])]
    nothing: bool,
}

/// What `plugin grants` is given.
#[derive(Args, Debug)]
pub(super) struct Grants {
    /// Name of the plugin.
    plugin: String,
}

impl Plugin {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Check(command) => command.run(context),
            Self::Push(command) => push(context, &command.file, wire::ComponentKind::Plugin),
            Self::List => list(context),
            Self::Grant(command) => command.run(context),
            Self::Grants(command) => command.run(context),
        }
    }
}

/// Uploads a component of the kind the command is for.
pub(super) fn push(
    context: &Context,
    file: &Path,
    wanted: wire::ComponentKind,
) -> anyhow::Result<Answer> {
    let wasm = files::read(file, "the component", files::COMPONENT_BYTES_MAX)?;
    let client = context.client()?;
    let progress = context.output.progress("the component is sent");
    let uploaded = upload(&client, &wasm, &progress);
    progress.finish_and_clear();
    let (is_new, answer) = uploaded?;
    let component: wire::Component = client.decode(&answer)?;
    let known = if is_new {
        ""
    } else {
        " (it was there already)"
    };
    context.output.result(&answer, || {
        let mut lines = vec![format!(
            "{} {} {} {}, {}{known}",
            kind(component.kind),
            one_line(&component.name),
            one_line(&component.version),
            component.digest,
            bytes(component.size)
        )];
        lines.extend(component.fit.as_ref().map(misfits).unwrap_or_default());
        lines.join("\n")
    })?;
    if component.kind != wanted {
        let found = kind(component.kind);
        context
            .output
            .note(&format!("note: this is a {found}, so `stepseal {found} push` was meant; it is uploaded all the same"));
    }
    Ok(Answer::Yes)
}

/// Uploads a component, and shows meanwhile how far the host is.
fn upload(
    client: &Client,
    wasm: &[u8],
    progress: &ProgressBar,
) -> Result<(bool, Value), ClientError> {
    if progress.is_hidden() {
        return client.upload(wasm);
    }
    let digest = Digest::of(wasm);
    std::thread::scope(|scope| {
        // Closed when the answer is there.
        let (open, closed) = channel::<()>();
        let uploading = scope.spawn(move || {
            let _open = open;
            client.upload(wasm)
        });
        while closed.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            // An older host does not tell, and one that is gone fails the upload.
            let listed = client.get("/v1/compilations").ok();
            let listed = listed.and_then(|answer| client.decode(&answer).ok());
            if let Some(wire::List { items }) = listed {
                progress.set_message(stage(&items, &digest));
            }
        }
        uploading
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// What the host does with a component, of all those that it lists.
fn stage(listed: &[wire::Compilation], digest: &Digest) -> String {
    let place = listed.iter().position(|one| one.digest == *digest);
    match place.map(|place| (place, listed[place].state)) {
        Some((_, wire::CompilationState::Compiling)) => {
            "the host compiles the component".to_owned()
        }
        Some((before, wire::CompilationState::Waiting)) => {
            format!("the host compiles {before} other(s) before this component")
        }
        None => "the host takes and checks the component".to_owned(),
    }
}

/// Where a grant and the imports of a plugin do not meet, a line each.
fn misfits(fit: &wire::Fit) -> Vec<String> {
    let not_granted = fit.not_granted.iter().map(|import| {
        let import = one_line(import);
        format!("  imports {import}, of which nothing is granted: its calls will be refused")
    });
    let not_imported = fit.not_imported.iter().map(|member| {
        let member = one_line(member);
        format!("  is granted {member}, which it does not import")
    });
    let missing = fit.secrets_missing.iter().map(|name| {
        let name = one_line(name);
        format!("  injects the secret {name}, which is not there: stepseal secret set {name}")
    });
    not_granted.chain(not_imported).chain(missing).collect()
}

fn kind(kind: wire::ComponentKind) -> &'static str {
    match kind {
        wire::ComponentKind::Plugin => "plugin",
        wire::ComponentKind::Policy => "policy",
    }
}

fn list(context: &Context) -> anyhow::Result<Answer> {
    let client = context.client()?;
    let answer = client.get("/v1/components?kind=plugin")?;
    let list: wire::List<wire::Component> = client.decode(&answer)?;
    let grants: wire::List<wire::Grant> = client.decode(&client.get("/v1/grants")?)?;
    context.output.result(&answer, || {
        let rows = list.items.iter().map(|component| {
            let grant = grants
                .items
                .iter()
                .find(|grant| grant.plugin == component.name);
            [
                format!("{}@{}", component.name, component.version),
                short(&component.digest.to_string()),
                bytes(component.size),
                step_types(&component.descriptor),
                grant.map_or("nothing".to_owned(), |grant| granted(&grant.document)),
                component.summary.clone(),
            ]
        });
        table(
            ["plugin", "component", "size", "steps", "granted", "summary"],
            rows,
        )
    })?;
    Ok(Answer::Yes)
}

fn step_types(descriptor: &Value) -> String {
    let steps = descriptor["steps"].as_array();
    let names: Vec<&str> = steps
        .into_iter()
        .flatten()
        .filter_map(|step| step["name"].as_str())
        .collect();
    names.join(" ")
}

/// What a document grants, in a few words.
fn granted(document: &wire::GrantDocument) -> String {
    let buckets = document.buckets.iter().map(|name| format!("bucket {name}"));
    let config = Some(document.config.len()).filter(|count| *count > 0);
    let config = config.map(|count| format!("config ({count})"));
    let http = document.http.iter().map(|rule| {
        let (scheme, path) = (rule.scheme.as_deref(), rule.path.as_deref());
        let port = rule.port.map(|port| format!(":{port}"));
        format!(
            "{}://{}{}{}",
            scheme.unwrap_or("https"),
            rule.host,
            port.unwrap_or_default(),
            path.unwrap_or("/")
        )
    });
    let granted: Vec<String> = buckets.chain(config).chain(http).collect();
    if granted.is_empty() {
        "nothing".to_owned()
    } else {
        granted.join(", ")
    }
}

impl Grants {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let path = format!("/v1/plugins/{}/grants/history", encode(&self.plugin));
        let client = context.client()?;
        let answer = client.get(&path)?;
        let history: wire::List<wire::Grant> = client.decode(&answer)?;
        context.output.result(&answer, || {
            let rows = history.items.iter().map(|grant| {
                [
                    grant.version.to_string(),
                    grant.changed.to_string(),
                    short(&grant.digest.to_string()),
                    serde_json::to_string(&grant.document).unwrap_or_default(),
                ]
            });
            table(["grant", "since", "digest", "document"], rows)
        })?;
        Ok(Answer::Yes)
    }
}

impl Grant {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let path = format!("/v1/plugins/{}/grants", encode(&self.plugin));
        let document = self.document()?;
        let client = context.client()?;
        let answer = client.put(&path, &document)?;
        let grant: wire::Grant = client.decode(&answer)?;
        context.output.result(&answer, || {
            let mut lines = vec![format!(
                "{} may use: {} (grant {}, {})",
                one_line(&grant.plugin),
                serde_json::to_string(&grant.document).unwrap_or_default(),
                grant.version,
                short(&grant.digest.to_string())
            )];
            lines.extend(grant.fit.as_ref().map(misfits).unwrap_or_default());
            lines.join("\n")
        })?;
        Ok(Answer::Yes)
    }

    fn document(self) -> anyhow::Result<Value> {
        if let Some(file) = &self.file {
            return files::read_json(file, "the grant document");
        }
        let limits = wire::GrantLimits {
            fuel: self.fuel,
            memory_bytes: self.memory,
            wall_ms: self.wall,
            input_bytes: self.input,
            output_bytes: self.output_bytes,
        };
        let document = wire::GrantDocument {
            buckets: self.buckets,
            limits: Some(limits).filter(|limits| *limits != wire::GrantLimits::default()),
            ..wire::GrantDocument::default()
        };
        if document == wire::GrantDocument::default() && !self.nothing {
            let usage = "say what to grant (--bucket, --fuel, ... or --file), or --nothing to take every grant back";
            bail!(Usage(usage.to_owned()));
        }
        Ok(serde_json::to_value(document)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_an_upload_is_told_how_far_it_is() {
        let [first, second, third] = [[1], [2], [3]].map(|bytes| Digest::of(&bytes));
        let compilation = |digest, state| wire::Compilation {
            digest,
            state,
            size: None,
            elapsed_ms: 0,
        };
        let listed = [
            compilation(first, wire::CompilationState::Compiling),
            compilation(second, wire::CompilationState::Waiting),
        ];
        assert_eq!(stage(&listed, &first), "the host compiles the component");
        assert!(stage(&listed, &second).contains("compiles 1 other(s) before"));
        assert!(stage(&listed, &third).contains("checks"));
    }
}
