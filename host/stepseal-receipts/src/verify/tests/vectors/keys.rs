//! Signatures that are not to be believed, and checkpoints that are none.

use curve25519_dalek::scalar::Scalar;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::super::world::*;
use super::{Vector, bare, effectful, pure};
use crate::checkpoint::Checkpoint;
use crate::dsse::{Envelope, IN_TOTO};
use crate::json;
use crate::keys::SigningKey;
use crate::note::{self, NOTE_SIGNATURES_MAX, Note, NoteSignature};
use crate::receipt::Receipt;

pub(super) fn vectors() -> Vec<Vector> {
    [payloads(), signatures(), checkpoints(), approvers()]
        .into_iter()
        .flatten()
        .collect()
}

fn stranger() -> SigningKey {
    SigningKey::from_seed([66; 32])
}

/// A member is changed, taken away, doubled or moved after the record was signed, and nothing is signed again.
fn payloads() -> Vec<Vector> {
    let mut vectors = Vec::new();
    let mut refused = |name: String, about: String, number: usize, receipt: &Receipt| {
        let place = ("signatures", Some(number), "envelope.signatures");
        vectors.push(Vector::refused(&name, &about, receipt, place));
    };
    for (number, member) in super::signed::every_member() {
        let receipt = receipt_of(&super::signed::with(member));
        let change = |kind: &str, change: &dyn Fn(&mut Value)| {
            let mut receipt = receipt.clone();
            let payload = &mut receipt.entries[number].envelope.payload;
            let mut statement = serde_json::from_slice(payload).unwrap();
            change(&mut statement);
            let changed = json::canonical(&statement);
            assert_ne!(changed, *payload, "{kind} {member}");
            *payload = changed;
            receipt
        };
        let flipped = change("flipped", &|statement| {
            assert!(flip(parent(statement, member).get_mut(member).unwrap()));
        });
        refused(
            format!("signed/{member}-flipped"),
            format!("One bit of {member} was changed after the record was signed."),
            number,
            &flipped,
        );
        let dropped = change("dropped", &|statement| {
            parent(statement, member)
                .as_object_mut()
                .unwrap()
                .remove(member)
                .unwrap();
        });
        refused(
            format!("signed/{member}-dropped"),
            format!("{member} was taken out after the record was signed."),
            number,
            &dropped,
        );
    }
    let rewritten = |change: &dyn Fn(&str) -> String| {
        let mut receipt = receipt_of(&pure());
        let payload = &mut receipt.entries[1].envelope.payload;
        let changed = change(std::str::from_utf8(payload).unwrap());
        assert_ne!(changed.as_bytes(), &payload[..]);
        *payload = changed.into_bytes();
        receipt
    };
    let log = format!(r#""log":"{ORIGIN}","#);
    let doubled = rewritten(&|text| text.replace(&log, &log.repeat(2)));
    refused(
        "signed/log-doubled".to_owned(),
        "log stands twice since the record was signed.".to_owned(),
        1,
        &doubled,
    );
    let moved = rewritten(&|text| {
        text.replace(&log, "")
            .replace(r#""predicate":{"#, &format!(r#""predicate":{{{log}"#))
    });
    refused(
        "signed/log-moved".to_owned(),
        "log was moved after the record was signed.".to_owned(),
        1,
        &moved,
    );
    let spaced = rewritten(&|text| format!("{text} "));
    refused(
        "signed/space-added".to_owned(),
        "A space was added after the record was signed.".to_owned(),
        1,
        &spaced,
    );
    let empty = rewritten(&|_| String::new());
    refused(
        "signed/payload-emptied".to_owned(),
        "The payload was emptied.".to_owned(),
        1,
        &empty,
    );
    vectors
}

/// The object that a member of a statement or of its predicate is in.
fn parent<'a>(statement: &'a mut Value, member: &str) -> &'a mut Value {
    let outer = statement.get(member).is_some();
    if outer {
        statement
    } else {
        &mut statement["predicate"]
    }
}

/// Changes one bit of the first string in a value.
fn flip(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let mut bytes = std::mem::take(text).into_bytes();
            *bytes.last_mut().unwrap() ^= 1;
            *text = String::from_utf8(bytes).unwrap();
            true
        }
        Value::Array(items) => items.iter_mut().any(flip),
        Value::Object(members) => members.values_mut().any(flip),
        _ => false,
    }
}

