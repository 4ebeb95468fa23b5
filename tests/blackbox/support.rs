//! What several tests do beyond what `host/` offers: running the command line, and waiting for tasks whatever their end.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::host::Host;
use crate::host::client::Client;

/// How long a command may take before the test fails: long, since a machine may be busy, and reached only by a bug.
const COMMAND_TIMEOUT: Duration = Duration::from_mins(5);

/// The most that the policy of [`allow`] lets a step spend without a person, and the most it lets a person approve.
pub(crate) const APPROVAL_ABOVE: &str = "1000.00";
const DENY_ABOVE: &str = "10000.00";

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it printed, which must be one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This command, which must have ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// This command, which must have said all of this on stderr.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "{part:?} was not said: {self:#?}"
            );
        }
        self
    }
}

/// Runs the built program to its end, with nobody at its terminal.
pub(crate) fn stepseal(arguments: &[&str]) -> Ran {
    stepseal_in(Path::new("."), arguments, b"")
}

/// The same in a directory, with this on stdin.
pub(crate) fn stepseal_in(dir: &Path, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stepseal"))
        .args(arguments)
        .current_dir(dir)
        .env_remove("STEPSEAL_DATA")
        .env_remove("STEPSEAL_DATABASE")
        .env_remove("STEPSEAL_URL")
        .env_remove("STEPSEAL_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the built program can be started");
    let mut input = child.stdin.take().expect("it was asked for");
    // A program that does not want its stdin may be gone by now.
    let _ = input.write_all(stdin);
    drop(input);
    ended_in_time(child, arguments)
}

fn ended_in_time(child: Child, arguments: &[&str]) -> Ran {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a child has a pid");
    let (done, result) = channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = result.recv_timeout(COMMAND_TIMEOUT) else {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        panic!("stepseal {arguments:?} does not end");
    };
    let output = output.expect("a child can be waited for");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    let code = output.status.code().expect("nobody killed it");
    Ran {
        code,
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Lets these step types of a plugin run without a person, and spend up to [`APPROVAL_ABOVE`] dollars.
pub(crate) fn allow(host: &Host, plugin: &str, step_types: &[&str]) {
    let limits = json!({"USD": {"approval_above": APPROVAL_ABOVE, "deny_above": DENY_ABOVE}});
    let uses: Vec<String> = step_types
        .iter()
        .map(|step_type| format!("{plugin}/{step_type}"))
        .collect();
    host.bind(
        "spending-limit",
        &json!({"limits": limits, "spends_nothing": uses}),
        &json!({"plugin": plugin}),
    );
}

/// The task once it is over, however it ended.
#[track_caller]
pub(crate) fn ended(client: &Client, task: &str) -> Value {
    // The stream ends after the task's last event.
    client.stream(task, None).for_each(drop);
    let task = client.task(task);
    let is_over = ["succeeded", "failed", "denied", "cancelled"]
        .iter()
        .any(|state| task["state"] == *state);
    assert!(is_over, "its events are over and it is not: {task:#}");
    task
}

/// Waits until this has happened to a task.
#[track_caller]
pub(crate) fn happened(client: &Client, task: &str, kind: &str) {
    assert!(
        client.stream(task, None).any(|event| event.kind == kind),
        "{kind} never happened to task {task}"
    );
}
