//! What must be accepted.

use serde_json::{Value, json};

use super::super::append_only::earlier;
use super::super::world::*;
use super::{Vector, effectful, pure, retried};
use crate::dsse::{Envelope, IN_TOTO};
use crate::json;
use crate::keys::SigningKey;
use crate::note::{self, Note};
use crate::payload::Blob;
use crate::record::{Decision, Kind, Mode, Record, Stage, Status, VerdictKind};
use crate::trust::{ApproverKey, RecordKey};

fn of(name: &str, about: &str, records: &[Record]) -> Vector {
    Vector::accepted(name, about, &receipt_of(records))
}

pub(super) fn vectors() -> Vec<Vector> {
    [stories(), containers(), logs()]
        .into_iter()
        .flatten()
        .collect()
}

fn stories() -> Vec<Vector> {
    let denied = || ended(attempt(Kind::StepDenied, "pay", 1), Status::Denied);
    let by_policy = {
        let mut denied = denied();
        denied.verdicts = vec![verdict(VerdictKind::Deny)];
        [opened(), denied, closed(Status::Denied)]
    };
    let by_person = {
        let mut denied = denied();
        denied.verdicts = vec![verdict(VerdictKind::NeedsApproval)];
        denied.approvals = vec![approval(&denied, "ada", Decision::Reject)];
        [opened(), denied, closed(Status::Denied)]
    };
    let afterwards = {
        let mut denied = ended(paid(), Status::Denied);
        denied.kind = Kind::StepDenied;
        let mut after = verdict(VerdictKind::NeedsApproval);
        after.stage = Stage::AfterStep;
        denied.verdicts = vec![after];
        [
            opened(),
            effectful().remove(1),
            denied,
            closed(Status::Denied),
        ]
    };
    let planned = |kind| {
        let mut open = opened();
        let mut plan = verdict(kind);
        plan.stage = Stage::Plan;
        open.verdicts = vec![plan];
        open
    };
    let approved = {
        let mut step = completed("balance", 0);
        step.approvals = vec![approval(&step, "ada", Decision::Approve)];
        [
            planned(VerdictKind::NeedsApproval),
            step,
            closed(Status::Ok),
        ]
    };
    let invalid = {
        let mut invalid = failed("balance", 0, Status::InvalidInput);
        invalid.fuel = None;
        invalid.input = None;
        [opened(), invalid, closed(Status::Failed)]
    };
    let monitored = {
        let mut records = pure();
        records[1].verdicts = vec![verdict(VerdictKind::Deny)];
        records[1].verdicts[0].mode = Mode::Monitor;
        records
    };
    let later = {
        let mut records = pure();
        records[1]
            .unrecognised
            .insert("region".to_owned(), "eu".into());
        records
    };
    let mut open = of(
        "story/open",
        "The task is not closed, and the verifier allows that.",
        &pure()[..2],
    );
    open.options.allow_open = true;
    let cancelled = failed("pay", 1, Status::Cancelled);
    vec![
        Vector::accepted(
            "story/whole",
            "A pure step, an effectful one that two people approved, one that is tried again; four blobs are disclosed.",
            &story_receipt(),
        ),
        of("story/pure", "The smallest task: one pure step.", &pure()),
        of(
            "story/effectful",
            "An effectful step that a policy allowed.",
            &effectful(),
        ),
        of(
            "story/retried",
            "A step that fails and succeeds when tried again.",
            &retried(),
        ),
        of(
            "story/denied-by-a-policy",
            "A policy denied the step.",
            &by_policy,
        ),
        of(
            "story/denied-by-a-person",
            "A person rejected the step.",
            &by_person,
        ),
        of(
            "story/denied-afterwards",
            "After the step a policy wants an approval, which counts as a denial.",
            &afterwards,
        ),
        of(
            "story/plan-denied",
            "A policy denied the plan, and no step ran.",
            &[planned(VerdictKind::Deny), closed(Status::Denied)],
        ),
        of(
            "story/plan-approved",
            "A policy wants every step of the plan approved, and a person did.",
            &approved,
        ),
        of(
            "story/invalid-input",
            "The step's input did not fit, and nothing ran.",
            &invalid,
        ),
        of(
            "story/cancelled",
            "The task was cancelled while its step ran.",
            &[
                opened(),
                effectful().remove(1),
                cancelled,
                closed(Status::Cancelled),
            ],
        ),
        of(
            "story/cancelled-at-once",
            "The task was cancelled before a step began.",
            &[opened(), closed(Status::Cancelled)],
        ),
        of(
            "story/monitored",
            "A policy that only monitors denies, which stops nothing.",
            &monitored,
        ),
        of(
            "story/member-of-a-later-version",
            "A predicate has a member that this version does not know; it is signed and kept.",
            &later,
        ),
        open,
    ]
}

