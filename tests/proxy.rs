//! A network between a host and PostgreSQL that can stop to carry anything, without saying so to either side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

/// Bytes carried at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// Carries bytes between a socket in a directory of its own and the server.
pub(crate) struct Proxy {
    dir: TempDir,
    url: String,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let is_shut = self.is_shut.lock().expect("nobody panics with it");
        let open = self.opened.wait_while(is_shut, |is_shut| *is_shut);
        drop(open.expect("nobody panics with it"));
    }
}

impl Proxy {
    /// A way to the server that `url` names.
    pub(crate) fn to(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().expect("the address of a database");
        let dir = tempfile::tempdir().expect("tests can make temporary directories");
        let socket = dir.path().join(format!(".s.PGSQL.{}", server.get_port()));
        let listener = UnixListener::bind(socket).expect("tests can listen");
        let gate = Arc::new(Gate::default());
        let carrier = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, gate) = (server.clone(), Arc::clone(&carrier));
                thread::spawn(move || carry(client, &server, &gate));
            }
        });
        Self {
            dir,
            url: url.to_owned(),
            gate,
        }
    }

    /// The server's address by this way.
    pub(crate) fn url(&self) -> String {
        let dir = self.dir.path().to_str().expect("UTF-8");
        // What is said last of the host counts.
        format!("{}&host={}", self.url, dir.replace('/', "%2F"))
    }

    /// From now on nothing comes through, and nobody is told.
    pub(crate) fn cut(&self) {
        self.shut(true);
    }

    /// What was held up comes through after all, and whatever follows.
    pub(crate) fn mend(&self) {
        self.shut(false);
    }

    fn shut(&self, is_shut: bool) {
        *self.gate.is_shut.lock().expect("nobody panics with it") = is_shut;
        self.gate.opened.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Those who wait at the gate may go.
        self.mend();
    }
}

fn carry(client: UnixStream, server: &PgConnectOptions, gate: &Arc<Gate>) {
    gate.pass();
    let copy = |stream: &UnixStream| stream.try_clone().expect("a socket can be had twice");
    if let Some(dir) = server.get_socket() {
        let socket: PathBuf = dir.join(format!(".s.PGSQL.{}", server.get_port()));
        if let Ok(server) = UnixStream::connect(socket) {
            both_ways(copy(&client), copy(&server), client, server, gate);
        }
    } else if let Ok(server) = TcpStream::connect((server.get_host(), server.get_port())) {
        let other = server.try_clone().expect("a socket can be had twice");
        both_ways(copy(&client), other, client, server, gate);
    }
}

fn both_ways<S: Read + Write + Send + 'static>(
    from_client: UnixStream,
    from_server: S,
    to_client: UnixStream,
    to_server: S,
    gate: &Arc<Gate>,
) {
    let back = Arc::clone(gate);
    let answers = thread::spawn(move || one_way(from_server, to_client, &back));
    one_way(from_client, to_server, gate);
    // It has ended or will, once the server has heard that nobody listens.
    drop(answers);
}

fn one_way(mut from: impl Read, mut to: impl Write, gate: &Gate) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        gate.pass();
        if to.write_all(&chunk[..count]).is_err() {
            return;
        }
    }
}
