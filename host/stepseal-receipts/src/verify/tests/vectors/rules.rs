//! What a plan's own rules let fail, skip and run out of time: right, and claimed where it is not.

use super::super::world::*;
use super::Vector;
use crate::payload::Blob;
use crate::record::{Kind, Record, Span, Status};
use crate::time::Timestamp;
use crate::verify::{IN_PART, TIMEOUT};

/// The receipt of these records under this plan, which is disclosed with these blobs.
fn under(plan: &str, mut records: Vec<Record>, blobs: &[Blob]) -> crate::receipt::Receipt {
    let plan = Blob::blind([9; 32], plan.as_bytes());
    records[0].plan = Some(plan.digest());
    let mut receipt = receipt_of(&records);
    receipt.disclosures = vec![plan.into_bytes()];
    let blobs = blobs.iter().cloned().map(Blob::into_bytes);
    receipt.disclosures.extend(blobs);
    receipt
}

fn closed_as(status: Status, code: &str) -> Record {
    let mut record = closed(status);
    record.outcome.as_mut().unwrap().code = Some(code.to_owned());
    record
}

fn at(mut record: Record, ms: u64) -> Record {
    let time = Timestamp::from_unix_ms(ms).unwrap();
    record.time = Some(Span {
        start: time,
        end: time,
    });
    record
}

/// The second of two steps runs where the output of the first, `{"from":"balance"}`, says so.
fn conditional(equals: &str) -> String {
    format!(
        r##"{{"steps":[{{"id":"balance"}},{{"id":"pay","if":{{"$ref":"#/steps/balance/output/from","equals":"{equals}"}}}}]}}"##
    )
}

const LETS_FAIL: &str = r##"{"steps":[{"id":"balance","on_failure":"continue"},{"id":"pay","with":{"x":[{"$ref":"#/steps/balance/output"}]}},{"id":"fetch","with":{"$ref":"#/steps/balance/output","default":null}}]}"##;
const BY_INPUT: &str =
    r##"{"steps":[{"id":"balance","if":{"$ref":"#/input/of/no","default":false}}]}"##;
const IN_TIME: &str =
    r#"{"not_before":"1970-01-01T00:00:02.000Z","steps":[{"id":"balance"}],"timeout_ms":1000}"#;

fn skipped() -> Vec<Record> {
    vec![
        opened(),
        completed("balance", 0),
        closed_as(Status::Ok, IN_PART),
    ]
}

fn let_fail() -> Vec<Record> {
    let failed = failed("balance", 0, Status::Failed);
    vec![
        opened(),
        failed,
        completed("fetch", 2),
        closed_as(Status::Ok, IN_PART),
    ]
}

fn run_out(ms: u64) -> Vec<Record> {
    vec![
        at(opened(), 1_500),
        at(closed_as(Status::Failed, TIMEOUT), ms),
    ]
}

/// A step that runs for each of two items, and one that needs what they put out.
const TWICE: &str = r##"{"steps":[{"for_each":{"in":[1,2]},"id":"balance"},{"id":"pay","with":{"$ref":"#/steps/balance/output"}}]}"##;

fn twice(items: &[&str]) -> Vec<Record> {
    let mut records = vec![opened()];
    records.extend(items.iter().map(|id| completed(id, 0)));
    records.extend([completed("pay", 1), closed(Status::Ok)]);
    records
}

pub(super) fn accepted() -> Vec<Vector> {
    let output = [output_of("balance")];
    let mut item_let_fail = twice(&["balance[0]", "balance[1]"]);
    item_let_fail[2] = failed("balance[1]", 0, Status::Failed);
    item_let_fail[4] = closed_as(Status::Ok, IN_PART);
    let of = |name: &str, about: &str, plan: &str, records: Vec<Record>, blobs: &[Blob]| {
        Vector::accepted(
            &format!("rules/{name}"),
            about,
            &under(plan, records, blobs),
        )
    };
    vec![
        of(
            "skipped",
            "The condition of a step is not met, and it has no record.",
            &conditional("none"),
            skipped(),
            &output,
        ),
        of(
            "skipped-and-unseen",
            "The same, and what the condition looks at is not disclosed.",
            &conditional("none"),
            skipped(),
            &[],
        ),
        of(
            "all-skipped",
            "The condition of the only step is not met, and nothing ran.",
            BY_INPUT,
            vec![opened(), closed_as(Status::Ok, IN_PART)],
            &[input_of("task")],
        ),
        of(
            "let-fail",
            "A step failed that may, one that needs its output is skipped, and one that says what stands for it ran.",
            LETS_FAIL,
            let_fail(),
            &[],
        ),
        of(
            "timeout",
            "A task had all its time before a step had a record.",
            IN_TIME,
            run_out(3_000),
            &[],
        ),
        of(
            "items",
            "A step ran for each of two items.",
            TWICE,
            twice(&["balance[0]", "balance[1]"]),
            &[],
        ),
        of(
            "no-items",
            "There is nothing that a step runs for.",
            &TWICE.replace("1,2", ""),
            twice(&[]),
            &[],
        ),
        of(
            "item-let-fail",
            "An item failed that may, and a step that needs the output of all of them ran.",
            &TWICE.replace(
                r#""id":"balance""#,
                r#""id":"balance","on_failure":"continue""#,
            ),
            item_let_fail,
            &[],
        ),
    ]
}

