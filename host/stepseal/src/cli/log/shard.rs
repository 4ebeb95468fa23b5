//! `stepseal log open-shard`: a new log that continues one whose newest database is lost.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::opened::{OpenOptions, Opened, database};
use super::super::output::one_line;
use super::super::runtime::block_on;
use super::super::{Answer, Context, Usage, actor};
use crate::data_dir::DataDir;
use crate::engine::Previous;
use crate::store::Store as _;

/// What `log open-shard` is given. The log that is continued is that of `--data`.
#[derive(Args, Debug)]
pub(in crate::cli) struct OpenShard {
    /// The data directory of the new log; it is made.
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// The PostgreSQL database of the new log, instead of a file in its data directory. That of the log that is continued is `--database`.
    #[arg(
        long,
        env = "STEPSEAL_INTO_DATABASE",
        hide_env_values = true,
        value_name = "URL"
    )]
    into_database: Option<String>,
    /// Name of the new log, a host and path such as example.org/payments-2. Default: derived from its key
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
}

impl OpenShard {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let old = &context.data;
        if context.database.is_none() && !old.database().exists() {
            return Err(Usage(format!(
                "{} holds no log to continue: name its data directory with --data",
                old.root().display()
            ))
            .into());
        }
        let new = DataDir::new(&self.into);
        if new.root().exists() {
            let root = new.root().display();
            return Err(Usage(format!("{root} is there already: choose another --into")).into());
        }
        let into_database = self.into_database.as_deref().map(str::parse).transpose();
        let into_database =
            into_database.map_err(|error| Usage(format!("--into-database: {error}")))?;
        // Nobody serves the old one meanwhile.
        let _old = old.hold()?;
        let progress = context
            .output
            .progress("opening a log that continues the other");
        let done = block_on(async {
            let from = database(old, context.database.as_ref(), false).await?;
            let previous = Previous::of(&from, &old.head()).await?;
            let continued = previous.head.clone();
            let held = new.hold()?;
            let options = OpenOptions {
                database: into_database,
                origin: self.origin,
                previous: Some(previous),
                ..OpenOptions::default()
            };
            let opened = Opened::open(&held, options).await?;
            let carried = opened
                .engine
                .carry_over(&from, &old.components(), actor(context))
                .await;
            let name = opened.engine.origin().to_owned();
            opened.close().await;
            from.close().await;
            Ok((continued, name, carried?))
        });
        progress.finish_and_clear();
        let (head, origin, carried) = done?;
        let value = json!({
            "origin": origin,
            "previous": {"origin": head.origin, "size": head.size, "root": head.root},
            "components": carried.components,
            "grants": carried.grants,
            "policies": carried.policies,
            "approvers": carried.approvers,
            "buckets": carried.buckets,
            "schedules": carried.schedules,
        });
        context.output.result(&value, || {
            format!(
                "the log {} continues {} from its {} records on\n  carried over: {} components, {} grants, {} policies, {} approvers, {} buckets, {} schedules\n  \
                 not carried over: tasks. What they did after the copy was made is not known here\n  \
                 next: stepseal serve --data {}",
                one_line(&origin),
                one_line(&head.origin),
                head.size,
                carried.components,
                carried.grants,
                carried.policies,
                carried.approvers,
                carried.buckets,
                carried.schedules,
                new.root().display()
            )
        })?;
        Ok(Answer::Yes)
    }
}
