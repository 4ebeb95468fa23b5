//! What a host has of the machine, as the kernel counts it, and of its own places.

use serde_json::json;

use super::{serves_the_honest, wide_limits};
use crate::concurrency::side_by_side;
use crate::host::client::Client;
use crate::host::tasks::{id, one_step};
use crate::host::{Host, eventually};
use crate::support::ended;
use crate::wat::{parse_str, plugin};

/// Steps that run at a time.
const PLACES: usize = 64;

/// Those of one component.
const COMPONENT_PLACES: usize = 48;

/// KiB by which memory may differ: what an allocator keeps for the next request is not lost, and between two crowds that is up to
/// 60 MiB either way. Were half a MiB of each attack kept, it would be more than this.
const SLACK_KIB: u64 = 96 << 10;

/// What a host's process has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vitals {
    /// KiB of memory that is its own, not a file's.
    anonymous_kib: u64,
    threads: u64,
}

impl Vitals {
    /// Of this host, now.
    pub(super) fn of(host: &Host) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
        let number = |name: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
            value.trim().trim_end_matches(" kB").parse().unwrap()
        };
        Self {
            anonymous_kib: number("RssAnon:"),
            threads: number("Threads:"),
        }
    }

    /// Waits until this host has no more than it had. Threads for blocking work end some seconds after the last of it.
    pub(super) fn are_back(&self, host: &Host) {
        eventually(&format!("it has what it had: {self:?}"), || {
            let now = Self::of(host);
            let back =
                now.threads <= self.threads && now.anonymous_kib <= self.anonymous_kib + SLACK_KIB;
            if !back {
                eprintln!("{now:?}");
            }
            back.then_some(())
        });
    }
}

/// Checks that no place to run in is lost: beside as many runaways as there are places less one, an honest step still runs.
/// Places are taken in the order of asking, so it would wait behind them for ever. They are of two components, since one may not have
/// all places.
#[track_caller]
pub(super) fn every_place_is_free(client: &Client) {
    let endless = plugin("(loop $again (br $again)) (unreachable)");
    client.upload_bytes(parse_str(&endless).unwrap());
    client.grant("probe", &json!({"limits": wide_limits()}));
    let runaways = side_by_side(PLACES - 1, |number| {
        let step = if number < COMPONENT_PLACES {
            "hostile/loop"
        } else {
            "probe/probe"
        };
        let mut runaway = one_step(step, &json!({}));
        runaway["plan"]["steps"][0]["limits"] = wide_limits();
        id(&client.submit(&runaway))
    });
    for _ in 0..3 {
        serves_the_honest(client);
    }
    side_by_side(runaways.len(), |number| {
        let task = &runaways[number];
        client
            .call("POST", format!("/v1/tasks/{task}/cancel"))
            .send()
            .expect(200);
        let ended = ended(client, task);
        assert_eq!(ended["state"], "cancelled", "it did not run: {ended}");
    });
}
