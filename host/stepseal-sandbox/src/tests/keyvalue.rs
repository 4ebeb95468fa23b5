//! Buckets as a step sees them, live and replayed.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::wat::Plugin;
use super::{call, load, sandbox};
use crate::{
    BoxFuture, BucketError, BucketSource, KeyPage, KeyValueChanges, Listed, Live, MemoryBuckets,
    Outcome, Read, StepRun, Transcript, Versioned, World, Write,
};

const IMPORTS: &str = r#"
    (import "wasi:keyvalue/store@0.2.0-draft" (instance $store
      (export "bucket" (type $bucket (sub resource)))
      (type $e (variant (case "no-such-store") (case "access-denied") (case "other" string)))
      (export "error" (type $error (eq $e)))
      (type $k (record (field "keys" (list string)) (field "cursor" (option u64))))
      (export "key-response" (type $key-response (eq $k)))
      (export "open" (func (param "identifier" string) (result (result (own $bucket) (error $error)))))
      (export "[method]bucket.get" (func
        (param "self" (borrow $bucket)) (param "key" string) (result (result (option (list u8)) (error $error)))))
      (export "[method]bucket.set" (func
        (param "self" (borrow $bucket)) (param "key" string) (param "value" (list u8)) (result (result (error $error)))))
      (export "[method]bucket.delete" (func
        (param "self" (borrow $bucket)) (param "key" string) (result (result (error $error)))))
      (export "[method]bucket.exists" (func
        (param "self" (borrow $bucket)) (param "key" string) (result (result bool (error $error)))))
      (export "[method]bucket.list-keys" (func
        (param "self" (borrow $bucket)) (param "cursor" (option u64)) (result (result $key-response (error $error)))))))
"#;

/// The functions of the store with the names the tests use.
const FUNCTIONS: [(&str, &str, &str); 6] = [
    ("open", "open", "(param i32 i32 i32)"),
    ("get", "[method]bucket.get", "(param i32 i32 i32 i32)"),
    (
        "set",
        "[method]bucket.set",
        "(param i32 i32 i32 i32 i32 i32)",
    ),
    ("delete", "[method]bucket.delete", "(param i32 i32 i32 i32)"),
    ("exists", "[method]bucket.exists", "(param i32 i32 i32 i32)"),
    (
        "list",
        "[method]bucket.list-keys",
        "(param i32 i32 i64 i32)",
    ),
];

/// Texts at 1024, and functions over the store that leave their raw result at 2048.
const ITEMS: &str = r#"
    (data (i32.const 1024) "ledgerother!kl41")
    (data (i32.const 1040) "42")
    ;; Opens `ledger`.
    (func $bucket (result i32)
      (call $open (i32.const 1024) (i32.const 6) (i32.const 2048))
      (if (i32.load8_u (i32.const 2048)) (then (unreachable)))
      (i32.load (i32.const 2052)))
    ;; Answers with the value of the key of one byte at this address, or with its error's number.
    (func $answer (param $bucket i32) (param $key i32) (result i32)
      (call $get (local.get $bucket) (local.get $key) (i32.const 1) (i32.const 2048))
      (if (i32.load8_u (i32.const 2048))
        (then (return (call $number (i64.load8_u (i32.const 2052))))))
      (if (i32.eqz (i32.load8_u (i32.const 2052)))
        (then (return (call $number (i64.const 0)))))
      (call $ok (i32.load (i32.const 2056)) (i32.load (i32.const 2060))))
    ;; Sets the key of one byte at this address to the two bytes at that one.
    (func $put (param $bucket i32) (param $key i32) (param $value i32)
      (call $set (local.get $bucket) (local.get $key) (i32.const 1) (local.get $value) (i32.const 2) (i32.const 2048)))
"#;

/// Addresses of the texts.
const K: &str = "(i32.const 1036)";
const L: &str = "(i32.const 1037)";
const V41: &str = "(i32.const 1038)";
const V42: &str = "(i32.const 1040)";

/// A plugin whose `run` has the bucket `ledger` in `$b`, and three more locals.
fn keyvalue(run: &str) -> String {
    raw(&format!(
        "(local $b i32) (local $n i32) (local $cursor i64) (local $some i32)
         (local.set $b (call $bucket)) {run}"
    ))
}