pub(super) fn rejected() -> Vec<Vector> {
    let output = [output_of("balance")];
    let of = |name: &str, about: &str, receipt, number: Option<usize>, member| {
        Vector::refused(
            &format!("rules/{name}"),
            about,
            &receipt,
            ("completeness", number, member),
        )
    };
    let both = |end| vec![opened(), completed("balance", 0), completed("pay", 1), end];
    let no_code = |mut records: Vec<Record>| {
        records.pop();
        records.push(closed(Status::Ok));
        records
    };
    let mut depends = let_fail();
    depends.insert(2, attempt(Kind::StepCompleted, "pay", 1));
    depends[2] = completed("pay", 1);
    let strict = LETS_FAIL.replace("continue", "fail");
    vec![
        of(
            "skipped-by-whim",
            "The condition of a step is met, and it has no record.",
            under(&conditional("balance"), skipped(), &output),
            None,
            "plan",
        ),
        of(
            "ran-against-the-rule",
            "The condition of a step is not met, and it ran.",
            under(&conditional("none"), both(closed(Status::Ok)), &output),
            Some(2),
            "plan",
        ),
        of(
            "ran-without-its-input",
            "A step needs the output of one that failed, and it ran.",
            under(LETS_FAIL, depends, &[]),
            Some(2),
            "plan",
        ),
        of(
            "skipped-unsaid",
            "A step is skipped, and the end does not say that the task is ok in part.",
            under(&conditional("none"), no_code(skipped()), &output),
            Some(2),
            "outcome.code",
        ),
        of(
            "in-part-without-a-cause",
            "Every step succeeded, and the end says that the task is ok in part.",
            under(
                &conditional("balance"),
                both(closed_as(Status::Ok, IN_PART)),
                &output,
            ),
            Some(3),
            "outcome.code",
        ),
        of(
            "let-fail-by-whim",
            "A step failed that the plan does not let fail, and the task is ok.",
            under(&strict, let_fail(), &[]),
            Some(1),
            "plan",
        ),
        of(
            "let-fail-unsaid",
            "A step failed that may, and the end does not say that the task is ok in part.",
            under(LETS_FAIL, no_code(let_fail()), &[]),
            Some(3),
            "outcome.status",
        ),
        of(
            "timeout-without-a-limit",
            "A task ran out of the time that its plan does not limit.",
            under(r#"{"steps":[{"id":"balance"}]}"#, run_out(3_000), &[]),
            Some(1),
            "outcome.code",
        ),
        of(
            "timeout-too-early",
            "A task ran out of its time before it was over.",
            under(IN_TIME, run_out(2_999), &[]),
            Some(1),
            "time",
        ),
        of(
            "item-without-a-record",
            "A step ran for one of two items.",
            under(TWICE, twice(&["balance[0]"]), &[]),
            None,
            "plan",
        ),
        of(
            "item-too-many",
            "A step ran for a third of two items.",
            under(
                TWICE,
                twice(&["balance[0]", "balance[1]", "balance[2]"]),
                &[],
            ),
            Some(3),
            "plan",
        ),
        of(
            "whole-in-place-of-items",
            "A step that runs for each of two items ran once.",
            under(TWICE, twice(&["balance"]), &[]),
            Some(1),
            "plan",
        ),
        of(
            "item-of-no-list",
            "A step that runs once ran for an item.",
            under(
                r#"{"steps":[{"id":"balance"},{"id":"pay"}]}"#,
                twice(&["balance[0]"]),
                &[],
            ),
            Some(1),
            "plan",
        ),
    ]
}
