use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: Limits = Limits {
    bytes_max: 1024 * 1024,
    depth_max: PAYLOAD_DEPTH_MAX,
};

fn fault(text: &[u8]) -> (String, JsonErrorKind) {
    let error = parse(text, &LIMITS).unwrap_err();
    (error.pointer, error.kind)
}

fn signed_fault_of(text: &str) -> (String, JsonErrorKind) {
    let error = parse_signed(text.as_bytes(), &RECORD_LIMITS).unwrap_err();
    (error.pointer, error.kind)
}

fn canonical_of(text: &str) -> String {
    let form = canonical(&parse(text.as_bytes(), &LIMITS).unwrap());
    assert_eq!(
        canonicalize(text.as_bytes(), &LIMITS).as_deref(),
        Ok(&form[..])
    );
    String::from_utf8(form).unwrap()
}

#[test]
fn the_sample_of_rfc_8785_section_3_2_2_has_its_canonical_form() {
    let sample = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#;
    assert_eq!(canonical_of(sample), expected);
}

#[test]
fn the_names_of_rfc_8785_section_3_2_3_are_sorted_by_utf_16_code_units() {
    let sample = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let canonical = canonical_of(sample);
    let order = [
        "Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew",
    ];
    let places: Vec<usize> = order
        .iter()
        .map(|word| canonical.find(word).unwrap())
        .collect();
    assert!(places.is_sorted(), "{canonical}");
}

