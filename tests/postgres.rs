//! PostgreSQL for tests: the server that `STEPSEAL_TEST_POSTGRES_URL` names, or one that `scripts/postgres.sh` starts for this process and
//! removes after it. Each test has a schema of its own.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

/// Names a server that is there.
const VARIABLE: &str = "STEPSEAL_TEST_POSTGRES_URL";

/// What the server of this process is.
struct Server {
    url: String,
    /// The script removes the server when this is closed, as it is when the process ends, however it does.
    stdin: Option<(Child, ChildStdin)>,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match std::env::var(VARIABLE) {
        Ok(url) => Server { url, stdin: None },
        Err(_) => start(),
    })
}

fn start() -> Server {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres.sh");
    let mut child = Command::new(script)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script can be run");
    let mut url = String::new();
    let stdout = child.stdout.take().expect("it was asked for");
    BufReader::new(stdout)
        .read_line(&mut url)
        .expect("the script writes UTF-8");
    assert!(
        !url.is_empty(),
        "there is no PostgreSQL for this test, see above; `make test` installs it where it can"
    );
    let stdin = child.stdin.take().expect("it was asked for");
    Server {
        url: url.trim().to_owned(),
        stdin: Some((child, stdin)),
    }
}

/// A schema of one test, empty at first, gone when dropped.
#[derive(Debug)]
pub(crate) struct Schema {
    name: String,
}

impl Schema {
    /// Makes it.
    pub(crate) fn new() -> Self {
        let random = RandomState::new().build_hasher().finish();
        let name = format!("test_{random:016x}");
        let schema = Self { name };
        run(format!("CREATE SCHEMA {}", schema.name));
        schema
    }

    /// Address of the database, whose tables are in the schema.
    pub(crate) fn url(&self) -> String {
        let url = &server().url;
        let more = if url.contains('?') { '&' } else { '?' };
        let name = &self.name;
        format!("{url}{more}application_name={name}&options[search_path]={name}")
    }

    /// Runs statements in it.
    pub(crate) fn run(&self, sql: &str) {
        run(format!("SET search_path TO {}; {sql}", self.name));
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A server of our own goes as a whole.
        if server().stdin.is_none() {
            run(format!("DROP SCHEMA {} CASCADE", self.name));
        }
    }
}

/// Runs statements from wherever a test is, in a runtime or not.
fn run(sql: String) {
    let done = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&server().url).await?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await?;
            connection.close().await
        })
    });
    done.join()
        .expect("it does not panic")
        .expect("the server does what it is told");
}
