//! `stepseal doctor`: what is in force, what the machine allows, and what to do about each problem.

mod engine;
mod machine;

use std::fs::Metadata;
use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::output::{bytes, one_line};
use super::runtime::block_on;
use super::{Answer, Context};
use crate::config::{ConfigError, HostAddress};
use crate::data_dir::{DataDir, mode_of};
use crate::store::postgres::DatabaseUrl;
use crate::store::postgres::version::look;
use crate::store::sqlite::version::schema_version;

/// Free bytes below which a host should not be left alone.
const DISK_FREE_MIN: u64 = 1 << 30;
/// Mode bits that let anybody but the owner in.
const OTHERS_MODE: u32 = 0o077;

/// Look at this machine, the data directory and the host, and say what to do about each problem.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  stepseal doctor\n  stepseal --data /var/lib/stepseal doctor --output json\n\n\
    Changes nothing. Exit code 1 where something is wrong; a warning is not."
)]
pub(super) struct Doctor {}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    Problem,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "PROBLEM",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    what: &'static str,
    state: State,
    found: String,
    /// What to do, where something is to be done.
    remedy: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn bad(
        what: &'static str,
        state: State,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            what,
            state,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }
}

impl Doctor {
    #[expect(clippy::unused_self, reason = "subcommands are run alike")]
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let mut findings = vec![
            Finding::ok("program", concat!("stepseal ", env!("CARGO_PKG_VERSION"))),
            machine::processors(),
            machine::memory(),
            machine::page_scan(),
            machine::protection_keys(),
        ];
        let progress = context.output.progress("looking");
        findings.extend(engine::findings());
        findings.extend(data_dir(&context.data, context.database.as_ref()));
        findings.push(host(context));
        progress.finish_and_clear();
        let items: Vec<Value> = findings.iter().map(to_json).collect();
        context
            .output
            .result(&json!({ "items": items }), || to_text(&findings))?;
        let is_well = findings
            .iter()
            .all(|finding| finding.state != State::Problem);
        Ok(Answer::of(is_well))
    }
}

fn to_json(finding: &Finding) -> Value {
    json!({
        "what": finding.what,
        "state": finding.state.as_str().to_lowercase(),
        "found": finding.found,
        "remedy": finding.remedy,
    })
}

