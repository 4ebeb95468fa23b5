//! `stepseal schedule`: submissions that the host makes by itself.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::client::encode;
use super::output::{one_line, table};
use super::{Answer, Context, files};
use crate::api::wire;

/// Submissions that the host makes by itself, at the times of a cron expression.
#[derive(Debug, Subcommand)]
pub(super) enum Schedule {
    /// Put a schedule in the place of the one with its name. Its times begin now.
    #[command(
        after_help = "Example:\n  stepseal schedule put nightly plan.json --cron '0 3 * * *' --time-zone Europe/Berlin\n\n\
        Names of plugins and policies are looked up each time that it is due, as if somebody had submitted the file then: write\n\
        plugin@version or plugin@sha256:... in the plan to say which one is meant. A host that was down makes up for the last\n\
        time it missed, and no others. Its tasks have the label stepseal.schedule=NAME."
    )]
    Put(Put),
    /// List schedules.
    #[command(after_help = "Example:\n  stepseal schedule list")]
    List,
    /// Show a schedule and what it submits, as JSON.
    #[command(after_help = "Example:\n  stepseal schedule show nightly")]
    Show(Named),
    /// Remove a schedule. What it submitted goes on.
    #[command(after_help = "Example:\n  stepseal schedule remove nightly")]
    Remove(Named),
}

/// What `schedule put` is given.
#[derive(Args, Debug)]
pub(super) struct Put {
    /// Name of the schedule.
    name: String,
    /// What to submit, as `task submit` takes it; `-` reads stdin.
    file: PathBuf,
    /// Minute, hour, day of month, month and day of week; a second before them and a year after them where they matter.
    #[arg(long, value_name = "EXPRESSION")]
    cron: String,
    /// The time zone in which it counts.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// What to do while the last task is not over.
    #[arg(long, value_enum, default_value_t = Overlap::Skip)]
    overlap: Overlap,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Overlap {
    /// Leave this time out.
    Skip,
    /// Submit another one.
    Allow,
}

/// What `schedule show` and `schedule remove` are given.
#[derive(Args, Debug)]
pub(super) struct Named {
    /// Name of the schedule.
    name: String,
}

impl Schedule {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Put(command) => return command.run(context),
            Self::List => {
                let client = context.client()?;
                let answer = client.get("/v1/schedules")?;
                let list: wire::List<wire::Schedule> = client.decode(&answer)?;
                context.output.result(&answer, || {
                    table(
                        ["schedule", "cron", "time zone", "next", "last"],
                        list.items.iter().map(row),
                    )
                })?;
            }
            Self::Show(Named { name }) => {
                let answer = context.client()?.get(&place(&name))?;
                let text = serde_json::to_string_pretty(&answer)?;
                context.output.result(&answer, || text)?;
            }
            Self::Remove(Named { name }) => context.client()?.delete(&place(&name))?,
        }
        Ok(Answer::Yes)
    }
}

impl Put {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let new = wire::NewSchedule {
            submission: files::read_json(&self.file, "the submission")?,
            cron: self.cron,
            time_zone: self.time_zone,
            overlap: match self.overlap {
                Overlap::Skip => wire::Overlap::Skip,
                Overlap::Allow => wire::Overlap::Allow,
            },
        };
        let client = context.client()?;
        let answer = client.put(&place(&self.name), &new)?;
        let schedule: wire::Schedule = client.decode(&answer)?;
        context.output.result(&answer, || {
            format!("{} is due at {}", schedule.name, next(&schedule))
        })?;
        Ok(Answer::Yes)
    }
}

fn place(name: &str) -> String {
    format!("/v1/schedules/{}", encode(name))
}

fn next(schedule: &wire::Schedule) -> String {
    schedule
        .next
        .map_or("no time".to_owned(), |next| next.to_string())
}

fn row(schedule: &wire::Schedule) -> [String; 5] {
    let last = schedule.last.as_ref().map(|last| {
        let outcome = match last.outcome {
            wire::FiringOutcome::Submitted => "submitted",
            wire::FiringOutcome::Skipped => "skipped",
            wire::FiringOutcome::Refused => "refused",
        };
        let what = match (&last.message, &last.task) {
            (Some(message), _) => one_line(message).into_owned(),
            (None, task) => task.clone().unwrap_or_default(),
        };
        format!("{} {outcome}: {what}", last.due)
    });
    [
        schedule.name.clone(),
        schedule.cron.clone(),
        schedule.time_zone.clone(),
        next(schedule),
        last.unwrap_or_default(),
    ]
}
