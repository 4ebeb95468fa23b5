//! Components of WASI 0.3: the same limits, clock, randomness and log as those of WASI 0.2 have, and what only they can try.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::{
    HttpAccess, HttpClient, HttpLimits, HttpRule, Live, LogLevel, MemoryBuckets, Origin, Outcome,
    PathPrefix, Sandbox, Secrets, Settings, StepCall, StepRun, SystemResolver, TlsRoots, World,
};
use stepseal_receipts::digest::Digest;

use super::{call, component};

fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(Settings::default()).unwrap())
}

async fn run_call(call: StepCall) -> StepRun {
    let bytes = component("concurrent");
    let step = sandbox()
        .step(Digest::of(&bytes), || Ok(bytes))
        .await
        .unwrap();
    sandbox().run(&step, call).await
}

async fn run(step_type: &str) -> StepRun {
    run_call(call(step_type, "{}")).await
}

#[track_caller]
fn output(run: &StepRun) -> serde_json::Value {
    match &run.outcome {
        Outcome::Ok { output } => serde_json::from_slice(output).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn it_is_looked_into_like_any_other() {
    let inspection = sandbox()
        .inspect(Arc::from(component("concurrent")))
        .await
        .unwrap();
    let imports = inspection.imports.join(" ");
    assert!(
        imports.contains("wasi:clocks/monotonic-clock@0.3.0"),
        "{imports}"
    );
}

#[tokio::test]
async fn clock_and_randomness_are_those_of_the_record() {
    let ran = run("look").await;
    let seen = output(&ran);
    assert_eq!(seen["names"], 100);
    assert_eq!(seen["seconds"], 1_790_000_000);
    assert_eq!(seen["waited_ms"], 3_600_000, "it waited, and at once");
    assert!(ran.virtual_elapsed >= Duration::from_hours(1));
    let mut other = call("look", "{}");
    other.seed = [8; 32];
    assert_ne!(output(&run_call(other).await)["random"], seen["random"]);
}

#[tokio::test]
async fn waits_end_in_the_order_of_time_and_then_in_the_order_they_began() {
    let ran = run("race").await;
    assert_eq!(output(&ran), serde_json::json!([1, 3, 2, 0]));
    assert!(
        ran.virtual_elapsed < Duration::from_millis(31),
        "they ran side by side"
    );
}

/// Leave to get anything from this port of the machine.
fn may_ask(port: u16) -> World {
    let rule = HttpRule {
        origin: Origin::new("http", "127.0.0.1", Some(port)).unwrap(),
        path: PathPrefix::new("/").unwrap(),
        methods: vec!["GET".to_owned()],
        addresses: vec!["127.0.0.1".parse().unwrap()],
        injected: Vec::new(),
        limits: HttpLimits::default(),
    };
    World::Live(Live {
        buckets: Vec::new(),
        source: Arc::new(MemoryBuckets::new()),
        http: Some(HttpAccess {
            rules: Arc::from([rule]),
            secrets: Arc::new(Secrets::new(BTreeMap::new())),
            client: Arc::new(
                HttpClient::new(Arc::new(SystemResolver), TlsRoots::default()).unwrap(),
            ),
        }),
    })
}

#[tokio::test]
async fn no_time_passes_while_it_is_answered_though_another_task_of_it_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        client.write_all(answer).unwrap();
    });
    let mut asking = call("ask", &format!("\"127.0.0.1:{port}\""));
    asking.access.world = may_ask(port);
    let live = run_call(asking).await;
    let seen = serde_json::json!({"answered_ms": 0, "waited_ms": 3_600_000});
    assert_eq!(output(&live), seen);
    // Only now: who was never asked waits for ever.
    server.join().unwrap();

    // Nobody is asked here, and it sees the same.
    let mut again = call("ask", &format!("\"127.0.0.1:{port}\""));
    again.access.world = World::Replay(live.transcript.clone());
    let replayed = run_call(again).await;
    assert_eq!(output(&replayed), seen);
    assert_eq!(replayed.fuel_used, live.fuel_used);
}

#[tokio::test]
async fn what_it_prints_through_a_stream_is_in_the_log() {
    let ran = run("print").await;
    assert_eq!(output(&ran), serde_json::Value::Null);
    let lines: Vec<_> = ran
        .logs
        .iter()
        .map(|line| (line.level, line.context.as_str(), line.message.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (LogLevel::Info, "stdout", "one line"),
            (LogLevel::Info, "stdout", "and another")
        ]
    );
}

#[tokio::test]
async fn what_it_leaves_running_ends_with_the_answer() {
    assert_eq!(output(&run("spawned").await), serde_json::Value::Null);
}

#[tokio::test]
async fn a_task_that_waits_for_nothing_is_stopped_at_once() {
    let ran = run("never").await;
    assert!(matches!(ran.outcome, Outcome::Trap(_)), "{:?}", ran.outcome);
}

#[tokio::test]
async fn tasks_and_futures_without_end_are_refused() {
    for step in ["spawn", "futures"] {
        let ran = run(step).await;
        assert!(
            matches!(ran.outcome, Outcome::Trap(_)),
            "{step}: {:?}",
            ran.outcome
        );
        assert!(ran.fuel_used < 50_000_000, "{step}: {}", ran.fuel_used);
    }
}

#[tokio::test]
async fn printing_without_end_uses_up_the_fuel_and_keeps_a_bounded_log() {
    let ran = run("flood").await;
    assert_eq!(ran.outcome, Outcome::OutOfFuel);
    let kept: usize = ran.logs.iter().map(|line| line.message.len()).sum();
    assert!(kept <= 256 << 10, "{kept}");
}

#[tokio::test]
async fn sending_to_itself_without_end_ends() {
    let mut call = call("pipe", "{}");
    call.limits.wall = Duration::from_millis(300);
    let ran = run_call(call).await;
    assert!(
        matches!(ran.outcome, Outcome::Timeout | Outcome::OutOfFuel),
        "{:?}",
        ran.outcome
    );
}

#[tokio::test]
async fn it_can_be_cancelled_while_it_runs() {
    let call = call("pipe", "{}");
    let cancel = call.cancel.clone();
    let running = tokio::spawn(run_call(call));
    cancel.cancel();
    assert_eq!(running.await.unwrap().outcome, Outcome::Cancelled);
}