fn to_text(findings: &[Finding]) -> String {
    let lines = findings.iter().map(|finding| {
        let line = format!(
            "{:<8} {:<10} {}",
            finding.state.as_str(),
            finding.what,
            one_line(&finding.found)
        );
        match &finding.remedy {
            Some(remedy) => format!("{line}\n{:19} -> {}", "", one_line(remedy)),
            None => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn data_dir(data: &DataDir, server: Option<&DatabaseUrl>) -> Vec<Finding> {
    let root = data.root();
    if !root.exists() {
        let found = format!("{} is not there yet", root.display());
        let mut findings = vec![Finding::bad(
            "data",
            State::Warning,
            found,
            "`stepseal serve` makes it, or name another with --data",
        )];
        findings.extend(server.map(on_server));
        return findings;
    }
    let mut findings = vec![private("data", root, 0o700)];
    for secret in data.secrets() {
        if secret.exists() {
            findings.push(private("secret", &secret, 0o600));
        }
    }
    findings.push(keys(data));
    findings.push(match server {
        Some(server) if data.database().exists() => elsewhere(server),
        Some(server) => on_server(server),
        None => database(&data.database()),
    });
    findings.push(compiled(&data.cache()));
    findings.push(disk(root));
    findings
}

/// Whether only the owner gets at a file.
fn private(what: &'static str, path: &Path, wanted: u32) -> Finding {
    match mode_of(path) {
        Ok(mode) if mode & OTHERS_MODE == 0 => {
            Finding::ok(what, format!("{} (mode {mode:04o})", path.display()))
        }
        Ok(mode) => Finding::bad(
            what,
            State::Problem,
            format!("{} is open to others (mode {mode:04o})", path.display()),
            format!(
                "chmod {wanted:o} {}; if others may have read it, treat it as known to them",
                path.display()
            ),
        ),
        Err(error) => Finding::bad(
            what,
            State::Problem,
            format!("{}: {error}", path.display()),
            "run as the user that the host runs as",
        ),
    }
}

/// Keys come in pairs and with the database, or not at all.
fn keys(data: &DataDir) -> Finding {
    let keys = [data.record_key(), data.log_key()];
    let missing: Vec<String> = keys
        .iter()
        .filter(|key| !key.exists())
        .map(|key| key.display().to_string())
        .collect();
    if missing.is_empty() {
        return Finding::ok("keys", "the record key and the log key are there");
    }
    if data.database().exists() {
        let found = format!("there is a database, but not {}", missing.join(" and "));
        return Finding::bad(
            "keys",
            State::Problem,
            found,
            "put the keys back from the backup: without them nobody can go on with this log",
        );
    }
    Finding::bad(
        "keys",
        State::Warning,
        "none were made yet",
        "`stepseal serve` makes them at its first start",
    )
}

fn database(path: &Path) -> Finding {
    if !path.exists() {
        return Finding::bad(
            "database",
            State::Warning,
            "there is none yet",
            "`stepseal serve` makes it at its first start",
        );
    }
    let size = path.metadata().map(|file| file.len()).unwrap_or_default();
    match block_on(async { Ok(schema_version(path).await?) }) {
        Ok(Some(version)) => Finding::ok(
            "database",
            format!("schema version {version}, {}", bytes(size)),
        ),
        Ok(None) => Finding::bad(
            "database",
            State::Warning,
            "it is empty",
            "`stepseal serve` sets it up",
        ),
        Err(error) => Finding::bad(
            "database",
            State::Problem,
            format!("{} cannot be read: {error:#}", path.display()),
            "run as the user that the host runs as; if it is damaged, go back to a backup",
        ),
    }
}

/// A database on a server.
fn on_server(server: &DatabaseUrl) -> Finding {
    match block_on(async { Ok(look(server).await?) }) {
        Ok(seen) => match seen.schema {
            Some(version) => Finding::ok(
                "database",
                format!(
                    "{server}: schema version {version}, {}, PostgreSQL {}",
                    bytes(seen.bytes),
                    seen.server
                ),
            ),
            None => Finding::bad(
                "database",
                State::Warning,
                format!("{server} is empty, PostgreSQL {}", seen.server),
                "`stepseal serve` sets it up",
            ),
        },
        Err(error) => Finding::bad(
            "database",
            State::Problem,
            format!("{error:#}"),
            "see there; a host cannot start without it",
        ),
    }
}

/// The directory has a database of its own.
fn elsewhere(server: &DatabaseUrl) -> Finding {
    Finding::bad(
        "database",
        State::Problem,
        format!("the log of this directory is in a file of it, and --database names {server}"),
        "leave out --database, or choose another directory with --data",
    )
}

/// Compiled components, which `serve --compiled-mib` bounds.
fn compiled(dir: &Path) -> Finding {
    let sizes = std::fs::read_dir(dir).map(|entries| {
        let files = entries.filter_map(|entry| entry.ok()?.metadata().ok());
        let sizes: Vec<u64> = files
            .filter(Metadata::is_file)
            .map(|file| file.len())
            .collect();
        (sizes.len(), sizes.iter().sum())
    });
    match sizes {
        Ok((count, sum)) => Finding::ok("compiled", format!("{count} files, {}", bytes(sum))),
        Err(error) => Finding::bad(
            "compiled",
            State::Warning,
            format!("{} cannot be listed: {error}", dir.display()),
            "components are compiled again at every start: run as the user that the host runs as",
        ),
    }
}

fn disk(root: &Path) -> Finding {
    match machine::disk_free(root) {
        Ok(free) if free >= DISK_FREE_MIN => Finding::ok("disk", format!("{} free", bytes(free))),
        Ok(free) => Finding::bad(
            "disk",
            State::Warning,
            format!("{} free", bytes(free)),
            "make room: a host that cannot write stops taking tasks",
        ),
        Err(error) => Finding::bad(
            "disk",
            State::Warning,
            format!("free space is not known: {error}"),
            "look with df",
        ),
    }
}

/// Whether the host answers, takes the token and can take tasks.
fn host(context: &Context) -> Finding {
    let address = match HostAddress::find(
        context.url.as_deref(),
        context.token.as_deref(),
        &context.data,
    ) {
        Ok(address) => address,
        Err(ConfigError::NoHost(_)) => {
            return Finding::bad(
                "host",
                State::Warning,
                "none serves this data directory",
                "stepseal serve",
            );
        }
        Err(error) => return Finding::bad("host", State::Problem, error.to_string(), "see above"),
    };
    let stale = context.url.is_none() && !context.data.is_held();
    let client = Client::new(address);
    if stale {
        let found = format!("the last one listened on {} and is gone", client.url());
        return Finding::bad("host", State::Warning, found, "stepseal serve");
    }
    match client.get("/readyz") {
        Ok(_) => Finding::ok("host", format!("{} is ready for tasks", client.url())),
        Err(error) => Finding::bad(
            "host",
            State::Problem,
            error.to_string(),
            "its log (stderr of `stepseal serve`) says more",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_open_to_others_is_a_problem_with_a_remedy() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::new(temp.path().join("data"));
        let held = data.hold().unwrap();
        held.keys(None, &SystemClock).unwrap();
        assert!(
            data_dir(&data, None)
                .iter()
                .all(|finding| finding.state != State::Problem)
        );
        std::fs::set_permissions(data.log_key(), Permissions::from_mode(0o640)).unwrap();
        let findings = data_dir(&data, None);
        let problem = findings
            .iter()
            .find(|finding| finding.state == State::Problem)
            .expect("a problem");
        assert!(
            problem.remedy.as_ref().unwrap().starts_with("chmod 600"),
            "{problem:?}"
        );
    }

    #[test]
    fn a_database_without_its_keys_is_a_problem() {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::new(temp.path());
        std::fs::write(data.database(), b"").unwrap();
        assert_eq!(keys(&data).state, State::Problem);
        std::fs::remove_file(data.database()).unwrap();
        assert_eq!(keys(&data).state, State::Warning);
    }
}
