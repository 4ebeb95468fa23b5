//! The promise that receipts rest on: whatever a component is made of, the same call gives the same bytes for the same fuel, wherever its
//! instance is allocated and however many processors there are.
//!
//! Each guest is run many times in each way; `STEPSEAL_DETERMINISM_RUNS` says how many times (`make determinism`: 1,000).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;

use crate::{
    Access, CacheSettings, Limits, Live, MemoryBuckets, PolicyCall, Sandbox, Settings, Stage, World,
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use stepseal_receipts::digest::Digest;
use tokio::runtime::Builder;

use super::{call, component, path, start};

/// Runs of each guest in each way where nobody says otherwise.
const RUNS: usize = 4;

/// Runs that are under way at a time: more than there are processors, so that they take turns in every order.
const TOGETHER: usize = 4;

/// Component, step type and input. Those that end in `-wasi`, and some steps of `hostile`, read clocks, draw randomness or hash under it.
const STEPS: &[(&str, &str, &str)] = &[
    (
        "jq",
        "filter",
        r#"{"document":{"a":[1,2,3]},"filter":".a | map(. * 1.5)"}"#,
    ),
    (
        "ledger",
        "open-account",
        r#"{"account":"alice","currency":"USD","opening_balance":"5.00"}"#,
    ),
    ("hostile", "random", r#"{"bytes":32}"#),
    ("hostile", "now", "{}"),
    ("hostile", "sleep", r#"{"ms":3600000}"#),
    ("hostile", "log-flood", r#"{"line_bytes":40,"lines":100}"#),
    ("hostile", "panic", "{}"),
    ("hostile", "recurse", "{}"),
    ("hostile", "eat-memory", "{}"),
    ("summarise-rust", "summarise", DOCUMENT),
    ("summarise-c", "summarise", DOCUMENT),
    ("summarise-c-wasi", "summarise", DOCUMENT),
    ("summarise-qjs", "summarise", DOCUMENT),
    ("summarise-qjs-wasi", "summarise", DOCUMENT),
    ("summarise-qjs-async", "summarise", DOCUMENT),
    ("concurrent", "look", "{}"),
    ("concurrent", "race", "{}"),
    ("concurrent", "print", "{}"),
    ("concurrent", "spawned", "{}"),
    ("concurrent", "never", "{}"),
    ("concurrent", "spawn", "{}"),
    ("concurrent", "flood", "{}"),
];

/// What `make languages` builds, and nobody else: run where it is there.
const MORE_STEPS: &[&str] = &[
    "summarise-starlingmonkey",
    "summarise-starlingmonkey-wasi",
    "summarise-python",
    "summarise-python-wasi",
    "summarise-go",
];

const DOCUMENT: &str = r#"{"document":{"a":[1,"two",null,{"b":{}}],"c":"dddd","e":true,"f":-0.5,"g":{"a":1,"h":2,"i":3,"j":4}}}"#;

const POLICY: &str = "spending-limit";
const SETTINGS: &str = r#"{"limits":{"EUR":{"approval_above":"100","deny_above":"1000"}}}"#;
const JUDGED: &str = r#"{"grants":{"buckets":[]},"history":[],"input":{"amount":"112.50","currency":"EUR"},"plan":{"steps":[]},"plugin":{"digest":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","name":"ledger","version":"0.1.0"},"step":{"attempt":1,"effects":false,"id":"pay","index":0,"type":"transfer"},"subject":{},"task":{"id":"t","labels":{}},"time":"2026-11-21T08:00:00.000Z"}"#;

/// A component, and what is asked of it; `None` for the policy.
type Asked = (Arc<[u8]>, Option<(&'static str, &'static str)>);

fn guests() -> Vec<(String, Asked)> {
    let read = |name: &str| Arc::from(component(name));
    let mut guests = vec![(POLICY.to_owned(), (read(POLICY), None))];
    for (name, step, input) in STEPS {
        guests.push((
            format!("{name}/{step}"),
            (read(name), Some((*step, *input))),
        ));
    }
    for name in MORE_STEPS.iter().filter(|name| path(name).exists()) {
        guests.push((
            (*name).to_owned(),
            (read(name), Some(("summarise", DOCUMENT))),
        ));
    }
    guests
}

/// One run: everything that a record says of it, as text. Peak memory is in it too.
async fn once(sandbox: &Sandbox, (bytes, asked): &Asked) -> String {
    let (digest, bytes) = (Digest::of(bytes), Arc::clone(bytes));
    let bytes = move || Ok(bytes.to_vec());
    let Some((step_type, input)) = asked else {
        let policy = sandbox.policy(digest, bytes).await.unwrap();
        let call = PolicyCall {
            stage: Stage::BeforeStep,
            settings: SETTINGS.to_owned(),
            input: JUDGED.to_owned(),
            limits: Limits::POLICY,
            seed: [7; 32],
            start: start(),
        };
        return format!("{:?}", sandbox.evaluate(&policy, call).await);
    };
    let step = sandbox.step(digest, bytes).await.unwrap();
    let mut call = call(step_type, input);
    // Enough for all of them, and not much for those that use up whatever they get.
    call.limits.fuel = 50_000_000;
    call.access = Access::from(World::Live(Live {
        buckets: vec!["ledger".to_owned()],
        source: Arc::new(MemoryBuckets::new()),
        http: None,
    }));
    format!("{:?}", sandbox.run(&step, call).await)
}

/// Every different run of every guest, on so many processors.
fn runs(
    cache: &CacheSettings,
    pooling: bool,
    processors: usize,
    count: usize,
) -> Vec<(String, BTreeSet<String>)> {
    let cache = Some(cache.clone());
    let pinned = move || {
        let allowed = sched_getaffinity(None).unwrap();
        let mut chosen = CpuSet::new();
        (0..CpuSet::MAX_CPU)
            .filter(|cpu| allowed.is_set(*cpu))
            .take(processors)
            .for_each(|cpu| chosen.set(cpu));
        // Threads that are started from here on, the sandbox's own too, inherit it.
        sched_setaffinity(None, &chosen).unwrap();
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let sandbox = Sandbox::new(Settings {
                cache,
                pooling,
                ..Settings::default()
            })
            .unwrap();
            assert_eq!(sandbox.runtime().allocator == "pooling", pooling);
            let mut all = Vec::new();
            for (name, asked) in guests() {
                let tasks = (0..TOGETHER).map(|_| {
                    let (sandbox, asked) = (sandbox.clone(), asked.clone());
                    tokio::spawn(async move {
                        let mut different = BTreeSet::new();
                        for _ in 0..count.div_ceil(TOGETHER) {
                            different.insert(once(&sandbox, &asked).await);
                        }
                        different
                    })
                });
                let tasks: Vec<_> = tasks.collect();
                let mut different = BTreeSet::new();
                for task in tasks {
                    different.extend(task.await.unwrap());
                }
                all.push((name, different));
            }
            all
        })
    };
    thread::spawn(pinned).join().unwrap()
}

#[test]
fn a_call_gives_the_same_bytes_for_the_same_fuel_pooled_or_not_on_one_processor_or_two() {
    let count = std::env::var("STEPSEAL_DETERMINISM_RUNS")
        .map_or(RUNS, |runs| runs.parse().expect("a number of runs"));
    // Compiled once: that is not what is tested, and takes longest.
    let dir = tempfile::tempdir().unwrap();
    let cache = CacheSettings {
        dir: dir.path().to_owned(),
        key: [1; 32],
        bytes_max: 1 << 30,
    };
    let mut all: Vec<(String, BTreeSet<String>)> = Vec::new();
    for (pooling, processors) in [(true, 1), (true, 2), (false, 1), (false, 2)] {
        for (at, (name, different)) in runs(&cache, pooling, processors, count)
            .into_iter()
            .enumerate()
        {
            match all.get_mut(at) {
                Some((_, before)) => before.extend(different),
                None => all.push((name, different)),
            }
        }
    }
    assert!(all.len() > STEPS.len());
    for (name, different) in all {
        assert_eq!(different.len(), 1, "{name}: {different:#?}");
        // What the guest did must have been what the test is about.
        let run = different.first().unwrap();
        let failed = [
            "hostile/panic",
            "hostile/recurse",
            "hostile/eat-memory",
            "concurrent/never",
            "concurrent/spawn",
            "concurrent/flood",
        ];
        let ended = ["outcome: Ok", "verdict: Ok"]
            .iter()
            .any(|ok| run.contains(ok));
        assert_eq!(ended, !failed.contains(&name.as_str()), "{name}: {run}");
    }
}
