//! Receipts that have not the form of one: refused before anything is verified.

use serde_json::{Value, json};

use super::super::world::*;
use super::{Vector, bare};
use crate::json;

/// Name, what is wrong, member at fault, change.
type Row = (&'static str, &'static str, &'static str, fn(&mut Value));

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("media-type", "Another media type.", "mediaType", |r| r["mediaType"] = json!("application/json")),
    ("media-type-of-a-later-version", "The media type of another version.", "mediaType", |r| r["mediaType"] = json!("application/vnd.stepseal.receipt.v2+json")),
    ("no-media-type", "No media type.", "mediaType", |r| drop_member(r, "mediaType")),
    ("no-checkpoint", "No checkpoint.", "checkpoint", |r| drop_member(r, "checkpoint")),
    ("checkpoint-list", "The checkpoint is a list.", "checkpoint", |r| r["checkpoint"] = json!([r["checkpoint"]])),
    ("checkpoint-null", "The checkpoint is null.", "checkpoint", |r| r["checkpoint"] = Value::Null),
    ("entries-object", "The entries are an object.", "entries", |r| r["entries"] = json!({"0": r["entries"][0]})),
    ("entries-null", "The entries are null.", "entries", |r| r["entries"] = Value::Null),
    ("entry-null", "An entry is null.", "entries[1]", |r| r["entries"][1] = Value::Null),
    ("entry-list", "An entry is a list.", "entries[1]", |r| r["entries"][1] = json!([])),
    ("entry-unknown-member", "An entry has an unknown member.", "entries[1].note", |r| r["entries"][1]["note"] = json!("approved")),
    ("index-number", "An index is a JSON number.", "entries[1].index", |r| r["entries"][1]["index"] = json!(5)),
    ("index-null", "An index is null.", "entries[1].index", |r| r["entries"][1]["index"] = Value::Null),
    ("index-absent", "An index is absent.", "entries[1].index", |r| drop_member(&mut r["entries"][1], "index")),
    ("index-leading-zero", "An index has a leading zero.", "entries[1].index", |r| r["entries"][1]["index"] = json!("05")),
    ("index-sign", "An index has a sign.", "entries[1].index", |r| r["entries"][1]["index"] = json!("+5")),
    ("index-negative", "An index is negative.", "entries[1].index", |r| r["entries"][1]["index"] = json!("-5")),
    ("index-space", "An index has white space.", "entries[1].index", |r| r["entries"][1]["index"] = json!("5 ")),
    ("index-newline", "An index ends in a newline.", "entries[1].index", |r| r["entries"][1]["index"] = json!("5\n")),
    ("index-hex", "An index is hexadecimal.", "entries[1].index", |r| r["entries"][1]["index"] = json!("0x5")),
    ("index-empty", "An index is empty.", "entries[1].index", |r| r["entries"][1]["index"] = json!("")),
    ("index-other-digits", "An index has digits of another script.", "entries[1].index", |r| r["entries"][1]["index"] = json!("\u{665}")),
    ("index-too-large", "An index is 2^64.", "entries[1].index", |r| r["entries"][1]["index"] = json!("18446744073709551616")),
    ("envelope-absent", "An entry has no envelope.", "entries[1].envelope", |r| drop_member(&mut r["entries"][1], "envelope")),
    ("envelope-list", "An envelope is a list.", "entries[1].envelope", |r| {
        let envelope = &mut r["entries"][1]["envelope"];
        *envelope = json!([envelope["payload"], envelope["payloadType"], envelope["signatures"]]);
    }),
    ("envelope-unknown-member", "An envelope has an unknown member.", "entries[1].envelope.note", |r| r["entries"][1]["envelope"]["note"] = json!("approved")),
    ("payload-absent", "An envelope has no payload.", "entries[1].envelope.payload", |r| drop_member(&mut r["entries"][1]["envelope"], "payload")),
    ("payload-not-base64", "A payload is not base64.", "entries[1].envelope.payload", |r| r["entries"][1]["envelope"]["payload"] = json!("?")),
    ("payload-url-safe", "A payload is in the URL-safe alphabet.", "entries[1].envelope.payload", |r| r["entries"][1]["envelope"]["payload"] = json!("-_-_")),
    ("payload-unpadded", "A payload has no padding.", "entries[1].envelope.payload", |r| r["entries"][1]["envelope"]["payload"] = json!("e30")),
    ("payload-unused-bits", "The unused bits of a payload's base64 are not zero.", "entries[1].envelope.payload", |r| r["entries"][1]["envelope"]["payload"] = json!("e31=")),
    ("payload-line-break", "A payload's base64 has a line break.", "entries[1].envelope.payload", |r| r["entries"][1]["envelope"]["payload"] = json!("e30=\n")),
    ("payload-type-absent", "An envelope has no payload type.", "entries[1].envelope.payloadType", |r| drop_member(&mut r["entries"][1]["envelope"], "payloadType")),
    ("signatures-absent", "An envelope has no list of signatures.", "entries[1].envelope.signatures", |r| drop_member(&mut r["entries"][1]["envelope"], "signatures")),
    ("signatures-empty", "An envelope has no signature.", "entries[1].envelope.signatures", |r| r["entries"][1]["envelope"]["signatures"] = json!([])),
    ("signatures-object", "The signatures are an object.", "entries[1].envelope.signatures", |r| r["entries"][1]["envelope"]["signatures"] = r["entries"][1]["envelope"]["signatures"][0].clone()),
    ("signature-list", "A signature is a list.", "entries[1].envelope.signatures[0]", |r| {
        let signature = &mut r["entries"][1]["envelope"]["signatures"][0];
        *signature = json!([signature["keyid"], signature["sig"]]);
    }),
    ("signature-unknown-member", "A signature has an unknown member.", "entries[1].envelope.signatures[0].cert", |r| signature(r)["cert"] = json!("x")),
    ("signature-keyid-null", "A keyid is null.", "entries[1].envelope.signatures[0].keyid", |r| signature(r)["keyid"] = Value::Null),
    ("signature-keyid-long", "A keyid has 257 bytes.", "entries[1].envelope.signatures[0].keyid", |r| signature(r)["keyid"] = json!("k".repeat(257))),
    ("signature-sig-absent", "A signature has no sig.", "entries[1].envelope.signatures[0].sig", |r| drop_member(signature(r), "sig")),
    ("signature-short", "A signature has 63 bytes.", "entries[1].envelope.signatures[0].sig", |r| signature(r)["sig"] = json!("A".repeat(84))),
    ("signature-hex", "A signature is hexadecimal.", "entries[1].envelope.signatures[0].sig", |r| signature(r)["sig"] = json!("ab".repeat(64))),
    ("proof-text", "A proof is a string.", "entries[1].proof", |r| r["entries"][1]["proof"] = r["entries"][1]["proof"][0].clone()),
    ("proof-null", "A proof is null.", "entries[1].proof", |r| r["entries"][1]["proof"] = Value::Null),
    ("proof-hash-short", "A hash of a proof has 1 byte.", "entries[1].proof[0]", |r| r["entries"][1]["proof"][0] = json!("AA==")),
    ("proof-hash-hex", "A hash of a proof is hexadecimal.", "entries[1].proof[0]", |r| r["entries"][1]["proof"][0] = json!("00".repeat(32))),
    ("proof-hash-null", "A hash of a proof is null.", "entries[1].proof[0]", |r| r["entries"][1]["proof"][0] = Value::Null),
    ("proof-too-long", "A proof has 65 hashes.", "entries[1].proof", |r| r["entries"][1]["proof"] = json!(vec![r["entries"][1]["proof"][0].clone(); 65])),
    ("disclosure-text", "A disclosure is a string.", "disclosures[0]", |r| r["disclosures"] = json!(["AA=="])),
    ("disclosure-empty", "A disclosure has no blob.", "disclosures[0].blob", |r| r["disclosures"] = json!([{}])),
    ("disclosure-unknown-member", "A disclosure has an unknown member.", "disclosures[0].name", |r| r["disclosures"] = json!([{"blob": "AA==", "name": "x"}])),
    ("disclosure-not-base64", "A disclosed blob is not base64.", "disclosures[0].blob", |r| r["disclosures"] = json!([{"blob": "AA="}])),
    ("shared-number", "The number of shared hashes is a JSON number.", "entries[1].shared", |r| r["entries"][1]["shared"] = json!(1)),
    ("shared-null", "The number of shared hashes is null.", "entries[1].shared", |r| r["entries"][1]["shared"] = Value::Null),
    ("shared-by-the-first", "The first entry shares a hash with none.", "entries[0].shared", |r| r["entries"][0]["shared"] = json!("1")),
    ("shared-more-than-there-are", "An entry shares more hashes than the one before has.", "entries[1].shared", |r| r["entries"][1]["shared"] = json!("64")),
    ("shared-past-the-longest-proof", "A proof has 65 hashes, some of them shared.", "entries[1].shared", |r| {
        r["entries"][1]["proof"] = json!(vec![r["entries"][1]["proof"][0].clone(); 64]);
        r["entries"][1]["shared"] = json!("1");
    }),
    ("consistency-size-number", "The size of a consistency proof is a JSON number.", "consistency[0].size", |r| r["consistency"] = json!([{"size": 4, "proof": []}])),
    ("consistency-size-negative", "The size of a consistency proof is negative.", "consistency[0].size", |r| r["consistency"] = json!([{"size": "-1", "proof": []}])),
    ("consistency-unknown-member", "A consistency proof has an unknown member.", "consistency[0].root", |r| r["consistency"] = json!([{"size": "1", "proof": [], "root": "x"}])),
    ("consistency-sizes-fall", "The sizes of the consistency proofs fall.", "consistency", |r| r["consistency"] = json!([{"size": "2", "proof": []}, {"size": "1", "proof": []}])),
    ("consistency-size-doubled", "Two consistency proofs are for one size.", "consistency", |r| r["consistency"] = json!([{"size": "1", "proof": []}, {"size": "1", "proof": []}])),
    ("consistency-proof-too-long", "A consistency proof has 65 hashes.", "consistency[0].proof", |r| r["consistency"] = json!([{"size": "1", "proof": vec![r["entries"][0]["proof"][0].clone(); 65]}])),
    ("consistency-too-many", "There are 65 consistency proofs.", "consistency", |r| r["consistency"] = json!(vec![json!({"size": "1", "proof": []}); 65])),
    ("erased-empty", "An erased entry has no member.", "erased[0].index", |r| r["erased"] = json!([{}])),
    ("erased-entry-short", "A leaf has 405 bytes.", "erased[0].entry", |r| r["erased"] = json!([erased("1", &"A".repeat(540))])),
    ("erased-entry-hex", "A leaf is hexadecimal.", "erased[0].entry", |r| r["erased"] = json!([erased("1", &"00".repeat(406))])),
    ("erased-erasure-absent", "An erased entry names no erasure.", "erased[0].erasure", |r| {
        r["erased"] = json!([erased("1", &leaf())]);
        drop_member(&mut r["erased"][0], "erasure");
    }),
    ("erased-erasure-number", "The erasure is a JSON number.", "erased[0].erasure", |r| {
        r["erased"] = json!([erased("1", &leaf())]);
        r["erased"][0]["erasure"] = json!(9);
    }),
    ("erased-unknown-member", "An erased entry has an unknown member.", "erased[0].envelope", |r| {
        r["erased"] = json!([erased("1", &leaf())]);
        r["erased"][0]["envelope"] = json!({});
    }),
    ("erased-fall", "The indexes of the erased entries fall.", "erased", |r| r["erased"] = json!([erased("2", &leaf()), erased("1", &leaf())])),
    ("erased-doubled", "An erased entry stands twice.", "erased", |r| r["erased"] = json!([erased("1", &leaf()), erased("1", &leaf())])),
    ("erased-null", "The erased entries are null.", "erased", |r| r["erased"] = Value::Null),
    ("approval-text", "An approver's envelope is a string.", "approvals[0]", |r| r["approvals"] = json!(["x"])),
    ("approval-unsigned", "An approver's envelope has no signature.", "approvals[0].signatures", |r| {
        r["approvals"] = json!([{"payload": "", "payloadType": "x", "signatures": []}]);
    }),
];

