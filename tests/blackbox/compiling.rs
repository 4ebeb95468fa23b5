//! Compiling what strangers upload, in a process that may take only so much.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};

use crate::host::{Host, guests};
use crate::wat::parse_str;

/// What the compiler's process makes of a component under limits of memory (bytes) and processor time (seconds): how it ended,
/// how much machine code it wrote, and what it said.
fn compiled(component: &[u8], memory_bytes: u64, cpu_seconds: u64) -> (ExitStatus, usize, String) {
    let mut compiler = Command::new(env!("CARGO_BIN_EXE_stepseal"))
        .args([
            "compile",
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
    assert!(said.contains("memory"), "{status} {said}");

    // More code than a second is enough for: loops within loops, each with a branch out of all of them.
    let function = format!(
        "(func {} {})",
        "(loop ".repeat(60) + "(br_table 0 30 59 (i32.const 1))",
        ")".repeat(60)
    );
    let module = format!("(component (core module {}))", function.repeat(6_000));
    let (status, code, said) = compiled(&parse_str(module).unwrap(), 4 << 30, 1);
    assert!(
        status.signal().is_some() && code == 0,
        "{status} {code} {said}"
    );
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