fn signatures() -> Vec<Vector> {
    let base = receipt_of(&pure());
    let changed = |name: &str, about: &str, change: &dyn Fn(&mut Envelope)| {
        let mut receipt = base.clone();
        change(&mut receipt.entries[1].envelope);
        let place = ("signatures", Some(1), "envelope.signatures");
        Vector::refused(&format!("signatures/{name}"), about, &receipt, place)
    };
    let mut other_type = base.clone();
    other_type.entries[1].envelope.payload_type = "application/json".to_owned();
    let mut other_type_signed = base.clone();
    let envelope = &mut other_type_signed.entries[1].envelope;
    *envelope = Envelope::sign("application/json", envelope.payload.clone(), &record_key());
    let other_type_place = ("signatures", Some(1), "envelope.payloadType");

    let late = |from: usize, to: Option<usize>| {
        let mut trust = trust();
        trust.records[0].from_index = index_of(from);
        trust.records[0].to_index = to.map(index_of);
        trust.to_json()
    };
    vec![
        changed(
            "r-flipped",
            "One bit of R of a signature is changed.",
            &|e| e.signatures[0].sig[0] ^= 1,
        ),
        changed(
            "s-flipped",
            "One bit of S of a signature is changed.",
            &|e| e.signatures[0].sig[40] ^= 1,
        ),
        changed("zero", "A signature of zeros.", &|e| {
            e.signatures[0].sig = [0; 64]
        }),
        changed(
            "s-beyond-the-order",
            "S of a good signature with the order of the group added: a lax verifier takes it as well.",
            &|e| add_order(&mut e.signatures[0].sig),
        ),
        changed(
            "r-of-low-order",
            "R is the neutral element, and S fits: the record key's owner can make it, and verifiers differ on it.",
            &|e| {
                e.signatures[0].sig = low_order_r([2; 32], &e.pae());
            },
        ),
        changed("second", "A second, equal signature.", &|e| {
            e.signatures.push(e.signatures[0].clone())
        }),
        changed(
            "second-of-another",
            "A second signature, of a key that nobody trusts.",
            &|e| {
                e.signatures
                    .extend(Envelope::sign(IN_TOTO, e.payload.clone(), &stranger()).signatures);
            },
        ),
        changed(
            "stranger",
            "Signed by a key that nobody trusts, under the record key's keyid.",
            &|e| {
                e.signatures[0].sig = stranger().sign(&e.pae());
            },
        ),
        changed(
            "log-key",
            "Signed by the log's key, which is no record key.",
            &|e| *e = Envelope::sign(IN_TOTO, e.payload.clone(), &log_key()),
        ),
        changed(
            "approver-key",
            "Signed by an approver's key, which is no record key.",
            &|e| *e = Envelope::sign(IN_TOTO, e.payload.clone(), &approver_key()),
        ),
        changed(
            "without-pae",
            "Signed over the payload alone, not over the PAE.",
            &|e| e.signatures[0].sig = record_key().sign(&e.payload),
        ),
        changed("hashed", "Signed over SHA-512 of the PAE.", &|e| {
            e.signatures[0].sig = record_key().sign(&Sha512::digest(e.pae()))
        }),
        changed(
            "of-another-entry",
            "The signature of another record.",
            &|e| e.signatures = base.entries[0].envelope.signatures.clone(),
        ),
        Vector::refused(
            "signatures/payload-type",
            "Another payload type.",
            &other_type,
            other_type_place,
        ),
        Vector::refused(
            "signatures/payload-type-signed",
            "Signed under another payload type.",
            &other_type_signed,
            other_type_place,
        ),
        Vector::refused(
            "signatures/key-not-yet",
            "The record key is valid only from the second record on.",
            &base,
            ("signatures", Some(0), "envelope.signatures"),
        )
        .with_trust(late(1, None)),
        Vector::refused(
            "signatures/key-no-longer",
            "The record key is valid only up to the second record.",
            &base,
            ("signatures", Some(2), "envelope.signatures"),
        )
        .with_trust(late(0, Some(1))),
    ]
}

