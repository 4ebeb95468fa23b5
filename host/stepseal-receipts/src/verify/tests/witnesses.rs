//! Who else saw the log: what cosignatures show, and what they must not be taken for.

use super::world::*;
use crate::cosignature::{self, WitnessKey};
use crate::keys::SigningKey;
use crate::note::{self, NOTE_SIGNATURES_MAX, Note, NoteSignature, VerifierKey};
use crate::receipt::Receipt;
use crate::verify::{Check, Options, Outcome3, Report, verify, verify_bytes};
use crate::witness_policy::WitnessPolicy;

pub(super) const TIME: u64 = 1_700_000_000;

pub(super) fn witness_key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

/// The name a witness signs under; in the policy it is another one.
pub(super) fn key_name(seed: u8) -> String {
    format!("witness.example/{seed}")
}

pub(super) fn vkey(seed: u8) -> WitnessKey {
    WitnessKey::new(&key_name(seed), &witness_key(seed).public()).unwrap()
}

/// Two of the witnesses 71, 72 and 73.
pub(super) fn policy_text() -> String {
    let [one, two, three] = [71, 72, 73].map(vkey);
    format!(
        "witness anna {one}\nwitness ben {two}\nwitness cleo {three}\ngroup two 2 anna ben cleo\nquorum two\n"
    )
}

fn policy() -> WitnessPolicy {
    WitnessPolicy::parse(policy_text().as_bytes()).unwrap()
}

/// A cosignature of a checkpoint's note.
pub(super) fn cosignature(note: &str, seed: u8, time: u64) -> NoteSignature {
    let text = Note::parse(note).unwrap().text;
    cosignature::sign(&text, time, &key_name(seed), &witness_key(seed)).unwrap()
}

fn add(receipt: &mut Receipt, line: NoteSignature) {
    let mut note = Note::parse(&receipt.checkpoint).unwrap();
    note.signatures.push(line);
    receipt.checkpoint = note.to_string();
}

fn cosigned(seeds: &[u8]) -> Receipt {
    let mut receipt = receipt_of(&story());
    for &seed in seeds {
        let line = cosignature(&receipt.checkpoint, seed, TIME + u64::from(seed));
        add(&mut receipt, line);
    }
    receipt
}

fn under(receipt: &Receipt, policy: WitnessPolicy) -> Report {
    let options = Options {
        witnesses: Some(policy),
        ..Options::default()
    };
    let report = verify(receipt, &trust(), &options);
    assert_eq!(
        report,
        verify_bytes(&receipt.to_json(), &trust(), &options),
        "through bytes and without"
    );
    report
}

fn names(report: &Report) -> Vec<&str> {
    report.cosigned.iter().map(|c| c.witness.as_str()).collect()
}

#[track_caller]
fn assert_passed(report: &Report) {
    assert!(report.passed(), "{:#?}", report.faults);
    assert_eq!(report.verdicts.witnessed, Outcome3::Pass);
}

