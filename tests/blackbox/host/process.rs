//! The host's process.

use std::io::BufReader;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::Client;
use super::postgres::Schema;
use super::{PATIENCE, eventually, template};

/// What the host says before its address, once it can be reached.
const ANNOUNCEMENT: &str = " listens on ";

/// Runs a command whose mounts nobody else sees.
const UNSHARE: [&str; 3] = ["unshare", "--map-root-user", "--mount"];

/// The built program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stepseal");

/// Which database a host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// A data directory that is removed when its owner is gone, with its database.
pub(crate) struct DataDir {
    temp: TempDir,
    /// Where the database is, if not in the directory.
    schema: Option<Schema>,
}

impl DataDir {
    /// One that is not there yet: the host makes it.
    pub(crate) fn fresh() -> Self {
        let temp = tempfile::tempdir().expect("tests can make temporary directories");
        Self { temp, schema: None }
    }

    /// The same directory with another database.
    pub(crate) fn with_schema(mut self, schema: Option<Schema>) -> Self {
        self.schema = schema;
        self
    }

    /// The schema of its database, where that is PostgreSQL.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    /// Where the host keeps its data.
    pub(crate) fn path(&self) -> PathBuf {
        self.temp.path().join("data")
    }
}

/// A running host. Killed when it is dropped.
pub(crate) struct Host {
    process: Process,
    client: Client,
    dir: Option<DataDir>,
    has_names: bool,
}

impl Deref for Host {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Host {
    /// A host with an empty data directory.
    pub(crate) fn empty() -> Self {
        Self::on(DataDir::fresh())
    }

    /// A host to which `ledger`, `jq`, `spending-limit` and `hostile` have been uploaded, and nothing else was done.
    pub(crate) fn with_guests() -> Self {
        Self::on(template::with_guests())
    }

    /// The same with this database.
    pub(crate) fn with_guests_in(database: Database) -> Self {
        match database {
            Database::Sqlite => Self::with_guests(),
            Database::Postgres => {
                let dir = template::with_compiled_guests().with_schema(Some(Schema::new()));
                let host = Self::on(dir);
                template::upload(&host);
                host
            }
        }
    }

    /// A host on this data directory, which must start.
    pub(crate) fn on(dir: DataDir) -> Self {
        Self::with(dir, &[])
    }

    /// The same as [`Host::with_guests`], where these lines are in its `/etc/hosts` too. A system that lets no test arrange that for
    /// a process of its own leaves them out, and then [`Host::has_names`] says so.
    pub(crate) fn with_guests_and_names(names: &str) -> Self {
        Self::run_with_names(&[], names)
    }

    /// The same with one processor for all of it.
    pub(crate) fn with_guests_and_names_on_one_cpu(names: &str) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = allowed.expect("Linux tells it").trim();
        let cpu = allowed.split([',', '-']).next().expect("a list of numbers");
        Self::run_with_names(&["taskset", "-c", cpu], names)
    }

    /// A host with the guests whose data directory is on a disk of its own with so much room, seen by the host and by [`Host::disk`] alone.
    /// Nothing, where the system lets no test make one.
    pub(crate) fn with_guests_on_a_disk(mebibytes: u32) -> Option<Self> {
        if !can_mount() {
            eprintln!("this system lets no test mount a disk: what needs one is left out");
            return None;
        }
        let dir = template::with_guests();
        let (data, size) = (dir.path(), format!("size={mebibytes}m"));
        let data = data.to_str().expect("UTF-8");
        let mount = r#"cp -a "$0" "$0.copy" && mount -t tmpfs -o "$1" tmpfs "$0" && cp -a "$0.copy/." "$0" && shift && exec "$@""#;
        let command = [&UNSHARE[..], &["sh", "-c", mount, data, &size]].concat();
        Some(Self::run_by(&command, dir, &[]))
    }

    /// Its data directory as it sees it itself.
    pub(crate) fn disk(&self) -> PathBuf {
        let data = self.data();
        let inside = data
            .strip_prefix("/")
            .expect("temporary directories have whole paths");
        PathBuf::from(format!("/proc/{}/root", self.pid())).join(inside)
    }

    fn run_with_names(command: &[&str], names: &str) -> Self {
        let dir = template::with_guests();
        if !can_mount() {
            eprintln!("this system lets no test change names: what needs them is left out");
            return Self::run_by(command, dir, &[]);
        }
        let hosts = dir.temp.path().join("hosts");
        let there = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        std::fs::write(&hosts, format!("{there}\n{names}")).expect("a file can be written");
        let hosts = hosts.to_str().expect("UTF-8");
        let mount = r#"mount --bind "$0" /etc/hosts && exec "$@""#;
        let command = [command, &UNSHARE, &["sh", "-c", mount, hosts]].concat();
        let mut host = Self::run_by(&command, dir, &[]);
        host.has_names = true;
        host
    }

    /// Whether it knows the names that it was to be given.
    pub(crate) fn has_names(&self) -> bool {
        self.has_names
    }

    /// The same as [`Host::on`] with further arguments.
    pub(crate) fn with(dir: DataDir, arguments: &[&str]) -> Self {
        Self::run_by(&[], dir, arguments)
    }