fn raw(run: &str) -> String {
    let mut plugin = Plugin {
        imports: IMPORTS.into(),
        items: ITEMS.into(),
        run: run.into(),
        ..Plugin::default()
    };
    for (name, export, core) in FUNCTIONS {
        write!(
            plugin.imports,
            "(core func ${name} (canon lower (func $store \"{export}\")
                (memory (core memory $libc \"memory\")) (realloc (core func $libc \"realloc\"))))"
        )
        .unwrap();
        write!(plugin.with, "(export \"{name}\" (func ${name}))").unwrap();
        write!(
            plugin.core_imports,
            "(import \"store\" \"{name}\" (func ${name} {core}))"
        )
        .unwrap();
    }
    plugin.with = format!("(with \"store\" (instance {}))", plugin.with);
    plugin.text()
}

async fn run_with(text: &str, access: World) -> StepRun {
    let component = load(text).await;
    let mut call = call();
    call.access.world = access;
    sandbox().run(&component, call).await
}

fn live(source: impl BucketSource + 'static) -> World {
    World::Live(Live {
        buckets: vec!["ledger".into()],
        source: Arc::new(source),
        http: None,
    })
}

fn write(key: &str, value: Option<&str>) -> Write {
    Write {
        bucket: "ledger".into(),
        key: key.into(),
        value: value.map(Into::into),
    }
}

/// Buckets with these keys, each committed on its own.
fn holding(pairs: &[(&str, &str)]) -> MemoryBuckets {
    let buckets = MemoryBuckets::new();
    for (key, value) in pairs {
        assert!(buckets.commit(&KeyValueChanges {
            writes: vec![write(key, Some(value))],
            ..Default::default()
        }));
    }
    buckets
}

fn output(text: &str) -> Outcome {
    Outcome::Ok {
        output: text.into(),
    }
}

#[tokio::test]
async fn a_step_reads_what_was_committed_and_says_which_version() {
    let text = keyvalue(&format!("(call $answer (local.get $b) {K})"));
    let run = run_with(&text, live(holding(&[("l", "0"), ("k", "41")]))).await;
    assert_eq!(run.outcome, output("41"));
    assert_eq!(
        run.changes.reads,
        [Read {
            bucket: "ledger".into(),
            key: "k".into(),
            version: 2
        }]
    );
    let run = run_with(&text, live(MemoryBuckets::new())).await;
    assert_eq!(run.outcome, output("\"0000000000000000\""));
    assert_eq!(run.changes.reads[0].version, 0);
}

#[tokio::test]
async fn a_step_reads_its_own_writes_and_others_do_not() {
    let buckets = holding(&[("k", "41")]);
    let text = keyvalue(&format!(
        "(call $put (local.get $b) {K} {V42}) (call $answer (local.get $b) {K})"
    ));
    let run = run_with(&text, live(buckets.clone())).await;
    assert_eq!(run.outcome, output("42"));
    assert_eq!(
        run.changes,
        KeyValueChanges {
            writes: vec![write("k", Some("42"))],
            ..Default::default()
        }
    );
    assert_eq!(
        buckets.get("ledger", "k").await.unwrap().unwrap().value,
        b"41"
    );
    assert!(buckets.commit(&run.changes));
    assert_eq!(
        buckets.get("ledger", "k").await.unwrap().unwrap().value,
        b"42"
    );
}

#[tokio::test]
async fn a_deleted_key_is_gone_for_the_step() {
    let text = keyvalue(&format!(
        "(call $delete (local.get $b) {K} (i32.const 1) (i32.const 2048))
         (call $exists (local.get $b) {K} (i32.const 1) (i32.const 2048))
         (call $number (i64.load8_u (i32.const 2052)))"
    ));
    let run = run_with(&text, live(holding(&[("k", "41")]))).await;
    assert_eq!(run.outcome, output("\"0000000000000000\""));
    assert_eq!(run.changes.writes, [write("k", None)]);
}

/// Opens the bucket whose name is at this address and answers with the error's number.
fn opening(at: u32, len: u32) -> String {
    raw(&format!(
        "(call $open (i32.const {at}) (i32.const {len}) (i32.const 2048))
         (if (i32.eqz (i32.load8_u (i32.const 2048))) (then (unreachable)))
         (call $number (i64.load8_u (i32.const 2052)))"
    ))
}

#[tokio::test]
async fn a_bucket_that_was_not_granted_is_denied() {
    let run = run_with(&opening(1030, 5), live(MemoryBuckets::new())).await;
    assert_eq!(run.outcome, output("\"0000000000000001\""));
    assert_eq!(run.transcript.count(), 1);
}

#[tokio::test]
async fn without_any_grant_nothing_is_touched() {
    let none = World::Live(Live {
        buckets: vec![],
        source: Arc::new(MemoryBuckets::new()),
        http: None,
    });
    for access in [World::None, none] {
        let run = run_with(&opening(1024, 6), access).await;
        assert_eq!(run.outcome, output("\"0000000000000001\""));
        assert_eq!(run.transcript, Transcript::default());
    }
}

#[tokio::test]
async fn writes_of_a_step_that_did_not_succeed_are_dropped_and_its_reads_are_not() {
    for end in [
        "(call $fail (i32.const 1) (i32.const 1024) (i32.const 6))",
        "(unreachable)",
    ] {
        let text = keyvalue(&format!(
            "(drop (call $answer (local.get $b) {K})) (call $put (local.get $b) {L} {V42}) {end}"
        ));
        let run = run_with(&text, live(holding(&[("k", "41")]))).await;
        assert!(!matches!(run.outcome, Outcome::Ok { .. }));
        assert_eq!(run.changes.writes, []);
        assert_eq!(run.changes.reads.len(), 1);
    }
}

/// Reads `k`, writes `l`, deletes `k`, lists the keys, and answers with their number.
fn busy() -> String {
    keyvalue(&format!(
        "(drop (call $answer (local.get $b) {K}))
         (call $put (local.get $b) {L} {V41})
         (call $delete (local.get $b) {K} (i32.const 1) (i32.const 2048))
         (call $list (local.get $b) (i32.const 0) (i64.const 0) (i32.const 2048))
         (call $number (i64.load32_u (i32.const 2060)))"
    ))
}

#[tokio::test]
async fn listing_sees_the_steps_own_writes() {
    let run = run_with(
        &busy(),
        live(holding(&[("a", "1"), ("k", "2"), ("z", "3")])),
    )
    .await;
    // a, l and z: k is deleted.
    assert_eq!(run.outcome, output("\"0000000000000003\""));
    assert_eq!(
        run.changes.listed,
        [Listed {
            bucket: "ledger".into(),
            version: 3
        }]
    );
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    // Counts keys over all pages.
    let text = keyvalue(
        "(call $put (local.get $b) (i32.const 1037) (i32.const 1038))
         (loop $page
           (call $list (local.get $b) (local.get $some) (local.get $cursor) (i32.const 2048))
           (if (i32.load8_u (i32.const 2048)) (then (unreachable)))
           (local.set $n (i32.add (local.get $n) (i32.load (i32.const 2060))))
           (local.set $some (i32.load8_u (i32.const 2064)))
           (local.set $cursor (i64.load (i32.const 2072)))
           (br_if $page (local.get $some)))
         (call $number (i64.extend_i32_u (local.get $n)))",
    );
    let buckets = MemoryBuckets::new();
    let writes = (0..2_500)
        .map(|number| write(&format!("key{number:05}"), Some("1")))
        .collect();
    assert!(buckets.commit(&KeyValueChanges {
        writes,
        ..Default::default()
    }));
    let run = run_with(&text, live(buckets)).await;
    assert_eq!(run.outcome, output(&format!("\"{:016x}\"", 2_501)));
    // Opened, written, and three pages.
    assert_eq!(run.transcript.count(), 5);
}

#[tokio::test]
async fn a_cursor_of_ones_own_making_is_refused() {
    let text = keyvalue(
        "(call $list (local.get $b) (i32.const 1) (i64.const 7) (i32.const 2048))
         (if (i32.eqz (i32.load8_u (i32.const 2048))) (then (unreachable)))
         (call $number (i64.load8_u (i32.const 2056)))",
    );
    let run = run_with(&text, live(MemoryBuckets::new())).await;
    assert_eq!(run.outcome, output("\"0000000000000002\""));
}

#[tokio::test]
async fn a_replay_equals_the_live_run() {
    let first = run_with(&busy(), live(holding(&[("a", "1"), ("k", "2")]))).await;
    assert_eq!(first.transcript.count(), 5);
    let transcript = Transcript::from_bytes(&first.transcript.to_bytes()).unwrap();
    let second = run_with(&busy(), World::Replay(transcript)).await;
    assert_eq!(second.outcome, first.outcome);
    assert_eq!(second.fuel_used, first.fuel_used);
    assert_eq!(second.changes, first.changes);
    assert_eq!(second.transcript, first.transcript);
}

async fn replay(text: &str, change: impl FnOnce(&mut Transcript)) -> String {
    let mut transcript = run_with(text, live(holding(&[("k", "41")])))
        .await
        .transcript;
    change(&mut transcript);
    match run_with(text, World::Replay(transcript)).await.outcome {
        Outcome::Trap(text) => text,
        outcome => panic!("the replay went through: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_replay_that_differs_stops_at_the_call() {
    let swapped = replay(&busy(), |transcript| transcript.calls.swap(1, 2)).await;
    assert!(
        swapped.starts_with(
            "replay: host call 2 differs: it asks for something else than the recorded one: {"
        ) && swapped.contains(r#""key":"k""#),
        "{swapped}"
    );
    let shorter = replay(&busy(), |transcript| transcript.calls.truncate(4)).await;
    assert!(
        shorter.starts_with("replay: host call 5 differs: it was not made in the recorded run: {"),
        "{shorter}"
    );
    let longer = replay(&busy(), |transcript| {
        transcript.calls.push(transcript.calls[0].clone());
    })
    .await;
    assert_eq!(
        longer,
        "replay: 1 host calls of the recorded run were not made"
    );
    let nonsense = replay(&busy(), |transcript| {
        transcript.calls[1].response = b"{}".to_vec();
    })
    .await;
    assert!(
        nonsense.contains("host call 2") && nonsense.contains("no run can have had"),
        "{nonsense}"
    );
    let other = replay(&busy(), |transcript| {
        transcript.calls[2].response = b"1".to_vec();
    })
    .await;
    assert!(
        other.contains("host call 3") && other.contains("another answer"),
        "{other}"
    );
}

#[tokio::test]
async fn a_replayed_value_is_what_the_step_sees() {
    let text = keyvalue(&format!("(call $answer (local.get $b) {K})"));
    let mut transcript = run_with(&text, live(holding(&[("k", "41")])))
        .await
        .transcript;
    transcript.calls[1].response = br#"{"value":"NDM=","version":"9"}"#.to_vec();
    let run = run_with(&text, World::Replay(transcript)).await;
    assert_eq!(run.outcome, output("43"));
    assert_eq!(run.changes.reads[0].version, 9);
}

#[tokio::test]
async fn a_key_is_read_once() {
    /// Gives another value at every read.
    struct Moving(std::sync::atomic::AtomicU64);
    impl BucketSource for Moving {
        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>> {
            let version = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            Box::pin(async move {
                Ok(Some(Versioned {
                    value: version.to_string().into_bytes(),
                    version,
                }))
            })
        }
        fn keys<'a>(
            &'a self,
            _: &'a str,
            _: Option<&'a str>,
            _: u32,
        ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
            Box::pin(async { Ok(KeyPage::default()) })
        }
    }
    let text = keyvalue(&format!(
        "(drop (call $answer (local.get $b) {K})) (call $answer (local.get $b) {K})"
    ));
    let run = run_with(&text, live(Moving(0.into()))).await;
    assert_eq!(run.outcome, output("1"));
}

/// A store that fails, or never answers.
struct Broken {
    answers: bool,
}

impl Broken {
    fn answer<'a, T: Send + 'a>(&'a self) -> BoxFuture<'a, Result<T, BucketError>> {
        if self.answers {
            Box::pin(async { Err(BucketError("disk on fire".into())) })
        } else {
            Box::pin(std::future::pending())
        }
    }
}

impl BucketSource for Broken {
    fn get<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>> {
        self.answer()
    }

    fn keys<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: u32,
    ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
        self.answer()
    }
}

#[tokio::test]
async fn a_store_that_fails_makes_the_step_unavailable() {
    for text in [
        keyvalue(&format!("(call $answer (local.get $b) {K})")),
        busy(),
    ] {
        let run = run_with(&text, live(Broken { answers: true })).await;
        assert_eq!(
            run.outcome,
            Outcome::Unavailable("the key-value store could not be read".into())
        );
    }
}

#[tokio::test]
async fn a_step_parked_in_a_host_call_runs_out_of_time() {
    let component = load(&busy()).await;
    let mut call = call();
    call.access.world = live(Broken { answers: false });
    call.limits.wall = Duration::from_millis(20);
    assert_eq!(
        sandbox().run(&component, call).await.outcome,
        Outcome::Timeout
    );
}

#[tokio::test]
async fn a_step_parked_in_a_host_call_can_be_cancelled() {
    let component = load(&busy()).await;
    let mut call = call();
    call.access.world = live(Broken { answers: false });
    let cancel = call.cancel.clone();
    let (run, ()) = tokio::join!(sandbox().run(&component, call), async { cancel.cancel() });
    assert_eq!(run.outcome, Outcome::Cancelled);
}

/// Repeats a piece of code until the store answers with an error, then answers with the number of times.
fn until_refused(code: &str) -> String {
    keyvalue(&format!(
        "(drop (memory.grow (i32.const 40)))
         (loop $again
           {code}
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.eqz (i32.load8_u (i32.const 2048)))))
         (call $number (i64.extend_i32_u (local.get $n)))"
    ))
}

#[tokio::test]
async fn keys_values_and_calls_are_bounded() {
    let set = |key: &str, value: &str| {
        format!(
            "(call $set (local.get $b) (i32.const 65536) (i32.const {key}) (i32.const 65536) (i32.const {value}) (i32.const 2048))"
        )
    };
    for (code, times) in [
        (set("0", "1"), 1),
        (set("1025", "1"), 1),
        (set("1024", "1048577"), 1),
        // 16 MiB in all, of 1 MiB and 1 KiB each.
        (set("1024", "1048576"), 16),
        // 10,000 calls, of which one opened the bucket.
        (set("1", "1"), 10_000),
    ] {
        let run = run_with(&until_refused(&code), live(MemoryBuckets::new())).await;
        assert_eq!(run.outcome, output(&format!("\"{times:016x}\"")), "{code}");
    }
}

#[tokio::test]
async fn a_refused_read_replays_too() {
    /// Holds a value larger than a step may read.
    struct Large;
    impl BucketSource for Large {
        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>> {
            Box::pin(async {
                Ok(Some(Versioned {
                    value: vec![0; 17 << 20],
                    version: 1,
                }))
            })
        }
        fn keys<'a>(
            &'a self,
            _: &'a str,
            _: Option<&'a str>,
            _: u32,
        ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
            Box::pin(async { Ok(KeyPage::default()) })
        }
    }
    let text = keyvalue(&format!("(call $answer (local.get $b) {K})"));
    let first = run_with(&text, live(Large)).await;
    assert_eq!(first.outcome, output("\"0000000000000002\""));
    let second = run_with(&text, World::Replay(first.transcript.clone())).await;
    assert_eq!(second.outcome, first.outcome);
    assert_eq!(second.transcript, first.transcript);
}

#[tokio::test]
async fn a_recorded_answer_has_one_spelling_and_a_size_that_a_run_can_have() {
    let text = keyvalue(&format!("(call $answer (local.get $b) {K})"));
    let first = run_with(&text, live(holding(&[("k", "41")]))).await;
    let large = format!(r#"{{"value":"{}","version":"1"}}"#, "A".repeat(16 << 20));
    for recorded in [
        r#"{"value":"NDE=","version":"+1"}"#,
        r#"{"value":"NDE=","version":"01"}"#,
        r#"{"value":"NDE=","version":"1","more":1}"#,
        r#"{"version":"1","value":"NDE="}"#,
        &large,
    ] {
        let mut transcript = first.transcript.clone();
        transcript.calls[1].response = recorded.into();
        let run = run_with(&text, World::Replay(transcript)).await;
        let Outcome::Trap(why) = &run.outcome else {
            panic!("{recorded:.40}: {:?}", run.outcome)
        };
        assert!(why.contains("no run can have had"), "{why}");
    }
}

#[tokio::test]
async fn a_transcript_as_large_as_a_step_can_make_it_is_read_back() {
    /// A bucket whose keys take six times as much room in JSON.
    struct Escaped;
    impl BucketSource for Escaped {
        fn get<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
        ) -> BoxFuture<'a, Result<Option<Versioned>, BucketError>> {
            Box::pin(async { Ok(None) })
        }
        fn keys<'a>(
            &'a self,
            _: &'a str,
            _: Option<&'a str>,
            limit: u32,
        ) -> BoxFuture<'a, Result<KeyPage, BucketError>> {
            let keys = (0..limit).map(|number| format!("{}{number}", "\u{1}".repeat(1_000)));
            let page = KeyPage {
                keys: keys.collect(),
                bucket_version: 1,
            };
            Box::pin(async { Ok(page) })
        }
    }
    // Lists until it is told that it had too much.
    let text = keyvalue(
        "(loop $page
           (call $list (local.get $b) (i32.const 0) (i64.const 0) (i32.const 2048))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $page (i32.eqz (i32.load8_u (i32.const 2048)))))
         (call $number (i64.extend_i32_u (local.get $n)))",
    );
    let run = run_with(&text, live(Escaped)).await;
    assert!(
        matches!(run.outcome, Outcome::Ok { .. }),
        "{:?}",
        run.outcome
    );
    let read = Transcript::from_bytes(&run.transcript.to_bytes()).unwrap();
    let again = run_with(&text, World::Replay(read)).await;
    assert_eq!(again.outcome, run.outcome);
    assert_eq!(again.fuel_used, run.fuel_used);
}