fn containers() -> Vec<Vector> {
    let base = Vector::accepted;
    let value: Value = serde_json::from_slice(&receipt_of(&pure()).to_json()).unwrap();
    let mut remark = value.clone();
    remark["remark"] = json!({"n": 1.5, "nothing": null});
    let mut empty = value.clone();
    for list in ["erased", "approvals", "disclosures", "consistency"] {
        empty[list] = json!([]);
    }
    let changed = |name, about, value: &Value| {
        base(name, about, &receipt_of(&pure())).with_receipt(json::canonical(value))
    };
    // No string of the receipt has a comma before a quotation mark.
    let text = String::from_utf8(json::canonical(&value)).unwrap();
    let spaced = format!(" {}\r\n", text.replace(",\"", " ,\n\t\""));
    let mut hint = receipt_of(&pure());
    hint.entries[0].envelope.signatures[0].keyid = None;
    hint.entries[1].envelope.signatures[0].keyid = Some("another".to_owned());
    let mut plain = pure();
    let blob = Blob::plain(b"12");
    plain[1].output = Some(blob.commitment("application/json"));
    let mut plain = receipt_of(&plain);
    plain.disclosures = vec![blob.into_bytes()];

    let mut records = effectful();
    records[1] = authorized();
    let said = json!({"decision": "approve", "note": "seen", "role": "treasurer",
        "subject": {"sha256": records[1].approvals[0].subject.to_hex()}});
    let envelope = Envelope::sign(IN_TOTO, json::canonical(&said), &approver_key());
    signed_by_approver(&mut records[1], &envelope);
    let mut signed = receipt_of(&records);
    signed.approvals = vec![envelope];

    let mut records = effectful();
    records[1] = authorized();
    records[1].approvals[0].approver = APPROVER.to_owned();
    let unsigned = receipt_of(&records);
    let mut later = trust();
    later.approvers[0].from_index = index_of(1) + 1;
    let mut ranges = trust();
    (ranges.approvers[0].from_index, ranges.approvers[0].to_index) =
        (index_of(1), Some(index_of(1)));
    ranges.approvers.push(ApproverKey {
        name: APPROVER.to_owned(),
        key: SigningKey::from_seed([78; 32]).public(),
        from_index: 0,
        to_index: None,
    });

    let mut keys = trust();
    keys.records[0].to_index = Some(index_of(1));
    keys.records.insert(
        0,
        RecordKey {
            key: SigningKey::from_seed([77; 32]).public(),
            from_index: 0,
            to_index: None,
        },
    );
    keys.records.push(RecordKey {
        key: record_key().public(),
        from_index: index_of(2),
        to_index: Some(u64::MAX),
    });
    vec![
        changed(
            "container/unknown-member",
            "The receipt has a member that nothing signs; it is reported.",
            &remark,
        ),
        changed(
            "container/empty-lists",
            "Lists that may be left out are there and empty.",
            &empty,
        ),
        base(
            "container/white-space",
            "White space between the tokens changes nothing.",
            &receipt_of(&pure()),
        )
        .with_receipt(spaced.into_bytes()),
        base(
            "container/keyid",
            "A keyid is a hint: one is absent and one names another key.",
            &hint,
        ),
        base(
            "container/plain",
            "A disclosed payload whose digest has no salt.",
            &plain,
        ),
        base(
            "container/approver",
            "An approver signed the approval too.",
            &signed,
        ),
        base(
            "container/approver-later",
            "An approver who has a key since then did not sign.",
            &unsigned,
        )
        .with_trust(later.to_json()),
        base(
            "container/approver-ranges",
            "An approver signed with one of two keys, at the only index it is valid at.",
            &signed,
        )
        .with_trust(ranges.to_json()),
        base(
            "container/key-ranges",
            "Two keys are valid at an index, and one of them in two ranges.",
            &receipt_of(&pure()),
        )
        .with_trust(keys.to_json()),
    ]
}

fn logs() -> Vec<Vector> {
    let (receipt, log) = linked(&pure(), |_, _| {});
    let mut grown = receipt.clone();
    grown.consistency = vec![log.consistency(4)];
    let seen = earlier(&receipt, 4).checkpoint();
    let mut often = receipt.clone();
    often.consistency = (1..log.head().size)
        .map(|size| log.consistency(size))
        .collect();
    let seen_later = earlier(&receipt, 7).checkpoint();

    // A witness that nobody here knows signed the checkpoint too.
    let text = log.head().to_text();
    let mut note: Note = note::sign(&text, ORIGIN, &log_key()).unwrap();
    let other = note::sign(&text, "witness.example", &SigningKey::from_seed([9; 32])).unwrap();
    note.signatures.extend(other.signatures);
    let mut witnessed = receipt.clone();
    witnessed.checkpoint = note.to_string();
    vec![
        Vector::accepted(
            "log/grew",
            "The log is proven to continue the checkpoint last seen.",
            &grown,
        )
        .seen(seen),
        Vector::accepted(
            "log/many-proofs",
            "Of the consistency proofs for every earlier size, the one from the size last seen counts.",
            &often,
        )
        .seen(seen_later),
        Vector::accepted(
            "log/same",
            "The checkpoint last seen is the receipt's own.",
            &receipt,
        )
        .seen(log.checkpoint()),
        Vector::accepted(
            "log/began-empty",
            "Every log continues the empty one.",
            &receipt,
        )
        .seen(Log::default().checkpoint()),
        Vector::accepted(
            "log/unknown-signature",
            "A signature of an unknown key on the checkpoint is passed over.",
            &witnessed,
        ),
    ]
}