    /// A host that is run by this command, which must become it.
    pub(crate) fn run_by(command: &[&str], dir: DataDir, arguments: &[&str]) -> Self {
        let data = dir.path();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data"];
        let serve = [&serve[..], &[data.to_str().expect("UTF-8")], arguments].concat();
        let database = dir.schema().map(Schema::url);
        let (process, url) = Process::start_by(command, &serve, database.as_deref());
        let token = std::fs::read_to_string(dir.path().join("token"))
            .expect("a host that listens has a token");
        let client = Client::new(url, token.trim().to_owned());
        Self {
            process,
            client,
            dir: Some(dir),
            has_names: false,
        }
    }

    /// Starts one on this data directory and ends it so long afterwards as a power cut does (`kill -9`), wherever it then is.
    pub(crate) fn killed_while_it_starts(dir: DataDir, life: Duration) -> DataDir {
        let data = dir.path();
        let data = data.to_str().expect("UTF-8");
        let serve = [PROGRAM, "serve", "--listen", "127.0.0.1:0", "--data", data];
        let database = dir.schema().map(Schema::url);
        let mut process = Process::spawn(&serve, database.as_deref());
        std::thread::park_timeout(life);
        process.kill();
        dir
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir
            .as_ref()
            .expect("a running host has its directory")
            .path()
    }

    /// The schema of its database, where that is PostgreSQL.
    pub(crate) fn schema(&self) -> Option<&Schema> {
        self.dir.as_ref().and_then(DataDir::schema)
    }

    /// Id of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Everything it said so far.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }

    /// Ends it as a power cut does (`kill -9`), and gives its data directory.
    pub(crate) fn kill(mut self) -> DataDir {
        self.process.kill();
        self.dir.take().expect("a running host has its directory")
    }

    /// Ends it as an operator does (SIGTERM), and gives its data directory.
    pub(crate) fn stop(mut self) -> DataDir {
        self.process.stop();
        self.dir.take().expect("a running host has its directory")
    }
}

/// Whether the system lets a test mount what nobody else sees.
fn can_mount() -> bool {
    static CAN_MOUNT: LazyLock<bool> = LazyLock::new(|| {
        let mount = ["--bind", "/etc/hosts", "/etc/hosts"];
        let mut command = Command::new(UNSHARE[0]);
        command.args(&UNSHARE[1..]).arg("mount").args(mount);
        command.output().is_ok_and(|ran| ran.status.success())
    });
    *CAN_MOUNT
}

/// A child that serves, and what it writes to stderr. Killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts the built program, which must say where it listens.
    pub(crate) fn start(arguments: &[&str]) -> (Self, String) {
        Self::start_by(&[], arguments, None)
    }

    /// The same, run by this command.
    fn start_by(command: &[&str], arguments: &[&str], database: Option<&str>) -> (Self, String) {
        let mut process = Self::spawn(&[command, &[PROGRAM][..], arguments].concat(), database);
        let Some(url) = process.address() else {
            let status = process.wait();
            panic!("{arguments:?} did not start, {status}: {}", process.said());
        };
        (process, url)
    }

    fn spawn(command: &[&str], database: Option<&str>) -> Self {
        let mut child = Command::new(command[0])
            .args(&command[1..])
            .env_remove("STEPSEAL_LOG")
            .env_remove("STEPSEAL_DATABASE")
            .envs(database.map(|url| ("STEPSEAL_DATABASE", url)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the built program can be started");
        let stderr = child.stderr.take().expect("it was asked for");
        let said = Arc::new(Mutex::new(String::new()));
        let (sender, lines) = channel();
        let heard = Arc::clone(&said);
        // Reads until the end, so that the host never waits for somebody to read.
        std::thread::spawn(move || listen(BufReader::new(stderr), &heard, &sender));
        Self { child, said, lines }
    }

    /// The address it announces, or nothing where it ends before.
    #[expect(
        clippy::disallowed_methods,
        reason = "a deadline, so that a test that waits in vain fails"
    )]
    fn address(&mut self) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some((_, url)) = line.split_once(ANNOUNCEMENT) {
                        return Some(url.trim().to_owned());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!(
                        "the host neither listens nor ends within {PATIENCE:?}: {}",
                        self.said()
                    )
                }
            }
        }
    }

    /// Ends it as a power cut does (`kill -9`).
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.wait();
    }

    /// Ends it as an operator does (SIGTERM).
    pub(crate) fn stop(&mut self) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("a child has a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("a child can be signalled");
        let status = self.wait();
        assert!(
            status.success(),
            "it ended with {status} after SIGTERM: {}",
            self.said()
        );
    }

    /// Everything it said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().expect("no reader panics").clone()
    }

    fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the host ends", || {
            child.try_wait().expect("a child can be waited for")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the host said:\n{}", self.said());
        }
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(stderr: impl std::io::BufRead, said: &Mutex<String>, lines: &Sender<String>) {
    for line in stderr.lines().map_while(Result::ok) {
        let mut said = said.lock().expect("nobody panics with it");
        said.push_str(&line);
        said.push('\n');
        // Nobody listens once the address is known.
        let _ = lines.send(line);
    }
}
