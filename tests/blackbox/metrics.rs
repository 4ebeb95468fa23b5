//! What monitoring reads.

use serde_json::json;

use crate::host::tasks::one_step;
use crate::host::{Host, allow_everything};

/// The value of a metric, by its name with labels.
pub(crate) fn metric(host: &Host, name: &str) -> Option<u64> {
    let text = host.call("GET", "/metrics").send().expect(200).text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[test]
fn what_happened_is_counted_and_names_nobody() {
    let host = Host::with_guests();
    let succeeded = r#"stepseal_events_total{kind="task.succeeded"}"#;
    assert_eq!(metric(&host, succeeded), None);
    let before = metric(&host, "stepseal_log_entries").unwrap();
    let commits = metric(&host, "stepseal_commits_total").unwrap();
    for prefer in ["wait=60", "respond-async"] {
        let mut task = one_step("hostile/echo", &json!("swordfish"));
        task["agent"] = json!("swordfish");
        let task = host
            .call("POST", "/v1/tasks")
            .header("prefer", prefer)
            .json(&task);
        let task = task.send().expect(201).json();
        host.task_in(task["id"].as_str().unwrap(), "succeeded");
    }
    assert_eq!(metric(&host, succeeded), Some(2));
    let accepted = r#"stepseal_events_total{kind="task.accepted"}"#;
    assert_eq!(metric(&host, accepted), Some(2));
    assert_eq!(metric(&host, "stepseal_tasks_running"), Some(0));
    assert_eq!(
        metric(&host, r#"stepseal_step_runs_total{outcome="ok"}"#),
        Some(2)
    );
    assert!(metric(&host, "stepseal_fuel_total").unwrap() > 2 * 1_000);
    assert_eq!(
        metric(&host, r#"stepseal_places_taken{pool="steps"}"#),
        Some(0)
    );
    assert_eq!(metric(&host, "stepseal_compilations"), Some(0));
    // Accepted and over in one commit where its client waits, and in two where it was told before.
    let after = metric(&host, "stepseal_commits_total").unwrap();
    assert_eq!(after - commits, 3);
    // Each left three records: it was opened, its step ended, it was closed.
    let after = metric(&host, "stepseal_log_entries").unwrap();
    assert_eq!(after - before, 6);
    // What a step logs and keeps.
    host.grant("hostile", &json!({"buckets": ["hostile"]}));
    allow_everything(&host, &json!({}));
    let write = one_step("hostile/kv-write", &json!({"key": "swordfish", "value": 1}));
    assert_eq!(host.submit_and_wait(&write)["state"], "succeeded");
    let written = r#"stepseal_keyvalue_total{access="written"}"#;
    assert_eq!(metric(&host, written), Some(1));
    host.submit_and_wait(&one_step(
        "hostile/log-flood",
        &json!({"lines": 2_000, "line_bytes": 10}),
    ));
    let dropped = r#"stepseal_log_lines_total{outcome="dropped"}"#;
    assert!(metric(&host, dropped).unwrap() > 0);
    host.submit_and_wait(&one_step("hostile/panic", &json!({})));
    let trapped = r#"stepseal_step_runs_total{outcome="trap"}"#;
    assert_eq!(metric(&host, trapped), Some(1));
    let text = host.call("GET", "/metrics").send().expect(200).text();
    assert!(
        !text.contains("swordfish") && !text.contains("hostile"),
        "{text}"
    );
    host.call("GET", "/metrics")
        .authorization(None)
        .send()
        .problem(401, "unauthorized");
}
