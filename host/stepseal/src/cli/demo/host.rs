//! The host of the demo: this same program, as `serve`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::super::client::{Client, ClientError};
use super::story::Story;
use super::tasks::Teller;
use crate::config::HostAddress;
use crate::data_dir::{DataDir, mode_of};

/// How often it is looked whether the host has come up, or gone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many times it is looked: 60 seconds.
const LOOKS_MAX: u32 = 3000;
/// Lines of the host's log that are shown where the demo fails.
const LOG_LINES_SHOWN: usize = 20;

/// A running host. It is killed when this is dropped.
pub(super) struct Host {
    scratch: TempDir,
    data: DataDir,
    address: HostAddress,
    child: Child,
}

impl Host {
    /// Starts a host on an empty data directory and a free port, and waits until it is ready.
    pub(super) fn start(story: &Story) -> anyhow::Result<Self> {
        let _busy = story.busy("starting a host");
        let scratch = tempfile::Builder::new()
            .prefix("stepseal-demo-")
            .tempdir()
            .context("a temporary directory cannot be made")?;
        let data = DataDir::new(scratch.path().join("data"));
        let log = File::create(scratch.path().join("serve.log"))?;
        let program = std::env::current_exe().context("this program does not know where it is")?;
        let child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.root())
            .env_remove("STEPSEAL_LOG")
            .env_remove("STEPSEAL_DATABASE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("the host cannot be started")?;
        let mut host = Self {
            scratch,
            data,
            address: HostAddress {
                url: String::new(),
                token: None,
            },
            child,
        };
        match host.wait_until_ready() {
            Ok(address) => host.address = address,
            Err(error) => return Err(host.explain(error)),
        }
        // Some are there only while a key takes another's place.
        for secret in host.data.secrets().iter().filter(|file| file.exists()) {
            let mode = mode_of(secret).with_context(|| secret.display().to_string())?;
            ensure!(
                mode == 0o600,
                "{} has mode {mode:04o}, not 0600",
                secret.display()
            );
        }
        Ok(host)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<HostAddress> {
        for _ in 0..LOOKS_MAX {
            if let Some(status) = self.child.try_wait()? {
                bail!("the host ended at once ({status})");
            }
            if let Ok(address) = HostAddress::find(None, None, &self.data)
                && Client::new(address.clone()).get("/readyz").is_ok()
            {
                return Ok(address);
            }
            sleep(LOOK_EVERY);
        }
        bail!("the host did not become ready in time")
    }

    /// A client of it.
    pub(super) fn client(&self) -> Client {
        Client::new(self.address.clone())
    }

    /// A directory that is removed at the end.
    pub(super) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Asks it to stop, and sees that it did, and that nobody answers any more.
    pub(super) fn stop(&mut self, teller: &Teller) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("the host cannot be stopped")?;
        for _ in 0..LOOKS_MAX {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the host stopped with {status}");
                let answer = teller.client().get("/healthz");
                ensure!(
                    matches!(answer, Err(ClientError::Unreachable { .. })),
                    "somebody still answers at {}",
                    self.address.url
                );
                return Ok(());
            }
            sleep(LOOK_EVERY);
        }
        bail!("the host did not stop in time")
    }

    /// Adds the end of the host's log to what went wrong.
    pub(super) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let log = fs::read_to_string(self.scratch.path().join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        if end.is_empty() {
            return error;
        }
        error.context(format!(
            "the demo failed; the end of the host's log is:\n  {}\nand this is what failed",
            end.join("\n  ")
        ))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Both fail where it ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
