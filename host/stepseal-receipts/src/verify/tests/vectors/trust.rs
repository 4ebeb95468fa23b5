//! Trust files that are refused as a whole.

use serde_json::{Value, json};

use super::super::world::*;
use super::{TRUST, Vector, bare};
use crate::digest::Digest;
use crate::json;

/// Name, what is wrong, member at fault, change.
type Row = (&'static str, &'static str, &'static str, fn(&mut Value));

/// y = 0, a point of order 4.
const LOW_ORDER: [u8; 32] = [0; 32];
/// y = p + 1: a second spelling of the neutral element.
const NOT_CANONICAL: [u8; 32] = {
    let mut spelling = [0xff; 32];
    spelling[0] = 0xee;
    spelling[31] = 0x7f;
    spelling
};
/// y = 2, which is on no point of the curve.
const NO_POINT: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    bytes
};

fn base64(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    json::write_base64(bytes, &mut text);
    String::from_utf8(text)
        .unwrap()
        .trim_matches('"')
        .to_owned()
}

fn spki(key: [u8; 32]) -> Value {
    let prefix = &record_key().public().spki()[..12];
    json!(base64(&[prefix, &key].concat()))
}

fn vkey(kind: u8, key: [u8; 32]) -> Value {
    json!(vkey_of(ORIGIN, kind, key))
}

/// The text of a verifier key that no type would hold.
pub(super) fn vkey_of(name: &str, kind: u8, key: [u8; 32]) -> String {
    let key = [&[kind], &key[..]].concat();
    let id = Digest::of_parts(&[name.as_bytes(), b"\n", &key]);
    format!("{name}+{}+{}", &id.to_hex()[..8], base64(&key))
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("media-type", "Another media type.", "mediaType", |t| t["mediaType"] = json!("application/json")),
    ("unknown-member", "An unknown member.", "note", |t| t["note"] = json!("x")),
    ("record-key-unknown-member", "A record key has an unknown member.", "records[0].name", |t| t["records"][0]["name"] = json!("x")),
    ("no-log-key", "No log key.", "log", |t| t["log"] = json!([])),
    ("no-record-key", "No record key.", "records", |t| t["records"] = json!([])),
    ("origin-scheme", "The origin has a scheme.", "origin", |t| t["origin"] = json!("https://log.example/one")),
    ("origin-space", "The origin has a space.", "origin", |t| t["origin"] = json!("log.example/one two")),
    ("other-origin", "The log key has another name than the origin.", "log[0]", |t| t["origin"] = json!("log.example/two")),
    ("low-order-record-key", "A record key of low order: anyone can sign for it.", "records[0].key", |t| t["records"][0]["key"] = spki(LOW_ORDER)),
    ("low-order-log-key", "A log key of low order.", "log[0]", |t| t["log"][0] = vkey(1, LOW_ORDER)),
    ("low-order-approver-key", "An approver's key of low order.", "approvers[0].key", |t| t["approvers"][0]["key"] = spki(LOW_ORDER)),
    ("low-order-root-key", "A root key of low order.", "root[0]", |t| t["root"] = json!([spki(LOW_ORDER)])),
    ("second-spelling", "A record key whose encoding is not canonical.", "records[0].key", |t| t["records"][0]["key"] = spki(NOT_CANONICAL)),
    ("no-point", "A record key that is no point of the curve.", "records[0].key", |t| t["records"][0]["key"] = spki(NO_POINT)),
    ("raw-key", "A record key of 32 bytes without its DER.", "records[0].key", |t| t["records"][0]["key"] = json!(base64(&record_key().public().to_bytes()))),
    ("other-algorithm", "A record key of another algorithm (X25519).", "records[0].key", |t| {
        let mut der = record_key().public().spki();
        der[8] = 0x6e;
        t["records"][0]["key"] = json!(base64(&der));
    }),
    ("vkey-id", "A log key whose key id is not its own.", "log[0]", |t| {
        let key = base64(&[&[1], &log_key().public().to_bytes()[..]].concat());
        t["log"][0] = json!(format!("{ORIGIN}+00000000+{key}"));
    }),
    ("vkey-type", "A log key of another type.", "log[0]", |t| t["log"][0] = vkey(2, log_key().public().to_bytes())),
    ("from-index-number", "An index is a JSON number.", "records[0].fromIndex", |t| t["records"][0]["fromIndex"] = json!(0)),
    ("range-turned", "A key's range ends before it begins.", "records[0].toIndex", |t| {
        t["records"][0]["fromIndex"] = json!("5");
        t["records"][0]["toIndex"] = json!("4");
    }),
    ("record-key-doubled", "A record key stands twice for one range.", "records[1]", |t| t["records"] = json!([t["records"][0], t["records"][0]])),
    ("log-key-doubled", "A log key stands twice.", "log[1]", |t| t["log"] = json!([t["log"][0], t["log"][0]])),
    ("key-in-two-roles", "An approver's key is the record key.", "approvers[0]", |t| t["approvers"][0]["key"] = t["records"][0]["key"].clone()),
    ("approver-doubled", "An approver's key stands twice, for ranges that are apart.", "approvers[1]", |t| {
        let mut ended = t["approvers"][0].clone();
        ended["toIndex"] = json!("4");
        t["approvers"][0]["fromIndex"] = json!("5");
        t["approvers"] = json!([ended, t["approvers"][0]]);
    }),
    ("approver-range-turned", "The range of an approver's key ends before it begins.", "approvers[0].toIndex", |t| {
        t["approvers"][0]["fromIndex"] = json!("5");
        t["approvers"][0]["toIndex"] = json!("4");
    }),
    ("approver-without-a-name", "An approver has an empty name.", "approvers[0].name", |t| t["approvers"][0]["name"] = json!("")),
];

pub(super) fn vectors() -> Vec<Vector> {
    let base = receipt_of(&bare());
    let value: Value = serde_json::from_slice(&trust().to_json()).unwrap();
    let vector = |name: &str, about: &str, member: &str, trust: Vec<u8>| {
        Vector::refused(
            &format!("trust/{name}"),
            about,
            &base,
            (TRUST, None, member),
        )
        .with_trust(trust)
    };
    let rows = ROWS.iter().map(|(name, about, member, change)| {
        let mut value = value.clone();
        change(&mut value);
        vector(name, about, member, json::canonical(&value))
    });
    let text = String::from_utf8(trust().to_json()).unwrap();
    let doubled = text.replacen('{', r#"{"origin":"log.example/two","#, 1);
    rows.chain([
        vector(
            "duplicate-member",
            "The origin stands twice.",
            "/origin",
            doubled.into_bytes(),
        ),
        vector(
            "not-json",
            "The trust file is not JSON.",
            "",
            b"trust me".to_vec(),
        ),
    ])
    .collect()
}