/// The order of the group, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

pub(super) fn add_order(signature: &mut [u8; 64]) {
    let mut carry = 0;
    for (s, l) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*s) + u16::from(l) + carry;
        *s = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
}

/// A signature whose R is the neutral element: with S = k * a the equation of RFC 8032 holds for it.
fn low_order_r(seed: [u8; 32], message: &[u8]) -> [u8; 64] {
    let mut secret: [u8; 32] = Sha512::digest(seed)[..32].try_into().unwrap();
    secret[0] &= 0xf8;
    secret[31] &= 0x7f;
    secret[31] |= 0x40;
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let public = SigningKey::from_seed(seed).public().to_bytes();
    let k = Sha512::new()
        .chain_update(neutral)
        .chain_update(public)
        .chain_update(message)
        .finalize();
    let s = Scalar::from_bytes_mod_order_wide(&k.into()) * Scalar::from_bytes_mod_order(secret);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&neutral);
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

fn checkpoints() -> Vec<Vector> {
    let (base, log) = linked(&bare(), |_, _| {});
    let head = log.head();
    let refused = |name: &str, about: &str, note: String| {
        let mut receipt = base.clone();
        assert_ne!(receipt.checkpoint, note, "{name}");
        receipt.checkpoint = note;
        Vector::refused(
            &format!("checkpoint/{name}"),
            about,
            &receipt,
            ("signatures", None, "checkpoint"),
        )
    };
    let good = &base.checkpoint;
    let parsed = Note::parse(good).unwrap();
    let noted =
        |text: &str, key: &SigningKey, name: &str| note::sign(text, name, key).unwrap().to_string();
    let text = head.to_text();
    let of_log = |text: &str| noted(text, &log_key(), ORIGIN);
    let signed = |change: &dyn Fn(&mut Note)| {
        let mut note = parsed.clone();
        change(&mut note);
        note.to_string()
    };
    let unknown = |signature| NoteSignature {
        name: "other".to_owned(),
        key_id: [0; 4],
        signature,
    };
    let size = format!("\n{}\n", head.size);
    let other = Checkpoint {
        origin: "log.example/two".to_owned(),
        ..head.clone()
    };
    let (start, root_line) = text.trim_end().rsplit_once('\n').unwrap();
    vec![
        refused(
            "size-changed",
            "The size was changed after the checkpoint was signed.",
            good.replace(&size, "\n99\n"),
        ),
        refused(
            "root-changed",
            "The root was changed after the checkpoint was signed.",
            good.replace(root_line, &format!("{}=", "A".repeat(43))),
        ),
        refused(
            "bad-signature",
            "One bit of the log's signature is changed.",
            signed(&|n| n.signatures[0].signature[9] ^= 1),
        ),
        refused(
            "short-signature",
            "The log's signature has 63 bytes.",
            signed(&|n| n.signatures[0].signature.truncate(63)),
        ),
        refused(
            "good-and-bad-signature",
            "A good signature of the log's key, and a bad one of the same key.",
            signed(&|n| {
                let mut bad = n.signatures[0].clone();
                bad.signature[9] ^= 1;
                n.signatures.push(bad);
            }),
        ),
        refused("no-signature", "No signature.", format!("{text}\n")),
        refused(
            "signature-of-nothing",
            "A second signature line has a key id and no byte more.",
            signed(&|n| n.signatures.push(unknown(Vec::new()))),
        ),
        refused(
            "too-many-signatures",
            "100 signatures of unknown keys beside that of the log.",
            signed(&|n| {
                n.signatures
                    .extend((0..NOTE_SIGNATURES_MAX).map(|_| unknown(vec![0])));
            }),
        ),
        refused(
            "unknown-key-id",
            "The key id is of no known key.",
            signed(&|n| n.signatures[0].key_id[0] ^= 1),
        ),
        refused(
            "stranger",
            "Signed by a key that nobody trusts, under the log's name.",
            noted(&text, &stranger(), ORIGIN),
        ),
        refused(
            "record-key",
            "Signed by the record key, which is no log key.",
            noted(&text, &record_key(), ORIGIN),
        ),
        refused(
            "other-name",
            "Signed by the log's key under another name.",
            noted(&text, &log_key(), "log.example/two"),
        ),
        refused(
            "other-origin",
            "A checkpoint of another log, signed under that log's name.",
            other.sign(&log_key()).unwrap(),
        ),
        refused(
            "other-origin-own-name",
            "The text is of another log, and the signature is under the trusted name.",
            of_log(&other.to_text()),
        ),
        refused(
            "extension-line",
            "A fourth line.",
            of_log(&format!("{text}extension\n")),
        ),
        refused(
            "two-lines",
            "The root is missing.",
            of_log(&format!("{start}\n")),
        ),
        refused(
            "size-leading-zero",
            "The size has a leading zero.",
            of_log(&text.replace(&size, &format!("\n0{}\n", head.size))),
        ),
        refused(
            "size-sign",
            "The size has a sign.",
            of_log(&text.replace(&size, &format!("\n+{}\n", head.size))),
        ),
        refused(
            "size-too-large",
            "The size is 2^62+1.",
            of_log(&text.replace(&size, "\n4611686018427387905\n")),
        ),
        refused(
            "root-short",
            "The root has 31 bytes.",
            of_log(&format!("{start}\n{}\n", "A".repeat(40) + "AA==")),
        ),
        refused(
            "root-unused-bits",
            "The unused bits of the root's base64 are not zero.",
            of_log(&format!("{start}\n{}B=\n", "A".repeat(42))),
        ),
        refused(
            "root-url-safe",
            "The root is in the URL-safe alphabet.",
            of_log(&format!("{start}\n{}-A=\n", "A".repeat(41))),
        ),
        refused(
            "empty-log-with-a-root",
            "The log is empty and has another root than the empty tree.",
            of_log(&text.replace(&size, "\n0\n")),
        ),
        refused(
            "no-blank-line",
            "No blank line before the signatures.",
            good.replace("\n\n", "\n"),
        ),
        refused(
            "two-blank-lines",
            "Two blank lines: the first one is part of the text.",
            good.replace("\n\n", "\n\n\n"),
        ),
        refused(
            "no-final-newline",
            "The last line does not end.",
            good.trim_end().to_owned(),
        ),
        refused(
            "hyphen",
            "A signature line begins with a hyphen, not with an em dash.",
            good.replace('\u{2014}', "-"),
        ),
        refused(
            "two-spaces",
            "A signature line has two spaces.",
            good.replace("\u{2014} ", "\u{2014}  "),
        ),
        refused(
            "carriage-return",
            "Lines end in a carriage return.",
            good.replace('\n', "\r\n"),
        ),
        refused(
            "signature-not-base64",
            "A second signature line, of an unknown key, is not base64.",
            format!("{good}\u{2014} witness.example ????\n"),
        ),
        refused("empty", "No text.", String::new()),
    ]
}

