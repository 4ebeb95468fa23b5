//! Components in a bucket (`serve --components s3://...`), on a server that holds every request against keys as Amazon's does.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::host::s3::S3;
use crate::host::tasks::{id, one_step};
use crate::host::{DataDir, Host, eventually, guests};
use crate::support::allow;

/// A pure step.
fn jq() -> Value {
    one_step("jq/filter", &json!({"filter": ".", "document": 1}))
}

/// A host whose components are in this bucket, and how a process of it is told to get in.
fn serve(dir: DataDir, s3: &S3) -> Host {
    let environment = s3.environment();
    let set: Vec<String> = environment
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut command = vec!["env"];
    command.extend(set.iter().map(String::as_str));
    Host::run_by(&command, dir, &["--components", "s3://components/of/hosts"])
}

/// Ends a host and starts it again without any copy of a component but the bucket's.
fn without_copies(host: Host, s3: &S3) -> Host {
    let dir = host.stop();
    for kept in ["components", "cache"] {
        let kept = dir.path().join(kept);
        fs::remove_dir_all(&kept).expect("a host makes it");
        fs::create_dir(&kept).expect("it is gone");
    }
    serve(dir, s3)
}

fn object(digest: &str) -> String {
    format!("of/hosts/{}.wasm", digest.trim_start_matches("sha256:"))
}

#[test]
fn a_component_is_found_in_the_bucket_and_is_what_it_is_named() {
    let mut s3 = S3::start();
    let host = serve(DataDir::fresh(), &s3);
    let digest = host.upload("jq");
    assert_eq!(
        s3.list(),
        [object(&digest), "of/hosts/stepseal.txt".to_owned()]
    );

    let host = without_copies(host, &s3);
    let done = host.submit_and_wait(&jq());
    assert_eq!(done["state"], "succeeded", "{done:#}");

    // What somebody else put there is never run, and the task is nobody's to deny: it goes on once the component is there again.
    let host = without_copies(host, &s3);
    s3.put(&object(&digest), "something else");
    let task = id(&host.submit(&jq()));
    eventually("the host says which object is not what it was", || {
        let said = host.said();
        said.contains(&format!(
            "s3://components/{} does not hold",
            object(&digest)
        ))
        .then_some(())
    });
    host.call("GET", format!("/v1/components/{digest}/content"))
        .send()
        .expect(500);
    host.upload_bytes(guests::bytes("jq")).expect(200);
    host.task_in(&task, "succeeded");
    host.receipt_verified(&task);

    let host = without_copies(host, &s3);
    s3.delete(&object(&digest));
    let task = id(&host.submit(&jq()));
    eventually("the host says which object is missing", || {
        let missing = format!(
            "reading s3://components/{}: there is no such object",
            object(&digest)
        );
        host.said().contains(&missing).then_some(())
    });
    host.upload_bytes(guests::bytes("jq")).expect(200);
    host.task_in(&task, "succeeded");
    assert_eq!(s3.list().len(), 2);
}

#[test]
fn while_the_server_is_gone_tasks_wait_and_nothing_is_denied() {
    let mut s3 = S3::start();
    let host = serve(DataDir::fresh(), &s3);
    for guest in ["ledger", "jq", "spending-limit"] {
        host.upload(guest);
    }
    allow(&host, "jq", &["filter"]);

    let host = without_copies(host, &s3);
    s3.leave();
    let refused = host.upload_bytes(guests::bytes("hostile")).expect(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(
        host.get("/v1/components")["items"]
            .as_array()
            .unwrap()
            .len(),
        3,
        "no row without its bytes"
    );
    // Neither the policy nor the plugin can be had.
    let task = id(&host.submit(&jq()));
    eventually("the host says that it cannot reach the server", || {
        host.said().contains("Connection refused").then_some(())
    });
    s3.come_back();
    host.task_in(&task, "succeeded");
    host.receipt_verified(&task);
    host.upload("hostile");
}

#[test]
fn a_host_that_cannot_use_its_bucket_says_why_and_does_not_start() {
    let mut s3 = S3::start();
    let temp = tempfile::tempdir().unwrap();
    let start = |url: &str, changed: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stepseal"));
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--components",
                url,
                "--data",
            ])
            .arg(temp.path().join("data"))
            .envs(s3.environment())
            .envs(changed.iter().copied());
        let ran = command.output().expect("the built program can be started");
        let said = String::from_utf8(ran.stderr).expect("UTF-8");
        for (name, value) in s3.environment() {
            assert!(
                name != "AWS_SECRET_ACCESS_KEY" || !said.contains(&value),
                "{said}"
            );
        }
        (ran.status.code(), said)
    };
    let refused = |url: &str, changed: &[(&str, &str)], words: &str| {
        let (code, said) = start(url, changed);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{words:?} was not said: {said}");
        said
    };
    let secret = "a-secret-that-is-not-the-servers";
    let ours = "s3://components/x";
    let said = refused(
        ours,
        &[("AWS_SECRET_ACCESS_KEY", secret)],
        "SignatureDoesNotMatch",
    );
    assert!(
        !said.contains(secret) && said.contains("AWS_ACCESS_KEY_ID"),
        "{said}"
    );
    refused(
        ours,
        &[("AWS_ACCESS_KEY_ID", "nobody")],
        "InvalidAccessKeyId",
    );
    refused("s3://another/x", &[], "NoSuchBucket");
    refused(
        ours,
        &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")],
        "Connection refused",
    );
    refused(
        ours,
        &[("AWS_ENDPOINT_URL", "http://192.0.2.1:9")],
        "AWS_ALLOW_HTTP",
    );
    let (code, said) = start("s3://key:secret@components/x", &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(!Path::new(&temp.path().join("data/address")).exists());
    assert_eq!(s3.list(), [""; 0], "nothing was written");
}
