//! Attacks by what a plugin answers.

use serde_json::json;
use stepseal_receipts::record::Status;

use super::attacks::{FINE, LIFTED, as_it_is, body, with_items};
use super::{By, Run, run};
use crate::wat::Plugin;

/// A plugin that answers with these bytes of its memory.
pub(super) fn answer(make: &str, at: u32, bytes: u32) -> By {
    body(&format!(
        "{make} (call $ok (i32.const {at}) (i32.const {bytes}))"
    ))
}

/// A plugin that answers with an array of zeroes, so many and one more.
fn numbers(count: u32) -> By {
    let (begin, end) = (65_538, 65_538 + 2 * count);
    // `[0`, then `,0` four at a time, then `]`.
    let make = format!(
        "(local $at i32) (drop (memory.grow (i32.const 320)))
         (i32.store16 (i32.const 65536) (i32.const 0x305b))
         (local.set $at (i32.const {begin}))
         (loop $again
           (i64.store (local.get $at) (i64.const 0x302c302c302c302c))
           (br_if $again (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (i32.const {end}))))
         (i32.store8 (i32.const {end}) (i32.const 0x5d))"
    );
    answer(&make, 65_536, 2 * count + 3)
}

/// A plugin that answers with this text.
fn answer_text(text: &str, bytes: u32) -> By {
    with_items(
        &format!("(data (i32.const 1024) \"{text}\")"),
        &format!("(call $ok (i32.const 1024) (i32.const {bytes}))"),
    )
}

pub(super) fn answers() -> Vec<Run> {
    const STRICT: &str = "outputs are read strictly before anything is made of them";
    let deep = "(drop (memory.grow (i32.const 40)))
        (memory.fill (i32.const 65536) (i32.const 0x5b) (i32.const 1000000))
        (memory.fill (i32.const 1065536) (i32.const 0x5d) (i32.const 1000000))";
    let bad = |attack, by, says| run(attack, by, Status::Failed, says, STRICT).code("bad-output");
    vec![
        bad(
            "an answer that is not UTF-8",
            answer_text("\\22\\ff\\fe\\22", 4),
            "utf-8",
        ),
        bad(
            "an answer that is not JSON",
            answer_text("nonsense", 8),
            "not JSON",
        ),
        bad(
            "an answer with a name twice",
            answer_text("{\\22a\\22:1,\\22a\\22:2}", 13),
            "\"a\"",
        ),
        bad(
            "an answer with a number that no double holds",
            answer_text("1e999", 5),
            "not JSON",
        ),
        bad(
            "JSON of depth 1,000,000, where 16 MiB were allowed",
            answer(deep, 65_536, 2_000_000),
            "not JSON",
        )
        .under(json!({"output_bytes": 16 << 20})),
        run(
            "JSON of 10,000,001 small values, where 16 MiB were allowed",
            numbers(10_000_000),
            Status::Failed,
            "too much data",
            LIFTED,
        )
        .code("bad-output")
        .under(json!({"output_bytes": 16 << 20})),
        run(
            "JSON of 500,001 small values in the 1 MiB that is allowed",
            numbers(500_000),
            Status::Ok,
            "",
            "what is made of it in the host is bounded by its size",
        ),
    ]
}

/// Plugins that do otherwise than `describe` said.
pub(super) fn otherwise() -> Vec<Run> {
    let refuses = with_items(
        "(data (i32.const 1024) \"I do no such thing\")",
        "(call $fail (i32.const 0) (i32.const 1024) (i32.const 18))",
    );
    let promises = Plugin {
        items: "(data (i32.const 1024) \"{\\22type\\22:\\22integer\\22}\")".to_owned(),
        run: FINE.to_owned(),
        // The output schema of its one step.
        describe: Some(
            "(i32.store (i32.const 664) (i32.const 1024)) (i32.store (i32.const 668) (i32.const 18)) (i32.const 600)"
                .to_owned(),
        ),
        ..Plugin::default()
    };
    vec![
        run(
            "a step that `describe` names and `run` does not know",
            refuses,
            Status::InvalidInput,
            "I do no such thing",
            "what `run` says is recorded, whatever `describe` said",
        ),
        run(
            "an answer that is not what `describe` promised",
            By::Text(promises, as_it_is),
            Status::Failed,
            "does not fit the step type's schema",
            "outputs are held against the schema that was described when it was uploaded",
        )
        .code("bad-output"),
    ]
}
