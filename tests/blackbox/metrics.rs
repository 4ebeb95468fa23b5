//! What monitoring reads.

use serde_json::json;

use crate::host::Host;
use crate::host::tasks::one_step;

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
    // Accepted and over in one commit where its client waits, and in two where it was told before.
    let after = metric(&host, "stepseal_commits_total").unwrap();
    assert_eq!(after - commits, 3);
    // Each left three records: it was opened, its step ended, it was closed.
    let after = metric(&host, "stepseal_log_entries").unwrap();
    assert_eq!(after - before, 6);
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
