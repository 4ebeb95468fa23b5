//! Cosignatures on the checkpoint, and policies of who must have cosigned.

use super::super::witnesses::{TIME, cosignature, key_name, policy_text, vkey, witness_key};
use super::super::world::*;
use super::{Vector, WITNESS_POLICY, bare};
use crate::cosignature::{self, WitnessKey};
use crate::keys::SigningKey;
use crate::note::{self, Note, NoteSignature, VerifierKey};
use crate::receipt::Receipt;

/// A receipt whose checkpoint has these signature lines too.
fn with(lines: Vec<NoteSignature>) -> Receipt {
    let mut receipt = receipt_of(&bare());
    let mut note = Note::parse(&receipt.checkpoint).unwrap();
    note.signatures.extend(lines);
    receipt.checkpoint = note.to_string();
    receipt
}

fn text() -> String {
    Note::parse(&receipt_of(&bare()).checkpoint).unwrap().text
}

/// The cosignature of the witness with this seed.
fn by(seed: u8) -> NoteSignature {
    cosignature(&receipt_of(&bare()).checkpoint, seed, TIME)
}

fn cosigned(seeds: &[u8]) -> Receipt {
    with(seeds.iter().map(|seed| by(*seed)).collect())
}

fn changed(seed: u8, change: impl FnOnce(&mut NoteSignature)) -> NoteSignature {
    let mut line = by(seed);
    change(&mut line);
    line
}

/// The three witnesses without a quorum.
fn three() -> String {
    let [one, two, three] = [71, 72, 73].map(vkey);
    format!("witness anna {one}\nwitness ben {two}\nwitness cleo {three}\n")
}

fn nested(threshold: &str) -> String {
    format!(
        "{}group pair all anna ben\ngroup both {threshold} pair cleo\nquorum both\n",
        three()
    )
}

fn own_log() -> VerifierKey {
    VerifierKey::new(ORIGIN, &log_key().public()).unwrap()
}

pub(super) fn accepted() -> Vec<Vector> {
    let of = |name: &str, about: &str, receipt: &Receipt, policy: &str| {
        Vector::accepted(&format!("witnessed/{name}"), about, receipt).witnessed(policy)
    };
    let (one, two) = (vkey(71), vkey(72));
    let written = format!(
        "# who must have seen it\n\n \tlog {} https://log.example/\n\twitness\tanna  {one} https://anna.example\nwitness ben {two}\n\
         group any any anna ben\nquorum any\n",
        own_log()
    );
    let before = format!("witness anna {one}\nquorum anna\nwitness ben {two}\n");
    #[rustfmt::skip]
    let vectors = [
        of("quorum", "Two of three witnesses cosigned.", &cosigned(&[71, 73]), &policy_text()),
        of("all", "All three cosigned, in another order.", &cosigned(&[73, 71, 72]), &policy_text()),
        of("groups", "A group is a member of a group.", &cosigned(&[71, 72]), &nested("any")),
        of("written-freely", "Comments, tabs, empty lines and URLs; the policy names the log.", &cosigned(&[72]), &written),
        of("quorum-first", "The quorum stands before a witness that it does not need.", &cosigned(&[71]), &before),
        of("twice", "A witness cosigned twice, at different times.", &with(vec![by(71), cosignature(&receipt_of(&bare()).checkpoint, 71, TIME + 9)]), &format!("witness anna {one}\nquorum anna\n")),
        of("strangers", "Cosignatures of unknown witnesses are passed over.", &cosigned(&[90, 71, 91, 72]), &policy_text()),
        of("stranger-of-the-same-name", "A key that nobody knows under a witness's name is an unknown key.", &with(vec![stranger(), by(71), by(72)]), &policy_text()),
        of("nobody-asked", "The quorum is none: nobody had to cosign.", &cosigned(&[]), &format!("{}quorum none\n", three())),
        of("no-witness", "A policy of one line.", &cosigned(&[71]), "quorum none\n"),
    ];
    vectors.into()
}

/// Signed under ben's name by a key that is not ben's, with the key id of that key.
fn stranger() -> NoteSignature {
    cosignature::sign(&text(), TIME, &key_name(72), &witness_key(90)).unwrap()
}

pub(super) fn rejected() -> Vec<Vector> {
    quorums()
        .into_iter()
        .chain(own_witnesses())
        .chain(policies())
        .collect()
}

