//! Compiling what strangers upload, in a process that may take only so much.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use serde_json::json;

use crate::host::client::Client;
use crate::host::tasks::one_step;
use crate::host::{DataDir, Host, eventually, guests};
use crate::wat::parse_str;

/// Linux's number of the signal for too much processor time.
const SIGXCPU: i32 = 24;

/// What the compiler's process makes of a component under limits of memory (bytes) and processor time (seconds): how it ended,
/// how much machine code it wrote, and what it said.
fn compiled(component: &[u8], memory_bytes: u64, cpu_seconds: u64) -> (ExitStatus, usize, String) {
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_stepseal"))
        .args([
            "compile-worker",
            &memory_bytes.to_string(),
            &cpu_seconds.to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read everything.
    let _ = compiler.stdin.take().unwrap().write_all(component);
    let ended = compiler.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status, ended.stdout.len(), said)
}

#[test]
fn the_compiler_is_stopped_by_its_limits_of_memory_and_time() {
    let jq = guests::bytes("jq");
    let (status, code, said) = compiled(&jq, 4 << 30, 600);
    assert!(
        status.success() && code > jq.len(),
        "{status} {code} {said}"
    );

    let (status, code, said) = compiled(&jq, 64 << 20, 600);
    assert!(!status.success() && code == 0, "{status} {code} {said}");
    let starved = [
        "component: out of memory",
        "host: out of memory",
        "memory allocation of",
    ];
    assert!(
        starved.iter().any(|words| said.starts_with(words)),
        "{status} {said}"
    );

    // More code than a second is enough for: loops within loops, each with a branch out of all of them.
    let function = format!(
        "(func {} {})",
        "(loop ".repeat(60) + "(br_table 0 30 59 (i32.const 1))",
        ")".repeat(60)
    );
    let module = format!("(component (core module {}))", function.repeat(6_000));
    let (status, code, said) = compiled(&parse_str(module).unwrap(), 4 << 30, 1);
    assert_eq!(
        (status.signal(), code),
        (Some(SIGXCPU), 0),
        "{status} {said}"
    );
}

#[test]
fn the_compiler_keeps_limits_that_are_lower_than_its_own() {
    // A limit of the operator's stays as it is: raising it is refused to everybody but root, and no business of ours.
    let line = format!(
        "ulimit -v 4000000; ulimit -t 50; exec {} compile-worker 99000000000 600",
        env!("CARGO_BIN_EXE_stepseal")
    );
    let mut compiler = Command::new("bash")
        .args(["-c", &line])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let about =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", compiler.id())).unwrap();
    // Being nice is the last thing it does before it reads.
    let nice = |stat: &str| -> Option<i32> {
        stat.rsplit(')')
            .next()?
            .split_whitespace()
            .nth(16)?
            .parse()
            .ok()
    };
    let own = nice(&std::fs::read_to_string("/proc/self/stat").unwrap());
    eventually("it has confined itself", || {
        (nice(&about("stat")) > own).then_some(())
    });
    let limits = about("limits");
    compiler.kill().unwrap();
    compiler.wait().unwrap();
    for limit in [
        ["Max cpu time", "50", "50", "seconds"],
        ["Max core file size", "0", "0", "bytes"],
        ["Max address space", "4096000000", "4096000000", "bytes"],
    ] {
        let line = limits.lines().find(|line| line.starts_with(limit[0]));
        let found = line.unwrap()[limit[0].len()..].split_whitespace();
        assert_eq!(found.collect::<Vec<_>>(), limit[1..], "{limits}");
    }
}

#[test]
fn what_compiling_took_is_not_kept() {
    let host = Host::empty();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
        let anonymous = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        anonymous
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap()
    };
    let before = resident();
    host.upload("jq");
    // The machine code is mapped, and the bytes went through; compiling them here took another 40 MiB.
    let after = resident();
    assert!(
        after < before + (30 << 10),
        "{before} KiB, then {after} KiB"
    );
}

#[test]
fn whoever_waits_for_an_upload_can_see_how_far_it_is() {
    let host = Host::empty();
    let functions = "(func (loop (br_table 0 0 (i32.const 1))))".repeat(10_000);
    let heavy = parse_str(format!("(component (core module {functions}))")).unwrap();
    let heavy_bytes = heavy.len();
    let client: &Client = &host;
    let listed = || {
        client.get("/v1/compilations")["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    assert!(listed().is_empty());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            client
                .upload_bytes(heavy.clone())
                .problem(422, "no-known-export")
        });
        eventually("its turn has come", || {
            let listed = listed();
            let compiled = listed.iter().find(|one| one["state"] == "compiling")?;
            assert_eq!(compiled["size"], heavy_bytes);
            Some(())
        });
        let second = scope.spawn(|| client.upload_bytes(guests::bytes("jq")));
        eventually("another one waits behind it, or is done", || {
            let listed = listed();
            let waits = listed
                .iter()
                .any(|one| one["state"] == "waiting" && one.get("size").is_none());
            (waits || first.is_finished()).then_some(())
        });
        first.join().unwrap();
        // On a busy machine its turn may come too late.
        let answer = second.join().unwrap();
        assert!([201, 429].contains(&answer.status), "{}", answer.text());
    });
    assert!(listed().is_empty());
}

#[test]
fn compiled_components_stay_within_what_the_operator_allows() {
    let host = Host::with(DataDir::fresh(), &["--compiled-mib", "3"]);
    for guest in ["jq", "hostile", "ledger", "spending-limit"] {
        host.upload(guest);
    }
    let cache = host.data().join("cache");
    let sizes = || -> Vec<u64> {
        let files = std::fs::read_dir(&cache).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect()
    };
    let kept = sizes();
    assert!(
        !kept.is_empty() && kept.iter().sum::<u64>() <= 3 << 20,
        "{kept:?}"
    );

    // What was deleted is compiled again when it is needed.
    let dir = host.stop();
    std::fs::remove_dir_all(&cache).unwrap();
    let host = Host::with(dir, &["--compiled-mib", "0"]);
    let task = host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": 1}),
    ));
    assert_eq!(task["state"], "succeeded", "{task}");
    assert!(sizes().is_empty());
}