/// An approver's own envelope that does not carry the approval.
fn approvers() -> Vec<Vector> {
    let records = || {
        let mut records = effectful();
        records[1] = authorized();
        records
    };
    let subject = records()[1].approvals[0].subject.to_hex();
    let said = |decision: &str, subject: &str| json!({"decision": decision, "role": "treasurer", "subject": {"sha256": subject}});
    let with = |payload: Vec<u8>, payload_type: &str, key: &SigningKey| {
        let envelope = Envelope::sign(payload_type, payload, key);
        let mut records = records();
        signed_by_approver(&mut records[1], &envelope);
        let mut receipt = receipt_of(&records);
        receipt.approvals = vec![envelope];
        receipt
    };
    let refused =
        |name: &str, about: &str, receipt: Receipt, number: Option<usize>, member: &str| {
            Vector::refused(
                &format!("approver/{name}"),
                about,
                &receipt,
                ("signatures", number, member),
            )
        };
    let good = json::canonical(&said("approve", &subject));
    let one = |name: &str, about: &str, payload: Vec<u8>, payload_type: &str, key: &SigningKey| {
        refused(
            name,
            about,
            with(payload, payload_type, key),
            Some(1),
            "approvals[0]",
        )
    };
    let base = with(good.clone(), IN_TOTO, &approver_key());
    let unsigned = {
        let mut records = records();
        records[1].approvals[0].approver = APPROVER.to_owned();
        receipt_of(&records)
    };
    let unsigned_later = unsigned.clone();
    let mut ended = trust();
    ended.approvers[0].to_index = Some(index_of(1) - 1);
    let ranged = |name: &str, about: &str, from_index: u64, to_index: Option<u64>| {
        let mut trust = trust();
        trust.approvers[0].from_index = from_index;
        trust.approvers[0].to_index = to_index;
        one(name, about, good.clone(), IN_TOTO, &approver_key()).with_trust(trust.to_json())
    };
    let early = ranged(
        "too-early",
        "The record stands before the approver's key counts.",
        index_of(1) + 1,
        None,
    );
    let late = ranged(
        "too-late",
        "The record stands after the approver's key counted.",
        0,
        Some(index_of(1) - 1),
    );
    let mut absent = base.clone();
    absent.approvals.clear();
    let mut doubled = base.clone();
    doubled.approvals.push(base.approvals[0].clone());
    let mut unspoken = base.clone();
    unspoken
        .approvals
        .push(Envelope::sign(IN_TOTO, b"{}".to_vec(), &approver_key()));
    let mut twice = base.approvals[0].clone();
    twice.signatures.push(twice.signatures[0].clone());
    let mut two = base.clone();
    two.approvals = vec![twice];
    let other_subject = digest(0).to_hex();
    vec![
        one(
            "stranger",
            "The approver's envelope is signed by another key.",
            good.clone(),
            IN_TOTO,
            &stranger(),
        ),
        one(
            "record-key",
            "The approver's envelope is signed by the host.",
            good.clone(),
            IN_TOTO,
            &record_key(),
        ),
        one(
            "rejects",
            "The approver signed a rejection, and the record says approve.",
            json::canonical(&said("reject", &subject)),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "other-subject",
            "The approver signed another subject.",
            json::canonical(&said("approve", &other_subject)),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "no-subject",
            "The approver signed no subject.",
            json::canonical(&json!({"decision": "approve", "role": "treasurer"})),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "no-decision",
            "The approver signed no decision.",
            json::canonical(&json!({"role": "treasurer", "subject": {"sha256": subject}})),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "no-role",
            "The approver signed no role, and the record gives one.",
            json::canonical(&json!({"decision": "approve", "subject": {"sha256": subject}})),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "other-role",
            "The approver signed another role.",
            json::canonical(
                &json!({"decision": "approve", "role": "intern", "subject": {"sha256": subject}}),
            ),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "role-no-text",
            "The role that the approver signed is no text.",
            json::canonical(
                &json!({"decision": "approve", "role": true, "subject": {"sha256": subject}}),
            ),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "not-canonical",
            "What the approver signed is not canonical JSON.",
            [&good[..], b"\n"].concat(),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "number",
            "What the approver signed has a JSON number.",
            json::canonical(
                &json!({"decision": "approve", "n": 1, "role": "treasurer", "subject": {"sha256": subject}}),
            ),
            IN_TOTO,
            &approver_key(),
        ),
        one(
            "other-type",
            "The approver signed something of another type.",
            good.clone(),
            "application/json",
            &approver_key(),
        ),
        refused(
            "two-signatures",
            "The approver's envelope has two signatures.",
            two,
            Some(1),
            "approvals[0]",
        ),
        refused(
            "unsigned",
            "The host says that an approver who has a key decided, and nothing that they signed.",
            unsigned,
            Some(1),
            "approvals[0].envelope",
        ),
        Vector::refused(
            "approver/unsigned-since",
            "The key of an approver does not count any more, and the host says that they decided.",
            &unsigned_later,
            ("signatures", Some(1), "approvals[0].envelope"),
        )
        .with_trust(ended.to_json()),
        early,
        late,
        refused(
            "left-out",
            "The record speaks of an approver's envelope that is not in the receipt.",
            absent,
            Some(1),
            "approvals[0].envelope",
        ),
        refused(
            "doubled",
            "The approver's envelope stands twice.",
            doubled,
            None,
            "approvals[1]",
        ),
        refused(
            "unspoken",
            "An approver's envelope of which no record speaks.",
            unspoken,
            None,
            "approvals[1]",
        ),
    ]
}