#[test]
fn the_numbers_of_rfc_8785_appendix_b_are_written_as_there() {
    for (bits, expected) in [
        (0x0000_0000_0000_0000, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        let double = f64::from_bits(bits);
        assert_eq!(canonical(&json!(double)), expected.as_bytes());
        // What is written is read again as the same number, and written the same.
        assert_eq!(canonical_of(expected), expected);
        assert_eq!(canonical_of(&format!("{double:e}")), expected);
    }
}

#[test]
fn equal_numbers_are_equal_values_however_they_are_written() {
    for (text, expected) in [
        ("1.0", "1"),
        ("1e2", "100"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("100E-2", "1"),
        ("9007199254740992.0", "9007199254740992"),
        ("-1e0", "-1"),
    ] {
        let value = parse(text.as_bytes(), &LIMITS).unwrap();
        assert_eq!(canonical(&value), expected.as_bytes());
        assert_eq!(
            value,
            parse(expected.as_bytes(), &LIMITS).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn an_integer_that_a_double_cannot_hold_is_refused_with_its_place() {
    for text in [
        "9007199254740993",
        "-9007199254740993",
        "18446744073709551615",
        "18446744073709551617",
        "123456789012345678901234567890",
    ] {
        let document = format!(r#"{{"a":[1,{text}]}}"#);
        assert_eq!(
            fault(document.as_bytes()),
            ("/a/1".to_owned(), JsonErrorKind::InexactInteger),
            "{text}"
        );
    }
    // Exact beyond 2^53, and the canonical spelling of such a double.
    for text in [
        "9007199254740994",
        "18446744073709551616",
        "1152921504606846976",
        "1152921504606847000",
        "-295147905179352825856",
    ] {
        assert!(parse(text.as_bytes(), &LIMITS).is_ok(), "{text}");
    }
}

#[test]
fn a_number_beyond_the_doubles_is_refused() {
    let digits = "9".repeat(400);
    for text in ["1e309", "-1e309", "1e99999999999999999999", &digits] {
        assert_eq!(
            fault(text.as_bytes()),
            (String::new(), JsonErrorKind::NumberOverflow),
            "{text}"
        );
    }
    assert_eq!(
        canonical_of("1e-400"),
        "0",
        "too small for a double is nothing"
    );
}

#[test]
fn a_name_that_occurs_twice_is_refused_with_its_place_however_it_is_spelt() {
    let duplicate = |name: &str| JsonErrorKind::DuplicateName(name.to_owned());
    assert_eq!(
        fault(br#"{"a":1,"a":2}"#),
        ("/a".to_owned(), duplicate("a"))
    );
    assert_eq!(
        fault(br#"[{"x":{"a":1,"b":0,"\u0061":1}}]"#),
        ("/0/x/a".to_owned(), duplicate("a"))
    );
    assert_eq!(
        fault(br#"{"a/b~c":1,"a/b~c":1}"#),
        ("/a~1b~0c".to_owned(), duplicate("a/b~c"))
    );
    let error = parse(b"{\n  \"a\": 1,\n  \"a\": 2\n}", &LIMITS).unwrap_err();
    assert_eq!((error.line, error.column), (Some(3), Some(3)));
    assert_eq!(
        error.to_string(),
        r#"in the JSON at "/a", line 3 column 3: the member name "a" occurs twice"#
    );
}

#[test]
fn a_name_that_occurs_twice_is_found_among_many_in_any_order() {
    for count in [3, 16, 17, 18, 100] {
        for first in [0, 1, count / 2, count - 1] {
            let name = |number: usize| format!("\"n{:03}\":true", (number * 37 + 5) % 101);
            let mut names: Vec<String> = (0..count).map(name).collect();
            for sorted in [false, true] {
                if sorted {
                    names.sort();
                }
                let whole = format!("{{{}}}", names.join(","));
                assert!(parse_borrowed(whole.as_bytes(), &LIMITS).is_ok(), "{whole}");
                let twice = format!("{{{},{}}}", names.join(","), names[first]);
                let error = parse_borrowed(twice.as_bytes(), &LIMITS).unwrap_err();
                assert_eq!(error, parse(twice.as_bytes(), &LIMITS).unwrap_err());
                assert!(matches!(error.kind, JsonErrorKind::DuplicateName(_)));
            }
        }
    }
}

#[test]
fn a_lone_surrogate_is_refused_and_a_pair_is_a_character() {
    for text in [
        r#"["\ud800"]"#,
        r#"["\udc00"]"#,
        r#"["\ud800\ud800"]"#,
        r#"["\ud800x"]"#,
        r#"["\ud800\n"]"#,
        r#"["\udc00\ud800"]"#,
    ] {
        assert_eq!(
            fault(text.as_bytes()),
            ("/0".to_owned(), JsonErrorKind::LoneSurrogate),
            "{text}"
        );
    }
    assert_eq!(
        fault(br#"{"\ud800":1}"#),
        (String::new(), JsonErrorKind::LoneSurrogate)
    );
    assert_eq!(canonical_of(r#""\ud83d\ude00\uD83D\uDE00""#), "\"😀😀\"");
}

#[test]
fn invalid_utf_8_is_refused_with_its_place() {
    // A surrogate, an overlong slash, a cut sequence, a continuation alone, a byte that never occurs, beyond U+10FFFF.
    for bytes in [
        &b"\xed\xa0\x80"[..],
        b"\xc0\xaf",
        b"\xe2\x82",
        b"\x80",
        b"\xff",
        b"\xf4\x90\x80\x80",
    ] {
        let document = [b"{\"a\":[\"", bytes, b"\"]}"].concat();
        assert_eq!(
            fault(&document),
            ("/a/0".to_owned(), JsonErrorKind::InvalidUtf8),
            "{bytes:?}"
        );
    }
    assert!(
        matches!(fault(b"\xff").1, JsonErrorKind::Syntax { .. }),
        "outside a string it is no value"
    );
    assert!(
        matches!(fault(b"\xef\xbb\xbf{}").1, JsonErrorKind::Syntax { .. }),
        "nor is a byte order mark"
    );
}

#[test]
fn depth_bombs_end_at_the_limit() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth: usize| format!("{}0{}", open.repeat(depth), close.repeat(depth));
        assert!(parse(nested(PAYLOAD_DEPTH_MAX).as_bytes(), &LIMITS).is_ok());
        let error = parse(nested(PAYLOAD_DEPTH_MAX + 1).as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(
            error.kind,
            JsonErrorKind::TooDeep {
                depth_max: PAYLOAD_DEPTH_MAX
            }
        );
        assert_eq!(error.pointer.matches('/').count(), PAYLOAD_DEPTH_MAX);
        let unlimited = Limits {
            bytes_max: usize::MAX,
            depth_max: usize::MAX,
        };
        let bomb = open.repeat(200_000);
        assert_eq!(
            parse(bomb.as_bytes(), &unlimited).unwrap_err().kind,
            error.kind
        );
    }
    let flat = Limits {
        bytes_max: 100,
        depth_max: 0,
    };
    assert!(parse(b"1", &flat).is_ok());
    assert_eq!(
        parse(b"[]", &flat).unwrap_err().kind,
        JsonErrorKind::TooDeep { depth_max: 0 }
    );
}

#[test]
fn a_text_of_too_many_bytes_is_refused_before_it_is_read() {
    let limits = Limits {
        bytes_max: 4,
        depth_max: 1,
    };
    assert!(parse(b"[12]", &limits).is_ok());
    let error = parse(b"\xff\xff\xff\xff\xff", &limits).unwrap_err();
    assert_eq!(
        error.kind,
        JsonErrorKind::TooLarge {
            bytes: 5,
            bytes_max: 4
        }
    );
}

#[test]
fn small_values_cannot_take_memory_without_end() {
    let text = format!("[{}0]", r#"{"":0},"#.repeat(1_000));
    let error = parser::parse::<Value>(text.as_bytes(), 2, 500 * 640).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooMuchMemory);
    assert!(parser::parse::<Value>(text.as_bytes(), 2, 1_000 * 740).is_ok());
    // A tree node of a large object may be filled by five members only: 128 bytes of it for each, and their names.
    let members: Vec<String> = (0..1_000).map(|n| format!(r#""{n}":0"#)).collect();
    let object = format!("{{{}}}", members.join(","));
    let error = parser::parse::<Value>(object.as_bytes(), 2, 1_000 * 180).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooMuchMemory);
    assert!(parser::parse::<Value>(object.as_bytes(), 2, 1_000 * 200).is_ok());
    let numbers = format!("[{}0]", "0,".repeat(1_000));
    assert!(parser::parse::<Value>(numbers.as_bytes(), 2, 500 * 32).is_err());
}

#[test]
fn what_the_grammar_does_not_allow_is_refused_with_its_place() {
    for (text, pointer) in [
        ("", ""),
        ("  ", ""),
        ("tru", ""),
        ("nul", ""),
        ("{", ""),
        ("[", "/0"),
        ("[1", ""),
        ("[1,]", "/1"),
        ("[,1]", "/0"),
        ("[1 2]", ""),
        (r#"{"a"}"#, "/a"),
        (r#"{"a":}"#, "/a"),
        (r#"{"a":1,}"#, ""),
        ("{a:1}", ""),
        ("{1:1}", ""),
        (r#"{"a":1 "b":2}"#, ""),
        (r#""abc"#, ""),
        (r#"["abc\"]"#, "/0"),
        (r#"["\"#, "/0"),
        ("01", ""),
        ("-", ""),
        ("+1", ""),
        (".5", ""),
        ("1.", ""),
        ("1.e5", ""),
        ("1e", ""),
        ("1e+", ""),
        ("[-a]", "/0"),
        ("NaN", ""),
        ("Infinity", ""),
        ("'a'", ""),
        ("[1]// c", ""),
    ] {
        let error = parse(text.as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(error.pointer, pointer, "{text}");
        assert!(error.line.is_some() && error.column.is_some(), "{text}");
    }
    assert_eq!(fault(b"1 1").1, JsonErrorKind::TrailingBytes);
    assert_eq!(fault(b"{}\0").1, JsonErrorKind::TrailingBytes);
    assert_eq!(fault(b"\"\n\"").1, JsonErrorKind::ControlCharacter);
    assert_eq!(
        fault(br#"["\x41"]"#),
        ("/0".to_owned(), JsonErrorKind::BadEscape)
    );
    assert_eq!(
        fault(br#"["\u00g0"]"#),
        ("/0".to_owned(), JsonErrorKind::BadEscape)
    );
    assert_eq!(
        fault(br#"["\u00"]"#),
        ("/0".to_owned(), JsonErrorKind::BadEscape)
    );
    assert_eq!(
        fault(br#"["\u+123"]"#),
        ("/0".to_owned(), JsonErrorKind::BadEscape)
    );
}

#[test]
fn messages_show_only_a_part_of_a_hostile_name() {
    let name = "é".repeat(100_000);
    let error = parse(format!(r#"{{"{name}":1,"{name}":1}}"#).as_bytes(), &LIMITS).unwrap_err();
    assert!(error.to_string().len() < 1_000);
    let escapes = parse(br#"{"\u001b[31m":1,"\u001b[31m":1}"#, &LIMITS)
        .unwrap_err()
        .to_string();
    assert!(
        !escapes.contains('\u{1b}'),
        "no terminal escapes: {escapes}"
    );
}

#[test]
fn signed_json_has_no_numbers_no_null_and_plain_names() {
    assert_eq!(
        signed_fault_of(r#"{"a":["1",2]}"#),
        ("/a/1".to_owned(), JsonErrorKind::NumberNotAllowed)
    );
    assert_eq!(
        signed_fault_of(r#"{"a":{"b":null}}"#),
        ("/a/b".to_owned(), JsonErrorKind::NullNotAllowed)
    );
    for name in ["", "1a", "-a", ".a", "a b", "é", "a/b", "a\u{7f}"] {
        let text = format!(r#"{{"{name}":"x"}}"#);
        assert_eq!(
            signed_fault_of(&text).1,
            JsonErrorKind::BadName(name.to_owned()),
            "{name}"
        );
    }
    let text = r#"{"A_z.9-":["x",true,false,{}],"_":"\u0000€"}"#;
    assert!(parse_signed(text.as_bytes(), &RECORD_LIMITS).is_ok());
}

#[test]
fn signed_json_is_its_own_canonical_form() {
    for (text, column) in [
        (r#"{"a": "1"}"#, 6),
        (r#"{"b":"1","a":"2"}"#, 3),
        (r#"{"a":"\u0041"}"#, 7),
        (r#"{"a":"\/"}"#, 7),
        (r#"{"a":"\u001F"}"#, 12),
        ("{}\n", 3),
    ] {
        let error = parse_signed(text.as_bytes(), &RECORD_LIMITS).unwrap_err();
        assert_eq!(
            (error.kind, error.line, error.column),
            (JsonErrorKind::NotCanonical, Some(1), Some(column)),
            "{text}"
        );
    }
}

#[test]
fn signed_json_is_held_to_the_limits_of_a_record() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse_signed(deep(RECORD_DEPTH_MAX).as_bytes(), &RECORD_LIMITS).is_ok());
    let error = parse_signed(deep(RECORD_DEPTH_MAX + 1).as_bytes(), &RECORD_LIMITS).unwrap_err();
    assert_eq!(
        error.kind,
        JsonErrorKind::TooDeep {
            depth_max: RECORD_DEPTH_MAX
        }
    );
    let long = format!("{:?}", "x".repeat(RECORD_BYTES_MAX - 1));
    let error = parse_signed(long.as_bytes(), &RECORD_LIMITS).unwrap_err();
    assert_eq!(
        error.kind,
        JsonErrorKind::TooLarge {
            bytes: RECORD_BYTES_MAX + 1,
            bytes_max: RECORD_BYTES_MAX
        }
    );
}

#[test]
fn a_decimal_has_one_spelling() {
    assert_eq!(decimal::parse("0"), Some(0));
    assert_eq!(decimal::parse("18446744073709551615"), Some(u64::MAX));
    for wrong in [
        "",
        "00",
        "01",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1.0",
        "1e3",
        "18446744073709551616",
        "٣",
    ] {
        assert_eq!(decimal::parse(wrong), None, "{wrong}");
    }
}

/// JSON values as the parser makes them.
pub(super) fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |double| double.is_finite())
            .prop_map(|double| { parse(format!("{double:e}").as_bytes(), &LIMITS).unwrap() }),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Texts that are nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"a\"",
        "\"b\"",
        "\"",
        "\\",
        "\\u",
        "d800",
        "0",
        "1",
        "-",
        ".",
        "e",
        "E",
        "+",
        "true",
        "null",
        " ",
        "\n",
        "9007199254740993",
        "1e400",
        "é",
        "\u{1}",
    ]);
    prop_oneof![
        prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat().into_bytes()),
        (values(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, index, byte)| {
            let mut text = canonical(&value);
            let index = index.index(text.len());
            text[index] = byte;
            text
        }),
    ]
}

/// Signed JSON in canonical form, of which some has a byte replaced or something put in.
fn nearly_signed() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        "[a-z\"\\\\/\u{1}\né]{0,4}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-cA_.1-]{1,2}", inner, 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    });
    let edit = prop_oneof![
        Just(None),
        any::<u8>().prop_map(|byte| Some((1, vec![byte]))),
        prop::sample::select(vec![
            " ", "\n", "null", "0", "\\u0061", "\\u0001", "\\/", "\\n", "b", "\"\"",
        ])
        .prop_map(|text| Some((0, text.into()))),
    ];
    (value, edit, any::<prop::sample::Index>()).prop_map(|(value, edit, index)| {
        let mut text = canonical(&value);
        let start = index.index(text.len());
        if let Some((replaced, new)) = edit {
            text.splice(start..start + replaced, new);
        }
        text
    })
}

/// The rules of signed JSON, apart from its form.
fn keeps_the_rules(value: &Value) -> bool {
    match value {
        Value::Null | Value::Number(_) => false,
        Value::Bool(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(keeps_the_rules),
        Value::Object(members) => members.iter().all(|(name, member)| {
            let starts = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
            let goes_on = |byte: u8| starts(byte) || byte.is_ascii_digit() || b".-".contains(&byte);
            name.bytes().next().is_some_and(starts)
                && name.bytes().all(goes_on)
                && keeps_the_rules(member)
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn signed_json_is_what_keeps_the_rules_and_is_its_own_canonical_form(text in nearly_signed()) {
        let expected = parse(&text, &RECORD_LIMITS)
            .is_ok_and(|value| keeps_the_rules(&value) && canonical(&value) == text);
        let found = parse_signed(&text, &RECORD_LIMITS);
        prop_assert_eq!(found.is_ok(), expected, "{:?}", found);
    }

    #[test]
    fn a_text_is_made_canonical_with_and_without_a_tree(text in nearly_signed(), value in values()) {
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        for text in [text, pretty] {
            let through_values = parse(&text, &LIMITS).map(|value| canonical(&value));
            prop_assert_eq!(canonicalize(&text, &LIMITS).map(Cow::into_owned), through_values);
        }
    }

    #[test]
    fn every_value_survives_its_canonical_form(value in values()) {
        let text = canonical(&value);
        prop_assert_eq!(parse(&text, &LIMITS).unwrap(), value);
    }

    #[test]
    fn the_canonical_form_is_the_one_of_another_implementation(value in values()) {
        prop_assert_eq!(canonical(&value), serde_json_canonicalizer::to_vec(&value).unwrap());
    }

    #[test]
    fn spaced_text_means_the_same(value in values()) {
        prop_assert_eq!(parse(&serde_json::to_vec_pretty(&value).unwrap(), &LIMITS).unwrap(), value);
    }

    #[test]
    fn whatever_is_accepted_another_parser_accepts_as_the_same_value(text in nearly_json()) {
        match (parse(&text, &LIMITS), serde_json::from_slice::<Value>(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(canonical(&ours), canonical(&theirs)),
            (Ok(ours), Err(error)) => prop_assert!(false, "only we accept {ours}: {error}"),
            (Err(ours), Ok(_)) => prop_assert!(
                matches!(ours.kind, JsonErrorKind::DuplicateName(_) | JsonErrorKind::InexactInteger),
                "only they accept: {ours}"
            ),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn a_value_that_borrows_is_the_value_that_owns(text in nearly_json()) {
        let limits = Limits { bytes_max: text.len(), depth_max: 64 };
        let borrowed = parse_borrowed(&text, &limits).map(Value::from);
        let owned = parse(&text, &limits);
        prop_assert_eq!(borrowed, owned);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text: Vec<u8>) {
        if let Err(error) = parse(&text, &LIMITS) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