/// Asserts the one fault of the witnesses and that it names each of `named`.
#[track_caller]
fn assert_witness_fault(report: &Report, member: &str, named: &[&str]) {
    assert_fault(report, Check::Witnessed, None, member);
    assert_eq!(report.verdicts.witnessed, Outcome3::Fail);
    assert_eq!(
        report.verdicts.signatures,
        Outcome3::Pass,
        "the log did sign"
    );
    for name in named {
        let message = &report.faults[0].message;
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_checkpoint_that_enough_witnesses_cosigned_is_witnessed() {
    let report = under(&cosigned(&[71, 73]), policy());
    assert_passed(&report);
    assert_eq!(names(&report), ["anna", "cleo"]);
    assert_eq!(report.cosigned[0].key_name, "witness.example/71");
    assert_eq!(report.cosigned[1].unix_seconds, TIME + 73);
    assert_passed(&under(&cosigned(&[73, 72, 71]), policy()));
}

#[test]
fn too_few_cosignatures_are_a_fault_that_names_who_is_missing() {
    let one = under(&cosigned(&[72]), policy());
    assert_witness_fault(
        &one,
        "checkpoint",
        &["by \"ben\"", "none by \"anna\", \"cleo\""],
    );
    assert_eq!(names(&one), ["ben"]);
    let nobody = under(&cosigned(&[]), policy());
    assert_witness_fault(&nobody, "checkpoint", &["by nobody", "anna", "ben", "cleo"]);
}

#[test]
fn without_a_policy_or_a_quorum_nothing_is_said_of_witnesses() {
    let receipt = cosigned(&[71, 72, 73]);
    let report = report(&receipt);
    assert!(report.passed());
    assert_eq!(report.verdicts.witnessed, Outcome3::NotChecked);
    assert!(report.cosigned.is_empty());

    let text = policy_text().replace("quorum two", "quorum none");
    let none = || WitnessPolicy::parse(text.as_bytes()).unwrap();
    let report = under(&receipt, none());
    assert!(report.passed());
    assert_eq!(report.verdicts.witnessed, Outcome3::NotChecked);
    assert_eq!(names(&report), ["anna", "ben", "cleo"]);
    // Nobody had to cosign, but who says that anna did must be right.
    let mut forged = receipt.clone();
    let mut line = cosignature(&receipt.checkpoint, 71, TIME);
    line.signature[20] ^= 1;
    add(&mut forged, line);
    assert_witness_fault(&under(&forged, none()), "checkpoint", &["anna"]);
}

#[test]
fn a_forged_cosignature_is_a_fault_even_where_the_others_are_enough() {
    let mut receipt = cosigned(&[71, 73]);
    // Signed by somebody else under ben's name and key id.
    let text = Note::parse(&receipt.checkpoint).unwrap().text;
    let mut line = cosignature::sign(&text, TIME, &key_name(72), &witness_key(99)).unwrap();
    line.key_id = cosignature(&receipt.checkpoint, 72, TIME).key_id;
    add(&mut receipt, line);
    let report = under(&receipt, policy());
    assert_witness_fault(
        &report,
        "checkpoint",
        &["signature line 4", "ben", "witness.example/72"],
    );
}

#[test]
fn a_cosignature_cannot_be_made_fresher_than_it_is() {
    let mut receipt = cosigned(&[71, 73]);
    let mut line = cosignature(&receipt.checkpoint, 72, TIME);
    line.signature[..8].copy_from_slice(&(TIME + 86_400).to_be_bytes());
    add(&mut receipt, line);
    assert_witness_fault(&under(&receipt, policy()), "checkpoint", &["ben"]);
}

#[test]
fn a_witness_that_cosigned_twice_counts_once() {
    let mut receipt = cosigned(&[71]);
    let line = cosignature(&receipt.checkpoint, 71, TIME + 1000);
    add(&mut receipt, line.clone());
    let report = under(&receipt, policy());
    assert_witness_fault(&report, "checkpoint", &["none by \"ben\", \"cleo\""]);
    assert_eq!(names(&report), ["anna"]);
    assert_eq!(
        report.cosigned[0].unix_seconds,
        TIME + 1000,
        "the later time"
    );
    // The same line again.
    add(&mut receipt, line);
    assert_witness_fault(&under(&receipt, policy()), "checkpoint", &["ben"]);
    let second = cosignature(&receipt.checkpoint, 72, TIME);
    add(&mut receipt, second);
    assert_passed(&under(&receipt, policy()));
}

#[test]
fn a_good_cosignature_does_not_hide_a_forged_one_of_the_same_witness() {
    let mut receipt = cosigned(&[71, 72]);
    let mut line = cosignature(&receipt.checkpoint, 71, TIME);
    line.signature[71] ^= 1;
    add(&mut receipt, line);
    let report = under(&receipt, policy());
    assert!(
        report
            .faults
            .iter()
            .all(|fault| fault.check == Check::Witnessed)
    );
    assert!(report.faults[0].message.contains("anna"));
    assert_eq!(names(&report), ["ben"]);
}

#[test]
fn a_cosignature_of_another_checkpoint_is_a_fault() {
    let receipt = cosigned(&[71, 73]);
    // Of an earlier head of the log, of a fork of it, and of another log of the same size and root.
    let mut earlier = Log::default();
    earlier.append_others(3);
    let mut fork = Log::default();
    fork.append_others(19);
    let mut elsewhere =
        crate::checkpoint::Checkpoint::open(&receipt.checkpoint, &trust().log).unwrap();
    elsewhere.origin = "log.example/two".to_owned();
    let elsewhere = elsewhere.sign(&log_key()).unwrap();
    for foreign in [earlier.checkpoint(), fork.checkpoint(), elsewhere] {
        let mut receipt = receipt.clone();
        add(&mut receipt, cosignature(&foreign, 72, TIME));
        assert_witness_fault(
            &under(&receipt, policy()),
            "checkpoint",
            &["signature line 4", "ben"],
        );
    }
}

#[test]
pub(super) fn cosignatures_of_unknown_witnesses_are_passed_over_and_count_for_nothing() {
    let mut receipt = cosigned(&[90, 71, 91]);
    let report = under(&receipt, policy());
    assert_witness_fault(&report, "checkpoint", &["none by \"ben\", \"cleo\""]);
    assert_eq!(names(&report), ["anna"]);
    // A stranger who goes by the name of a witness has another key id.
    let text = Note::parse(&receipt.checkpoint).unwrap().text;
    let stranger = cosignature::sign(&text, TIME, &key_name(72), &witness_key(90)).unwrap();
    add(&mut receipt, stranger);
    assert_witness_fault(&under(&receipt, policy()), "checkpoint", &["\"ben\""]);
    let line = cosignature(&receipt.checkpoint, 73, TIME);
    add(&mut receipt, line);
    assert_passed(&under(&receipt, policy()));
}

#[test]
fn a_signature_of_the_note_by_a_witnesss_key_is_no_cosignature() {
    let mut receipt = cosigned(&[71]);
    let text = Note::parse(&receipt.checkpoint).unwrap().text;
    let signed = note::sign(&text, &key_name(72), &witness_key(72)).unwrap();
    add(&mut receipt, signed.signatures[0].clone());
    let report = under(&receipt, policy());
    assert_witness_fault(&report, "checkpoint", &["none by \"ben\""]);
}

#[test]
fn a_note_full_of_cosignatures_is_read_and_one_with_more_is_not() {
    let mut receipt = cosigned(&[71, 72]);
    let mut note = Note::parse(&receipt.checkpoint).unwrap();
    let line = note.signatures[1].clone();
    note.signatures.resize(NOTE_SIGNATURES_MAX, line.clone());
    receipt.checkpoint = note.to_string();
    assert_passed(&under(&receipt, policy()));
    note.signatures.push(line);
    receipt.checkpoint = note.to_string();
    let report = under(&receipt, policy());
    assert!(report.checkpoint.is_none());
    assert_eq!(report.verdicts.signatures, Outcome3::Fail);
    assert_eq!(report.verdicts.witnessed, Outcome3::NotChecked);
}

#[test]
fn a_checkpoint_that_the_log_did_not_sign_is_not_witnessed_whoever_cosigned() {
    let mut receipt = receipt_of(&story());
    let mut note = Note::parse(&receipt.checkpoint).unwrap();
    note.signatures = [71, 72, 73]
        .map(|seed| cosignature(&receipt.checkpoint, seed, TIME))
        .to_vec();
    receipt.checkpoint = note.to_string();
    let report = under(&receipt, policy());
    assert!(!report.passed());
    assert_eq!(report.verdicts.signatures, Outcome3::Fail);
    assert_eq!(report.verdicts.witnessed, Outcome3::NotChecked);
    assert!(report.cosigned.is_empty());
}

#[test]
fn where_the_policy_names_logs_one_of_them_must_have_signed() {
    let receipt = cosigned(&[71, 72]);
    let with_log = |key: &VerifierKey| {
        let text = format!("log {key}\n{}", policy_text());
        under(&receipt, WitnessPolicy::parse(text.as_bytes()).unwrap())
    };
    assert_passed(&with_log(&trust().log[0]));
    let other = VerifierKey::new("log.example/two", &witness_key(80).public()).unwrap();
    assert_witness_fault(&with_log(&other), "checkpoint", &["witness policy"]);
    // The other log signed this log's head too, which makes it no head of its own.
    let mut both = receipt.clone();
    let text = Note::parse(&receipt.checkpoint).unwrap().text;
    let signed = note::sign(&text, "log.example/two", &witness_key(80)).unwrap();
    add(&mut both, signed.signatures[0].clone());
    let text = format!("log {other}\n{}", policy_text());
    let report = under(&both, WitnessPolicy::parse(text.as_bytes()).unwrap());
    assert_witness_fault(&report, "checkpoint", &["log.example/one"]);
    // The key of this log, in the policy as another one's.
    let renamed = VerifierKey::new("log.example/two", &log_key().public()).unwrap();
    assert_witness_fault(&with_log(&renamed), "checkpoint", &["witness policy"]);
}

#[test]
fn a_host_that_witnesses_itself_shows_nothing() {
    for (key, role) in [(log_key(), "log[0]"), (record_key(), "records[0]")] {
        let own = WitnessKey::new("witness.example/own", &key.public()).unwrap();
        let policy = format!("witness own {own}\nquorum own\n");
        let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
        let mut receipt = receipt_of(&story());
        let text = Note::parse(&receipt.checkpoint).unwrap().text;
        add(
            &mut receipt,
            cosignature::sign(&text, TIME, own.name(), &key).unwrap(),
        );
        assert_witness_fault(&under(&receipt, policy), "witness-policy", &["own", role]);
    }
}
