//! What strangers can do to a host, and what becomes of it.
//!
//! An attack is a row of a table: [`runs`] are made by plugins while they run, [`policies`] by those who judge, [`uploads`] by what is
//! sent as a component. Each is made on a real host over REST, must end as its row says, and must leave the host as it was.
//! `docs/HOSTILE.md` is made of the rows ([`table`]). A new kind of attack is a file beside these with rows of its own, which
//! [`table`] and [`crowd`] take in.

mod crowd;
mod outcomes;
mod policies;
mod runs;
mod table;
mod uploads;
mod vitals;

use serde_json::{Value, json};

use crate::host::client::Client;
use crate::host::tasks::one_step;

/// An attack that is ready to be made, as often as one likes: each time it is a task.
trait Attack: Sync {
    /// Begins it, and gives the id of its task.
    fn begin(&self, host: &Client) -> String;

    /// Waits for its end, which must be the one that is wanted, recorded and signed.
    #[track_caller]
    fn ends_as_it_must(&self, host: &Client, task: &str);
}

/// As much as an operator may give, so that an attack is stopped by the limit it is about.
fn wide_limits() -> Value {
    json!({"fuel": 1_000_000_000_000_u64, "memory_bytes": 512 << 20, "wall_ms": 600_000, "output_bytes": 16 << 20})
}

/// An honest task, and what comes of it.
fn honest() -> (Value, Value) {
    let with = json!({"filter": "[range(100)] | add", "document": null});
    (one_step("jq/filter", &with), json!(4950))
}

/// Runs an honest task, which must succeed.
#[track_caller]
fn serves_the_honest(host: &Client) {
    let (task, result) = honest();
    let task = host.submit_and_wait(&task);
    assert_eq!(task["steps"][0]["output"]["result"], result, "{task}");
}

/// Asks for the pulse, which must be there.
#[track_caller]
fn has_a_pulse(host: &Client) {
    let health = host.call("GET", "/healthz").authorization(None).send();
    assert_eq!(health.expect(200).json()["status"], "ok");
}