fn quorums() -> Vec<Vector> {
    let of = |name: &str, about: &str, receipt: &Receipt, policy: &str| {
        let place = ("witnessed", None, "checkpoint");
        Vector::refused(&format!("witnessed/{name}"), about, receipt, place).witnessed(policy)
    };
    let good = |line| with(vec![by(71), by(73), line]);
    let forged = changed(72, |line| line.signature = by(90).signature);
    let noted = note::sign(&text(), &key_name(72), &witness_key(72)).unwrap();
    let mut earlier = Log::default();
    earlier.append_others(3);
    let mut fork = Log::default();
    fork.append_others(log_size());
    let other_log = VerifierKey::new("log.example/two", &witness_key(80).public()).unwrap();
    let renamed = VerifierKey::new("log.example/two", &log_key().public()).unwrap();
    let none = format!("{}quorum none\n", three());
    #[rustfmt::skip]
    let vectors = [
        of("too-few", "One of three witnesses cosigned, and two are asked for.", &cosigned(&[72]), &policy_text()),
        of("nobody", "No witness cosigned.", &cosigned(&[]), &policy_text()),
        of("one-twice", "One witness cosigned twice, and counts once.", &cosigned(&[71, 71]), &policy_text()),
        of("group-not-met", "The group that is a member of the quorum is not met.", &cosigned(&[71, 73]), &nested("all")),
        of("strangers-only", "Only unknown witnesses cosigned.", &cosigned(&[90, 91]), &policy_text()),
        of("stranger-by-name", "A key that nobody knows under a witness's name does not count.", &with(vec![by(71), stranger()]), &policy_text()),
        of("note-signature", "A witness signed the note as a log does, which is no cosignature.", &with(vec![by(71), noted.signatures[0].clone()]), &policy_text()),
        of("forged", "A stranger's signature under a witness's name and key id; the others are enough.", &good(forged.clone()), &policy_text()),
        of("forged-and-nobody-asked", "The same where the quorum is none.", &good(forged), &none),
        of("forged-beside-a-good-one", "A witness's good cosignature and a bad one under its name.", &with(vec![by(71), by(72), by(73), changed(71, |l| l.signature[40] ^= 1)]), &policy_text()),
        of("later", "The time of a cosignature is changed.", &good(changed(72, |l| l.signature[7] ^= 1)), &policy_text()),
        of("time-beyond-63-bits", "The time of a cosignature is 2^63 or more.", &good(changed(72, |l| l.signature[0] = 0x80)), &policy_text()),
        of("s-beyond-the-order", "S of a good cosignature with the order of the group added.", &good(changed(72, |l| {
            let mut signature = l.signature[8..].try_into().unwrap();
            super::keys::add_order(&mut signature);
            l.signature[8..].copy_from_slice(&signature);
        })), &policy_text()),
        of("short", "A cosignature lacks its last byte.", &good(changed(72, |l| l.signature.truncate(71))), &policy_text()),
        of("long", "A cosignature has one byte more.", &good(changed(72, |l| l.signature.push(0))), &policy_text()),
        of("without-a-time", "A cosignature without its time.", &good(changed(72, |l| drop(l.signature.drain(..8)))), &policy_text()),
        of("of-an-earlier-head", "A cosignature of an earlier checkpoint of this log.", &good(cosignature(&earlier.checkpoint(), 72, TIME)), &policy_text()),
        of("of-a-fork", "A cosignature of another checkpoint of the same size.", &good(cosignature(&fork.checkpoint(), 72, TIME)), &policy_text()),
        of("other-log", "The policy is for another log.", &cosigned(&[71, 72]), &format!("log {other_log}\n{}", policy_text())),
        of("other-name-of-the-log", "The policy has the log's key under another log's name.", &cosigned(&[71, 72]), &format!("log {renamed}\n{}", policy_text())),
        of("other-log-and-nobody-asked", "The policy is for another log, and its quorum is none.", &cosigned(&[]), &format!("log {other_log}\n{none}")),
    ];
    vectors.into()
}

fn log_size() -> u64 {
    linked(&bare(), |_, _| {}).1.head().size
}

/// A witness whose key is the host's or an approver's shows nothing.
fn own_witnesses() -> Vec<Vector> {
    let of = |name: &str, key: &SigningKey| {
        let own = WitnessKey::new("witness.example/own", &key.public()).unwrap();
        let line = cosignature::sign(&text(), TIME, own.name(), key).unwrap();
        let place = ("witnessed", None, "witness-policy");
        Vector::refused(
            &format!("witnessed/{name}-key"),
            "A witness's key is in the trust file too.",
            &with(vec![line]),
            place,
        )
        .witnessed(&format!("witness own {own}\nquorum own\n"))
    };
    vec![
        of("record", &record_key()),
        of("log", &log_key()),
        of("approver", &approver_key()),
    ]
}

