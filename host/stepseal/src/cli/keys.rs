//! `stepseal keys`: what signs for the log, and what a verifier must believe.

pub(super) mod root;

mod approver;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::export::sigstore;
use stepseal_receipts::keys::{PublicKey, SigningKey};
use stepseal_receipts::record::KeyRole;
use stepseal_receipts::trust::{TrustFile, vouch};

use super::opened::{OpenOptions, Opened};
use super::output::table;
use super::runtime::block_on;
use super::{Answer, Context, Usage, actor, files};
use crate::clock::SystemClock;
use crate::data_dir::{DataDir, Held};
use crate::store::KeyRow;

/// Keys of the host.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make a data directory with its keys and its empty log, without serving it: to know them before the first task.
    #[command(
        after_help = "Example:\n  stepseal keys init --data ./stepseal-data --origin example.org/payments"
    )]
    Init(Init),
    /// Show the public keys and where in the log they count. Works with and without a running host.
    #[command(after_help = "Example:\n  stepseal keys show")]
    Show,
    /// Write the trust file: the public keys a verifier of this host's receipts must believe.
    #[command(after_help = "Example:\n  stepseal keys trust --out trust.json\n\n\
        Give it to verifiers by a way they trust; a trust file that comes with the receipt proves nothing.\n\n\
        A root key, which stays offline, vouches for newer ones; this writes trust.json and trust.json.sig:\n  \
        stepseal keys trust --from from-the-host.json --sign root.pem --out trust.json\n  \
        stepseal verify *.stepseal.json --trust trust.json --trust-root MCowBQYDK2VwAyEA…\n\n\
        For the bundles of `receipt export`:\n  \
        stepseal keys trust --from trust.json --format sigstore-trusted-root --out trusted_root.json\n  \
        stepseal keys trust --from trust.json --format sigstore-keys --out record-keys.json\n\
        Sigstore bounds keys by time and not by index of the log, so these hold every key without its range.")]
    Trust(Trust),
    /// Make a data directory for another host of the same log, which serves the same database: with the keys, the token and the secrets of this
    /// one.
    #[command(
        after_help = "Example:\n  stepseal keys copy --data ./stepseal-data --into ./second\n  \
        stepseal serve --data ./second --database postgres://stepseal@db.example/stepseal\n\n\
        Take it to the other machine by a way that nobody reads along: whoever has the keys signs for the log. Secrets that are set later, and keys \
        that take the place of these, are copied again."
    )]
    Copy(CopyTo),
    /// Put a new key in the place of the one in use. The host must be stopped.
    #[command(
        after_help = "Example:\n  stepseal keys rotate record --actor dana\n\n\
        The rotation is a record of the log. Both keys count until the old one is revoked: give verifiers the new trust file first, and then \
        run `stepseal keys revoke`. Until then heads are signed by both log keys; records by the new record key alone."
    )]
    Rotate(Rotate),
    /// End a key that another one has taken the place of. The host must be stopped.
    #[command(
        after_help = "Example:\n  stepseal keys revoke sha256:8e1d… --actor dana\n\n\
        The revocation is a record of the log. What a record key signed before stays believed, and nothing it signs from here on. \
        Heads that a revoked log key signed are not believed any more under the new trust file: get those receipts again."
    )]
    Revoke(Revoke),
    #[command(subcommand)]
    Approver(approver::Approver),
    #[command(subcommand)]
    Root(root::Root),
}

/// What `keys init` is given.
#[derive(Args, Debug)]
pub(super) struct Init {
    /// Name of the log, a host and path such as example.org/payments. Default: derived from its key
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The trust file of `verify`, with the keys of every role.
    Stepseal,
    /// Sigstore's `trusted_root.json`: the log's keys.
    SigstoreTrustedRoot,
    /// The record keys, as an object of Sigstore public keys by the hint in the bundles.
    SigstoreKeys,
}

/// What `keys trust` is given.
#[derive(Args, Debug)]
pub(super) struct Trust {
    /// Whose form the keys take.
    #[arg(long, value_name = "FORMAT", default_value = "stepseal")]
    format: Form,
    /// Take the keys from this trust file instead of asking the host.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Where to put it. Default: stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there.
    #[arg(long)]
    force: bool,
    /// List this root key in it and sign it with that: FILE.sig is written beside it.
    #[arg(long, value_name = "KEY", requires = "out", conflicts_with = "format")]
    sign: Option<PathBuf>,
    /// List this root key in it too, as `keys root init` printed it: it may vouch for the next one.
    #[arg(long = "root", value_name = "SPKI", value_parser = PublicKey::from_spki_base64, requires = "sign")]
    roots: Vec<PublicKey>,
}

/// What `keys copy` is given.
#[derive(Args, Debug)]
pub(super) struct CopyTo {
    /// The data directory to make; one that is there gets the keys of this one.
    #[arg(long, value_name = "DIRECTORY")]
    into: PathBuf,
}

/// What `keys rotate` is given.
#[derive(Args, Debug)]
pub(super) struct Rotate {
    /// Which key.
    #[arg(value_enum)]
    role: Role,
}

/// What `keys revoke` is given.
#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// The key's id, as `keys show` shows it.
    id: Digest,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Records.
    Record,
    /// Heads of the log.
    Log,
}

