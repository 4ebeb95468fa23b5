//! An object store of one test, which `scripts/s3.sh` starts and which ends with it.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// A server with one empty bucket.
pub(crate) struct S3 {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    way: Value,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/s3.sh");
        let mut child = Command::new(script)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script can be run");
        let orders = child.stdin.take().expect("it was asked for");
        let stdout = child.stdout.take().expect("it was asked for");
        let mut s3 = Self {
            child,
            orders,
            answers: BufReader::new(stdout).lines(),
            way: Value::Null,
        };
        s3.way = s3.answer();
        s3
    }

    /// What a host is to know to get in.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let way = |name: &str| {
            self.way[name]
                .as_str()
                .expect("the script says it")
                .to_owned()
        };
        vec![
            ("AWS_ENDPOINT_URL", way("endpoint")),
            ("AWS_ACCESS_KEY_ID", way("key")),
            ("AWS_SECRET_ACCESS_KEY", way("secret")),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }

    /// The names of all objects.
    pub(crate) fn list(&mut self) -> Vec<String> {
        serde_json::from_value(self.order(&json!(["list"]))).expect("a list of names")
    }

    /// Puts something else in the place of an object.
    pub(crate) fn put(&mut self, name: &str, text: &str) {
        self.order(&json!(["put", name, text]));
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.order(&json!(["delete", name]));
    }

    /// Closes its port.
    pub(crate) fn leave(&mut self) {
        self.order(&json!(["stop"]));
    }

    /// Opens it again, with everything that was there.
    pub(crate) fn come_back(&mut self) {
        self.order(&json!(["start"]));
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").expect("the server reads");
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let line = self.answers.next().expect(
            "there is no object store for this test, see above; `scripts/s3.sh ensure` says what it needs",
        );
        serde_json::from_str(&line.expect("it writes UTF-8")).expect("it writes JSON")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
