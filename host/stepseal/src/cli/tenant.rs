//! `stepseal tenant`: clients with a token and tasks of their own.

use clap::{Args, Subcommand};

use super::client::encode;
use super::output::table;
use super::{Answer, Context};
use crate::api::wire;

/// Clients with a token and tasks of their own: one sees its tasks and no others, and changes nothing else of the host.
#[derive(Debug, Subcommand)]
pub(super) enum Tenant {
    /// Let a tenant in and print its token, which is shown this once.
    #[command(
        after_help = "Example:\n  stepseal tenant add treasury > treasury.token\n\n\
        Where the tenant is in already it gets another token, and the one before counts no more."
    )]
    Add(Named),
    /// List tenants.
    #[command(after_help = "Example:\n  stepseal tenant list")]
    List,
    /// Shut a tenant out: its token counts no more, and what it submitted goes on.
    #[command(after_help = "Example:\n  stepseal tenant remove treasury")]
    Remove(Named),
}

/// What `tenant add` and `tenant remove` are given.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Name of the tenant.
    name: String,
}

impl Tenant {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let client = context.client()?;
        let place = |name: &str| format!("/v1/tenants/{}", encode(name));
        match self {
            Self::Add(Named { name }) => {
                let answer = client.put(&place(&name), &())?;
                let added: wire::TenantToken = client.decode(&answer)?;
                context.output.result(&answer, || added.token.clone())?;
            }
            Self::List => {
                let answer = client.get("/v1/tenants")?;
                let list: wire::List<wire::Tenant> = client.decode(&answer)?;
                context.output.result(&answer, || {
                    let row =
                        |tenant: &wire::Tenant| [tenant.name.clone(), tenant.added.to_string()];
                    table(["tenant", "since"], list.items.iter().map(row))
                })?;
            }
            Self::Remove(Named { name }) => client.delete(&place(&name))?,
        }
        Ok(Answer::Yes)
    }
}
