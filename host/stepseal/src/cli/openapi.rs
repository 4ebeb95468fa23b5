//! `stepseal openapi`: the REST API as an `OpenAPI` document.

use clap::Args;

use super::{Answer, Context};

/// Print the REST API as an `OpenAPI` 3.1 document. Needs no host.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  stepseal openapi > openapi.json")]
pub(super) struct Openapi {}

impl Openapi {
    #[expect(clippy::unused_self, reason = "subcommands are run alike")]
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let document = serde_json::to_value(crate::api::openapi())?;
        context.output.json(&document)?;
        Ok(Answer::Yes)
    }
}
