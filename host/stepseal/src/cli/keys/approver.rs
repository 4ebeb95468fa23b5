//! `stepseal keys approver`: keys of people who sign their own decisions.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::keys::PublicKey;

use super::super::client::encode;
use super::super::output::{one_line, table};
use super::super::{Answer, Context, Usage, files};
use crate::api::wire;

/// Keys of people who sign their own decisions.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Approver {
    /// Make a key pair, where the approver works: no host is asked.
    #[command(
        after_help = "Example:\n  stepseal keys approver init --out dana.pem\n\n\
        It prints the public key. Give that to the operator of the host; the file stays with the approver."
    )]
    Init(Init),
    /// Give a person a key: from then on nobody decides in that name without it.
    #[command(
        after_help = "Example:\n  stepseal keys approver add dana MCowBQYDK2VwAyEA… --actor olga\n\n\
        It is a record of the log, and the key stands in the trust file: give verifiers the new one. A person may have several keys."
    )]
    Add(Add),
    /// List the keys that people have or had.
    #[command(after_help = "Example:\n  stepseal keys approver list")]
    List,
    /// Take a key from a person. What it signed and a record speaks of stays believed.
    #[command(
        after_help = "Example:\n  stepseal keys approver remove sha256:8e1d… --actor olga\n\n\
        It is a record of the log. Where it was the last key of that name, nobody decides in it until it has another."
    )]
    Remove(Remove),
}

/// What `keys approver init` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Init {
    /// Where to put the private key.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What `keys approver add` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Add {
    /// Whose it is: the name of `approval approve --as`.
    name: String,
    /// The public key, as `keys approver init` printed it.
    #[arg(value_name = "SPKI")]
    key: String,
}

/// What `keys approver remove` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Remove {
    /// The key's id, as `keys approver list` shows it.
    id: Digest,
}

impl Approver {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Init(command) => super::made(context, &files::make_key(&command.out)?),
            Self::Add(command) => {
                let client = context.client()?;
                let key = PublicKey::from_spki_base64(&command.key)
                    .map_err(|error| Usage(error.to_string()))?;
                let body = wire::NewApprover {
                    name: command.name,
                    key,
                };
                let answer = client.post("/v1/approvers", &body)?;
                let added: wire::Approver = client.decode(&answer)?;
                context.output.result(&answer, || {
                    format!(
                        "{} signs what they decide, with the key {}",
                        one_line(&added.name),
                        added.id
                    )
                })?;
                Ok(Answer::Yes)
            }
            Self::List => list(context),
            Self::Remove(command) => {
                let id = encode(&command.id.to_string());
                context.client()?.delete(&format!("/v1/approvers/{id}"))?;
                Ok(Answer::Yes)
            }
        }
    }
}

fn list(context: &Context) -> anyhow::Result<Answer> {
    let client = context.client()?;
    let answer = client.get("/v1/approvers")?;
    let keys: wire::List<wire::Approver> = client.decode(&answer)?;
    context.output.result(&json!(keys), || {
        let lines = keys.items.iter().map(|key| {
            [
                one_line(&key.name).into_owned(),
                key.id.to_string(),
                key.from_index.to_string(),
                super::ends(key.to_index),
            ]
        });
        table(["name", "id", "from", "to"], lines)
    })?;
    Ok(Answer::Yes)
}
