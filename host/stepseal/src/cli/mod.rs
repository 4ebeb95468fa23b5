//! The command line: one file per subcommand.
//!
//! stdout is data, stderr is for people. Exit codes: 0 done, 1 it ran and the answer is no, 2 usage,
//! 3 the host could not be reached.

mod approval;
mod archive;
mod client;
mod compile_worker;
mod demo;
mod doctor;
mod files;
mod keys;
mod log;
mod openapi;
mod opened;
mod output;
mod plugin;
mod policy;
mod receipt;
mod replay;
mod runtime;
mod schedule;
mod secret;
mod serve;
mod task;
mod tenant;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use stepseal_receipts::record;

use crate::config::{ConfigError, DATA_DEFAULT, HostAddress};
use crate::data_dir::DataDir;
use crate::engine::Actor;
use crate::store::postgres::DatabaseUrl;
use client::{Client, ClientError};
use output::{Format, Output};

/// Runs the steps of AI agents' plans in sandboxes, under policies, and signs what ran.
#[derive(Debug, Parser)]
#[command(
    name = "stepseal",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  stepseal serve\n  stepseal task submit plan.json --watch\n  \
                  stepseal verify task.stepseal.json --trust trust.json\n\n\
                  Exit codes: 0 done; 1 it ran and the answer is no; 2 usage; 3 the host could not be reached."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand understands.
#[derive(Args, Debug)]
struct Global {
    /// What stdout is for: `text` for people, `json` for programs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    output: Format,
    /// Data directory: a host's own, or where to find the host on this machine and its token.
    #[arg(long, global = true, env = "STEPSEAL_DATA", hide_env_values = true, default_value = DATA_DEFAULT, value_name = "DIR")]
    data: PathBuf,
    /// The PostgreSQL database of the data directory's log, instead of a file in it: postgres://user@host:port/name. The environment, or
    /// `~/.pgpass`, is the better place for its password.
    #[arg(
        long,
        global = true,
        env = "STEPSEAL_DATABASE",
        hide_env_values = true,
        value_name = "URL"
    )]
    database: Option<String>,
    /// The host to talk to, instead of the one that serves the data directory.
    #[arg(
        long,
        global = true,
        env = "STEPSEAL_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,
    /// Its token. The environment is the better place: other users see command lines.
    #[arg(
        long,
        global = true,
        env = "STEPSEAL_TOKEN",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_name = "TOKEN"
    )]
    token: Option<String>,
    /// Who asks, for the record of what is done: 1 to 255 visible ASCII characters. Nobody checks it.
    #[arg(
        long,
        global = true,
        env = "STEPSEAL_ACTOR",
        hide_env_values = true,
        value_name = "NAME"
    )]
    actor: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Verify(verify::Verify),
    Replay(replay::Replay),
    #[command(subcommand)]
    Plugin(plugin::Plugin),
    #[command(subcommand)]
    Secret(secret::Secret),
    #[command(subcommand)]
    Tenant(tenant::Tenant),
    #[command(subcommand)]
    Policy(policy::Policy),
    #[command(subcommand)]
    Task(task::Task),
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    #[command(subcommand)]
    Approval(approval::Approval),
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    #[command(subcommand)]
    Log(log::Log),
    #[command(subcommand)]
    Keys(keys::Keys),
    Doctor(doctor::Doctor),
    Openapi(openapi::Openapi),
    #[command(hide = true)]
    CompileWorker(compile_worker::CompileWorker),
}

/// What a command came to, where nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It was done.
    Yes,
    /// It ran and the answer is no.
    No,
}

impl Answer {
    fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// What a command works with.
struct Context {
    output: Output,
    data: DataDir,
    /// Where the database of `data` is, where it is not in it.
    database: Option<DatabaseUrl>,
    url: Option<String>,
    token: Option<String>,
    actor: Option<String>,
}

impl Context {
    /// A client of the host that was named, or that serves the data directory.
    fn client(&self) -> Result<Client, ConfigError> {
        let address = HostAddress::find(self.url.as_deref(), self.token.as_deref(), &self.data)?;
        Ok(Client::new(address).acting_as(self.actor.clone()))
    }

    /// The same for what needs no token.
    fn public_client(&self) -> Result<Client, ConfigError> {
        let address = HostAddress::find_public(self.url.as_deref(), &self.data)?;
        Ok(Client::new(address))
    }
}

/// Who asks, as a record will say.
fn actor(context: &Context) -> Actor {
    let name = context.actor.clone();
    name.map(|name| record::Actor { name, role: None })
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let output = Output::new(cli.global.output);
    // Not by clap, which would repeat what it cannot read, and so a password.
    let database = match cli.global.database.as_deref().map(str::parse).transpose() {
        Ok(database) => database,
        Err(error) => return ExitCode::from(report(output, &ConfigError::Database(error).into())),
    };
    let context = Context {
        output,
        data: DataDir::new(cli.global.data),
        database,
        url: cli.global.url,
        token: cli.global.token,
        actor: cli.global.actor,
    };
    match cli.command.run(&context) {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => ExitCode::from(report(context.output, &error)),
    }
}

impl Command {
    fn run(self, context: &Context) -> anyhow::Result<Answer> {
        match self {
            Self::Serve(command) => command.run(context),
            Self::Demo(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Replay(command) => command.run(context),
            Self::Plugin(command) => command.run(context),
            Self::Secret(command) => command.run(context),
            Self::Tenant(command) => command.run(context),
            Self::Policy(command) => command.run(context),
            Self::Task(command) => command.run(context),
            Self::Schedule(command) => command.run(context),
            Self::Approval(command) => command.run(context),
            Self::Receipt(command) => command.run(context),
            Self::Log(command) => command.run(context),
            Self::Keys(command) => command.run(context),
            Self::Doctor(command) => command.run(context),
            Self::Openapi(command) => command.run(context),
            Self::CompileWorker(command) => command.run(context),
        }
    }
}

/// Says what went wrong and gives the exit code for it.
fn report(output: Output, error: &anyhow::Error) -> u8 {
    // Whoever read our output has seen enough, as `head` does.
    if error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    {
        return 0;
    }
    output.error(error);
    exit_code(error)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        return 2;
    }
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::NoHost(_)) => return 3,
        Some(
            ConfigError::NoToken(_)
            | ConfigError::BadUrl(_)
            | ConfigError::Remote(_)
            | ConfigError::Witnesses(_)
            | ConfigError::Lease(_)
            | ConfigError::Components(_)
            | ConfigError::Database(_),
        ) => return 2,
        Some(ConfigError::DataDir(_)) | None => {}
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