/// Policies that are refused as a whole: name, what is wrong, number of the line at fault, text.
fn policies() -> Vec<Vector> {
    let (one, two) = (vkey(71), vkey(72));
    let witness = format!("witness anna {one}\n");
    let as_log = VerifierKey::new(&key_name(71), &witness_key(71).public()).unwrap();
    let as_witness = WitnessKey::new(ORIGIN, &log_key().public()).unwrap();
    let (own_log, own_text) = (own_log(), one.to_string());
    let (name, rest) = own_text.split_once('+').unwrap();
    let other_id = format!("{name}+00000000+{}", rest.split_once('+').unwrap().1);
    let low_order = super::trust::vkey_of(name, 4, [0; 32]);
    #[rustfmt::skip]
    let policies = [
        ("empty", "No line.", None, String::new()),
        ("no-quorum", "No quorum.", None, witness.clone()),
        ("second-quorum", "A second quorum.", Some(3), format!("{witness}quorum anna\nquorum anna\n")),
        ("cut", "The last line does not end.", Some(2), format!("{witness}quorum anna")),
        ("keyword", "A line of another kind.", Some(1), format!("monitor {own_log}\nquorum none\n")),
        ("keyword-upper-case", "A kind of line in upper case.", Some(1), "QUORUM none\n".to_owned()),
        ("quorum-of-two", "The quorum names two.", Some(3), format!("{witness}witness ben {two}\nquorum anna ben\n")),
        ("undefined", "The quorum was not defined.", Some(2), format!("{witness}quorum ben\n")),
        ("defined-later", "A group stands before its member.", Some(1), format!("group all all anna\n{witness}quorum all\n")),
        ("name-twice", "Two witnesses have one name.", Some(2), format!("{witness}witness anna {two}\nquorum anna\n")),
        ("name-of-a-group", "A group has the name of its member.", Some(2), format!("{witness}group anna any anna\nquorum anna\n")),
        ("name-none", "A witness has the name none.", Some(1), format!("witness none {one}\nquorum none\n")),
        ("key-twice", "Two witnesses have one key.", Some(2), format!("{witness}witness ben {one}\nquorum anna\n")),
        ("key-under-two-names", "Two witnesses have one key, which goes by two names.", Some(2), format!("{witness}witness ben {}\nquorum anna\n", WitnessKey::new("witness.example/72", &witness_key(71).public()).unwrap())),
        ("key-of-a-log-too", "A witness has the key of a log.", Some(2), format!("log {own_log}\nwitness anna {as_witness}\nquorum anna\n")),
        ("witness-of-another-type", "The key of a witness is one that logs have.", Some(1), format!("witness anna {as_log}\nquorum anna\n")),
        ("log-of-another-type", "The key of a log is one that witnesses have.", Some(1), format!("log {as_witness}\nquorum none\n")),
        ("key-id", "The key id of a witness is not its key's.", Some(1), format!("witness anna {other_id}\nquorum anna\n")),
        ("low-order-key", "The key of a witness is of low order: anyone can cosign for it.", Some(1), format!("witness anna {low_order}\nquorum anna\n")),
        ("member-of-two-groups", "A witness is a member of two groups.", Some(3), format!("{witness}group a any anna\ngroup b any anna\nquorum b\n")),
        ("member-twice", "A witness is twice a member of a group.", Some(2), format!("{witness}group a any anna anna\nquorum a\n")),
        ("group-of-nobody", "A group has no member.", Some(1), "group a all\nquorum a\n".to_owned()),
        ("threshold-zero", "A group of whom none must have cosigned.", Some(2), format!("{witness}group a 0 anna\nquorum a\n")),
        ("threshold-more", "A group of whom more must have cosigned than it has.", Some(2), format!("{witness}group a 2 anna\nquorum a\n")),
        ("threshold-leading-zero", "A threshold has a leading zero.", Some(2), format!("{witness}group a 01 anna\nquorum a\n")),
        ("threshold-word", "A threshold that is no number.", Some(2), format!("{witness}group a most anna\nquorum a\n")),
        ("control-character", "A carriage return ends a line.", Some(2), format!("{witness}quorum anna\r\n")),
        ("too-many-items", "A witness has two URLs.", Some(1), format!("witness anna {one} https://a.example https://b.example\nquorum anna\n")),
    ];
    let receipt = cosigned(&[71]);
    let policies = policies.into_iter().map(|(name, about, line, policy)| {
        let member = line.map_or(String::new(), |line: u8| format!("line {line}"));
        let place = (WITNESS_POLICY, None, member.as_str());
        let name = format!("witness-policy/{name}");
        Vector::refused(&name, about, &receipt, place).witnessed(&policy)
    });
    policies.collect()
}