fn erased(index: &str, entry: &str) -> Value {
    json!({"index": index, "entry": entry, "proof": [], "erasure": "9"})
}

/// Bytes that could be a leaf.
fn leaf() -> String {
    format!("{}AA==", "AAAA".repeat(135))
}

fn drop_member(object: &mut Value, name: &str) {
    object.as_object_mut().unwrap().remove(name).unwrap();
}

fn signature(receipt: &mut Value) -> &mut Value {
    &mut receipt["entries"][1]["envelope"]["signatures"][0]
}

pub(super) fn vectors() -> Vec<Vector> {
    let base = receipt_of(&bare());
    let value: Value = serde_json::from_slice(&base.to_json()).unwrap();
    let rows = ROWS.iter().map(|(name, about, member, change)| {
        let mut value = value.clone();
        change(&mut value);
        Vector::refused(
            &format!("container/{name}"),
            about,
            &base,
            ("receipt", None, member),
        )
        .with_receipt(json::canonical(&value))
    });
    rows.chain(texts(&base.to_json())).collect()
}

/// Faults that no JSON value has, only its text.
fn texts(base: &[u8]) -> Vec<Vector> {
    let text = std::str::from_utf8(base).unwrap();
    let insert = |member: &str| text.replacen('{', &format!("{{{member},"), 1).into_bytes();
    let nested = format!(r#""x":{}{}"#, "[".repeat(16), "]".repeat(16));
    let doubled = text.replacen(r#""index":"3""#, r#""index":"3","index":"3""#, 1);
    #[rustfmt::skip]
    let cases: Vec<(&str, &str, &str, Vec<u8>)> = vec![
        ("empty", "No byte.", "", Vec::new()),
        ("not-utf8", "Not UTF-8.", "/x", insert("\"x\":\"y\"").iter().map(|b| if *b == b'y' { 0xff } else { *b }).take(12).chain(*b"\"}").collect()),
        ("byte-order-mark", "A byte order mark before the text.", "", [b"\xef\xbb\xbf", base].concat()),
        ("trailing", "Something follows the receipt.", "", [base, b"{}"].concat()),
        ("cut", "The file ends too early.", "/mediaType", base[..base.len() - 2].to_vec()),
        ("list", "The receipt is a list.", "", [b"[", base, b"]"].concat()),
        ("null", "The receipt is null.", "", b"null".to_vec()),
        ("comment", "A comment before the text.", "", [b"/**/", base].concat()),
        ("trailing-comma", "A comma before the closing brace.", "", [&base[..base.len() - 1], b",}"].concat()),
        ("not-a-number", "NaN is not JSON.", "/x", insert(r#""x":NaN"#)),
        ("leading-zero", "A number has a leading zero.", "/x", insert(r#""x":01"#)),
        ("inexact-integer", "An integer that no double holds exactly, 2^53+1.", "/x", insert(r#""x":9007199254740993"#)),
        ("number-overflow", "A number beyond the range of a double.", "/x", insert(r#""x":1e400"#)),
        ("lone-surrogate", "A string with half of a surrogate pair.", "/x", insert(r#""x":"\ud800""#)),
        ("control-character", "A string with a control character that is not escaped.", "/x", insert("\"x\":\"\t\"")),
        ("too-deep", "Nested 17 deep.", "/x/0/0/0/0/0/0/0/0/0/0/0/0/0/0/0", insert(&nested)),
        ("duplicate-member", "The checkpoint stands twice.", "/checkpoint", insert(r#""checkpoint":"""#)),
        ("duplicate-unknown-member", "An unknown member stands twice.", "/x", insert(r#""x":"1","x":"1""#)),
        ("duplicate-escaped-member", "The media type stands twice, once with an escape.", "/mediaType", insert(r#""media\u0054ype":"""#)),
        ("duplicate-index", "An entry's index stands twice.", "/entries/0/index", doubled.into_bytes()),
    ];
    let cases = cases
        .into_iter()
        .map(|(name, about, pointer, receipt)| Vector {
            name: format!("container/{name}"),
            about: about.to_owned(),
            receipt,
            trust: trust().to_json(),
            options: crate::verify::Options::default(),
            witnesses: None,
            faults: vec![("receipt", None, pointer.to_owned())],
            unanswered: Vec::new(),
        });
    cases.collect()
}
