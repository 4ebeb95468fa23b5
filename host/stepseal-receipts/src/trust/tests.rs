use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keys::SigningKey;

const ORIGIN: &str = "log.example/one";

fn key(n: u8) -> PublicKey {
    SigningKey::from_seed([n; 32]).public()
}

fn trust() -> TrustFile {
    TrustFile {
        origin: ORIGIN.to_owned(),
        log: vec![VerifierKey::new(ORIGIN, &key(1)).unwrap()],
        records: vec![
            RecordKey {
                key: key(2),
                from_index: 0,
                to_index: Some(99),
            },
            RecordKey {
                key: key(3),
                from_index: 50,
                to_index: None,
            },
        ],
        approvers: vec![ApproverKey {
            name: "ada".to_owned(),
            key: key(4),
            from_index: 3,
            to_index: Some(9),
        }],
        root: vec![key(5)],
    }
}

/// The error that the changed file gets.
fn error_of(change: impl FnOnce(&mut Value)) -> TrustError {
    let mut file = serde_json::from_slice(&trust().to_json()).unwrap();
    change(&mut file);
    TrustFile::parse(&serde_json::to_vec(&file).unwrap()).expect_err("the file must be refused")
}

#[test]
fn a_trust_file_is_read_back_as_it_was() {
    assert_eq!(TrustFile::parse(&trust().to_json()).unwrap(), trust());
}

#[test]
fn the_file_has_the_forms_of_the_format() {
    let file: Value = serde_json::from_slice(&trust().to_json()).unwrap();
    assert_eq!(file["mediaType"], MEDIA_TYPE);
    assert!(
        file["log"][0]
            .as_str()
            .unwrap()
            .starts_with("log.example/one+")
    );
    assert_eq!(file["records"][0]["fromIndex"], "0");
    assert_eq!(file["records"][0]["toIndex"], "99");
    assert_eq!(file["records"][1].get("toIndex"), None);
}

#[test]
fn a_key_counts_from_its_first_to_its_last_index() {
    let key = &trust().records[0];
    assert!(key.covers(0) && key.covers(99) && !key.covers(100));
    let open = &trust().records[1];
    assert!(!open.covers(49) && open.covers(50) && open.covers(u64::MAX));
}

#[test]
fn each_malformed_member_is_named() {
    type Change = fn(&mut Value);
    // The neutral element and a point of order eight, as SPKI.
    const SPKI_HEAD: &str = "MCowBQYDK2VwAyEA";
    let cases: [(&str, Change); 12] = [
        ("mediaType", |f| f["mediaType"] = json!("x")),
        ("origin", |f| f["origin"] = json!("https://log.example one")),
        ("origin", |f| {
            f.as_object_mut().unwrap().remove("origin");
        }),
        ("log[0]", |f| {
            f["log"][0] = json!("log.example/one+00000000+AAAA");
        }),
        ("records[0].key", |f| {
            f["records"][0]["key"] = json!(format!("{SPKI_HEAD}{}=", "A".repeat(43)));
        }),
        ("records[0].key", |f| {
            let one = format!("{SPKI_HEAD}AQ{}=", "A".repeat(41));
            f["records"][0]["key"] = json!(one);
        }),
        ("records[0].fromIndex", |f| {
            f["records"][0]["fromIndex"] = json!(0);
        }),
        ("records[0].toIndex", |f| {
            f["records"][0]["fromIndex"] = json!("100");
        }),
        ("records[0].to_index", |f| {
            f["records"][0]["to_index"] = json!("1");
        }),
        ("approvers[0].name", |f| {
            f["approvers"][0]["name"] = json!("");
        }),
        ("root", |f| f["root"] = json!(vec![""; KEYS_MAX + 1])),
        ("witnesses", |f| f["witnesses"] = json!([])),
    ];
    for (member, change) in cases {
        let error = error_of(change);
        assert!(
            matches!(&error, TrustError::Member(inner) if inner.member() == member),
            "{member}: {error}"
        );
    }
}

#[test]
fn a_log_and_its_records_need_a_key() {
    for role in ["log", "records"] {
        let error = error_of(|file| file[role] = json!([]));
        assert!(
            matches!(error, TrustError::NoKey { member } if member == role),
            "{error}"
        );
    }
}

#[test]
fn a_checkpoint_key_is_named_as_the_origin() {
    let error = error_of(|file| file["origin"] = json!("log.example/two"));
    assert!(
        matches!(error, TrustError::OtherOrigin { number: 0, .. }),
        "{error}"
    );
}

fn duplicate(file: &TrustFile) -> Option<(String, String)> {
    match TrustFile::parse(&file.to_json()) {
        Ok(_) => None,
        Err(TrustError::Duplicate { first, second, .. }) => Some((first, second)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_key_has_one_place() {
    let places = |first: &str, second: &str| Some((first.to_owned(), second.to_owned()));
    let mut file = trust();
    file.log.push(file.log[0].clone());
    assert_eq!(duplicate(&file), places("log[0]", "log[1]"));

    let mut file = trust();
    file.records[1].key = key(2);
    assert_eq!(duplicate(&file), places("records[0]", "records[1]"));
    file.records[1].from_index = 100;
    assert_eq!(duplicate(&file), None, "a record key may come back later");

    let mut file = trust();
    file.records[0].key = key(1);
    assert_eq!(duplicate(&file), places("log[0]", "records[0]"));

    let mut file = trust();
    file.approvers.push(ApproverKey {
        name: "bob".to_owned(),
        key: key(4),
        from_index: 10,
        to_index: None,
    });
    assert_eq!(duplicate(&file), places("approvers[0]", "approvers[1]"));

    let mut file = trust();
    file.root.push(key(2));
    assert_eq!(duplicate(&file), places("records[0]", "root[1]"));
}

#[test]
fn a_file_over_the_limit_is_refused_unread() {
    let error = TrustFile::parse(&vec![b' '; TRUST_BYTES_MAX + 1]).unwrap_err();
    assert!(matches!(error, TrustError::Json(_)), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(TrustFile::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_never_panics(place: prop::sample::Index, byte: u8) {
        let mut bytes = trust().to_json();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = TrustFile::parse(&bytes);
    }
}