impl Keys {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Init(command) => {
                let held = context.data.hold()?;
                if held.dir().database().exists() || held.dir().log_key().exists() {
                    return Err(Usage(format!(
                        "{} has a log already: stepseal keys show",
                        held.dir().root().display()
                    ))
                    .into());
                }
                let rows = offline(context, &held, command.origin, async |opened| {
                    Ok(opened.engine.keys().await?)
                })?;
                show(context, &rows)
            }
            Self::Show => {
                let trust = TrustFile::parse(&trust(context)?)?;
                show(context, &rows_of(trust))
            }
            Self::Trust(command) => command.run(context),
            Self::Copy(command) => {
                let held = DataDir::new(&command.into).hold()?;
                held.copy_keys(&context.data)?;
                context.output.note(&format!(
                    "{} has the keys of {}: stepseal serve --data {} --database …",
                    held.dir().root().display(),
                    context.data.root().display(),
                    held.dir().root().display(),
                ));
                Ok(Answer::Yes)
            }
            Self::Rotate(command) => command.run(context),
            Self::Revoke(command) => command.run(context),
            Self::Approver(command) => command.run(context),
            Self::Root(command) => command.run(context),
        }
    }
}

impl Trust {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let trust = match &self.from {
            Some(file) => files::read(file, "the trust file", files::TRUST_BYTES_MAX)?,
            None => trust(context)?,
        };
        let mut trust = TrustFile::parse(&trust).context("this is no trust file")?;
        let root = self.sign.as_deref().map(files::read_key).transpose()?;
        let roots = root.iter().map(SigningKey::public).chain(self.roots);
        for root in roots {
            if !trust.root.contains(&root) {
                trust.root.push(root);
            }
        }
        // A file that a reader would refuse, such as one with a key in two roles, is not made.
        let trust = TrustFile::parse(&trust.to_json())?;
        let keys = match self.format {
            Form::Stepseal => trust.to_json(),
            Form::SigstoreTrustedRoot => sigstore::trusted_root(&trust),
            Form::SigstoreKeys => sigstore::record_keys(&trust),
        };
        let Some(out) = self.out else {
            context.output.bytes(&keys)?;
            return Ok(Answer::Yes);
        };
        files::write(&out, &keys, self.force)?;
        if let Some(root) = &root {
            files::write(&root::signature_of(&out), &vouch(&keys, root), self.force)?;
        }
        Ok(Answer::Yes)
    }
}

impl Rotate {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let role = match self.role {
            Role::Record => KeyRole::Record,
            Role::Log => KeyRole::Log,
        };
        let held = context.data.hold()?;
        let rows = offline(context, &held, None, async |opened| {
            let next = held.next_key(role, &SystemClock)?;
            let key = next.public();
            opened.engine.rotate_key(role, key, actor(context)).await?;
            Ok(opened.engine.keys().await?)
        })?;
        // What the database says now puts the new key's file in the place of the old one's.
        offline(context, &held, None, async |_| Ok(()))?;
        show(context, &rows)
    }
}

impl Revoke {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let held = context.data.hold()?;
        let rows = offline(context, &held, None, async |opened| {
            let row = opened.engine.revoke_key(&self.id, actor(context)).await?;
            if row.role == KeyRole::Log {
                held.forget_log_key_before()?;
            }
            Ok(opened.engine.keys().await?)
        })?;
        show(context, &rows)
    }
}

/// Does something to a log that no host serves.
fn offline<T>(
    context: &Context,
    held: &Held,
    origin: Option<String>,
    work: impl AsyncFnOnce(&Opened) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    block_on(async {
        let options = OpenOptions {
            database: context.database.clone(),
            origin,
            ..OpenOptions::default()
        };
        let opened = Opened::open(held, options).await?;
        let done = work(&opened).await;
        opened.close().await;
        done
    })
}

/// The trust file of the host, or of the data directory that no host serves.
fn trust(context: &Context) -> anyhow::Result<Vec<u8>> {
    let stopped =
        context.url.is_none() && context.data.log_key().exists() && !context.data.is_held();
    if !stopped {
        return Ok(context.client()?.bytes("/v1/trust")?);
    }
    let held = context.data.hold()?;
    offline(context, &held, None, async |opened| {
        Ok(opened.engine.trust().await?)
    })
}

/// The keys of a trust file.
fn rows_of(trust: TrustFile) -> Vec<KeyRow> {
    let log = trust.log.into_iter().map(|key| KeyRow {
        role: KeyRole::Log,
        key: key.key().clone(),
        from_index: 0,
        to_index: None,
    });
    let records = trust.records.into_iter().map(|key| KeyRow {
        role: KeyRole::Record,
        key: key.key,
        from_index: key.from_index,
        to_index: key.to_index,
    });
    log.chain(records).collect()
}

/// Says which key was made.
fn made(context: &Context, key: &SigningKey) -> anyhow::Result<Answer> {
    let key = key.public();
    let value = json!({"id": key.id(), "spki": key.spki_base64()});
    context.output.result(&value, || key.spki_base64())?;
    Ok(Answer::Yes)
}

/// Where a key ends to count, for people.
fn ends(to_index: Option<u64>) -> String {
    to_index.map_or_else(|| "counts".to_owned(), |to| to.to_string())
}

fn show(context: &Context, rows: &[KeyRow]) -> anyhow::Result<Answer> {
    let items = rows.iter().map(|row| {
        json!({
            "role": row.role.as_str(),
            "id": row.key.id(),
            "spki": row.key.spki_base64(),
            "from_index": row.from_index,
            "to_index": row.to_index,
        })
    });
    let value = json!({ "items": items.collect::<Vec<_>>() });
    context.output.result(&value, || {
        let lines = rows.iter().map(|row| {
            [
                row.role.to_string(),
                row.key.id().to_string(),
                row.from_index.to_string(),
                ends(row.to_index),
            ]
        });
        table(["role", "id", "from", "to"], lines)
    })?;
    Ok(Answer::Yes)
}
