//! `stepseal secret`: what the host injects into requests of steps.

use std::path::Path;

use clap::{Args, Subcommand};

use super::client::encode;
use super::output::one_line;
use super::{Answer, Context, Usage, files};
use crate::api::wire;

/// Secrets that the host injects into requests of steps; a grant says into which.
///
/// No command and no answer shows one again.
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Keep a secret, in the place of the one before. It is read from stdin.
    #[command(
        after_help = "Example:\n  stepseal secret set api-key < api-key.txt\n\n\
        One newline at the end is left out. It has 8 to 1,024 visible ASCII characters."
    )]
    Set(Named),
    /// List the names of all secrets.
    #[command(after_help = "Example:\n  stepseal secret list")]
    List,
    /// Forget a secret: requests that need it are refused from then on.
    #[command(after_help = "Example:\n  stepseal secret remove api-key")]
    Remove(Named),
}

/// What `secret set` and `secret remove` are given.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Name of the secret, as grants have it.
    name: String,
}

impl Secret {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        match self {
            Self::Set(Named { name }) => {
                let bytes = files::read(Path::new("-"), "the secret", SECRET_BYTES_MAX)?;
                let value = String::from_utf8(bytes)
                    .map_err(|_| Usage("the secret is not text".to_owned()))?;
                let value = value.strip_suffix('\n').unwrap_or(&value);
                let body = wire::NewSecret {
                    value: value.strip_suffix('\r').unwrap_or(value).to_owned(),
                };
                let answer = client.put(&format!("/v1/secrets/{}", encode(&name)), &body)?;
                context.output.result(&answer, || {
                    format!("the secret {} is kept", one_line(&name))
                })?;
            }
            Self::List => {
                let answer = client.get("/v1/secrets")?;
                let list: wire::List<wire::Secret> = client.decode(&answer)?;
                context.output.result(&answer, || {
                    let names = list.items.iter().map(|secret| one_line(&secret.name));
                    names.collect::<Vec<_>>().join("\n")
                })?;
            }
            Self::Remove(Named { name }) => {
                client.delete(&format!("/v1/secrets/{}", encode(&name)))?;
            }
        }
        Ok(Answer::Yes)
    }
}

/// Bytes that are read; the host says which of them it keeps.
const SECRET_BYTES_MAX: u64 = 16 << 10;
