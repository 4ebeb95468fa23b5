//! The table of attacks in the documentation, made of the attacks themselves.

use std::fmt::Write as _;
use std::path::Path;

use super::policies::policies;
use super::runs::runs;
use super::uploads::{Ends, uploads};

/// Where it is.
const PLACE: &str = "docs/HOSTILE.md";

const HEAD: &str = "# What strangers can do to a host, and what becomes of it

This page is written by the test that makes these attacks on a real host (`cargo test -p stepseal --test blackbox hostile`;
`UPDATE_HOSTILE=1` writes the page). Each attack ends as its row says, in every run of the tests, while `/healthz` answers; and then 200 of
those that run are made at once beside an honest client, also with the host pinned to one processor: every honest call succeeds, and
afterwards the host has every place to run in, and no more memory and threads than an earlier such crowd made it keep.
";

const RUNS: &str = "
## Plugins that run

The receipt of each verifies, and its record says how the step ended: `outcome.status`, and `outcome.code` where there is one. What
a guest is told of a request is in the transcript that the record names.

| attack | recorded and signed | what holds it |
|---|---|---|
";

const POLICIES: &str = "
## Policies

Each is bound to an agent of its own, and the record of a step of that agent says what it is taken to have said: the verdict, and the
code of its reason. Whoever is denied is denied, whatever other policies say.

| attack | recorded and signed | the task | what holds it |
|---|---|---|---|
";

const UPLOADS: &str = "
## What is sent as a component

A refusal is an RFC 9457 problem with this status and code, and nothing is kept. What is taken runs like any other plugin. Functions
and blocks are fewer than they could be: ten times as many are taken too, and only keep the compiler of a debug build busy for longer.

| attack | answer | what holds it |
|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page += RUNS;
    for run in runs() {
        let code = run.code.map(|code| format!(", `{code}`"));
        let told = run.told.map(|told| format!("; the guest is told `{told}`"));
        let (attack, held_by) = (run.attack, run.held_by);
        let (status, code) = (run.status.as_str(), code.or(told).unwrap_or_default());
        writeln!(page, "| {attack} | `{status}`{code} | {held_by} |").unwrap();
    }
    page += POLICIES;
    for judge in policies() {
        let code = judge.code.map(|code| format!(", `{code}`"));
        let (attack, held_by) = (judge.attack, judge.held_by);
        let (verdict, code) = (judge.verdict.as_str(), code.unwrap_or_default());
        let task = judge.task;
        writeln!(
            page,
            "| {attack} | `{verdict}`{code} | {task} | {held_by} |"
        )
        .unwrap();
    }
    page += UPLOADS;
    for upload in uploads() {
        let (attack, held_by) = (upload.attack, upload.held_by);
        let answer = match upload.ends {
            Ends::Refused(status, code, _) => format!("{status}, `{code}`"),
            Ends::Taken => "taken".to_owned(),
            Ends::SameAgain => "taken, and described again the same".to_owned(),
        };
        writeln!(page, "| {attack} | {answer} | {held_by} |").unwrap();
    }
    page
}

#[test]
fn the_page_says_what_the_attacks_are() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(PLACE);
    let page = page();
    if std::env::var_os("UPDATE_HOSTILE").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    let found = std::fs::read_to_string(&place).unwrap_or_default();
    assert!(
        found == page,
        "{PLACE} is not what the attacks are: run this test with UPDATE_HOSTILE=1 and commit the file"
    );
}
