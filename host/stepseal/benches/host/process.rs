//! A host as a process: started, asked whether it is ready, looked at through `/proc`, stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;

/// How long a start may take before something is wrong.
const START_WAIT: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Ticks in a second of `/proc/<pid>/stat` (`USER_HZ`, which Linux has fixed for programs).
const TICKS_PER_SECOND: u32 = 100;

/// A running host. Dropping it stops it.
pub(crate) struct Host {
    child: Child,
    data: PathBuf,
}

impl Host {
    /// Starts a host on the data directory in `root`, which it makes itself for nobody else to read, and waits until it is ready.
    pub(crate) fn start(root: &Path) -> Self {
        Self::start_on(root, None, &[])
    }

    /// The same with a database on a server, or with more to say to `serve`.
    pub(crate) fn start_on(root: &Path, database: Option<String>, more: &[&str]) -> Self {
        let data = root.join("data");
        let log = root.join("host.log");
        // Left behind by a host that was killed; it says nothing about this one.
        let _ = std::fs::remove_file(data.join("address"));
        let child = Command::new(env!("CARGO_BIN_EXE_stepseal"))
            .args([
                "--data",
                &data.display().to_string(),
                "serve",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(more)
            .env("STEPSEAL_LOG", "warn")
            .env_remove("STEPSEAL_DATABASE")
            .envs(database.map(|url| ("STEPSEAL_DATABASE", url)))
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file for the host's log"))
            .spawn()
            .expect("the host starts");
        let host = Self { child, data };
        let begun = Instant::now();
        while !host.is_ready() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(
                begun.elapsed() < START_WAIT,
                "the host is not ready: {}",
                said()
            );
            std::thread::sleep(LOOK_EVERY);
        }
        host
    }

    fn is_ready(&self) -> bool {
        self.try_client()
            .and_then(|client| {
                client
                    .exchange("GET", "/readyz", "application/json", b"")
                    .ok()
            })
            .is_some_and(|(status, _)| status == 200)
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        self.try_client().expect("the host takes connections")
    }

    fn try_client(&self) -> Option<Client> {
        let (address, token) = self.address()?;
        Client::new(&address, token).ok()
    }

    /// Where it listens, and the token that opens it; nothing where it is not so far yet.
    pub(crate) fn address(&self) -> Option<(String, String)> {
        let read = |name: &str| std::fs::read_to_string(self.data.join(name)).ok();
        let (url, token) = (read("address")?, read("token")?);
        let address = url.trim().strip_prefix("http://")?;
        Some((address.to_owned(), token.trim().to_owned()))
    }

    /// CPU time of the host so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_of(&self.child.id().to_string())
    }

    /// KiB of memory that are resident.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = self.proc("status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("the host runs");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the host runs")
    }
}

/// CPU time of a process so far, user and system; `self` is this one.
pub(crate) fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // Fields are counted after the name, which may hold anything but ends at the last parenthesis.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u32 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u32>().expect("utime and stime"))
        .sum();
    Duration::from_secs(1) * ticks / TICKS_PER_SECOND
}

impl Drop for Host {
    fn drop(&mut self) {
        // A host is made to be killed at any time; nothing of it is needed after.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
