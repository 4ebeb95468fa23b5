use proptest::prelude::*;

use super::*;
use crate::keys::SigningKey;

fn log(seed: u8) -> String {
    let key = SigningKey::from_seed([seed; 32]).public();
    VerifierKey::new("log.example/one", &key)
        .unwrap()
        .to_string()
}

fn key(seed: u8) -> WitnessKey {
    let key = SigningKey::from_seed([seed; 32]).public();
    WitnessKey::new(&format!("witness.example/{seed}"), &key).unwrap()
}

/// The example of C2SP tlog-policy, with keys: X1 to X3 have the seeds 1 to 3, Y1 to Y3 4 to 6, the log 9.
fn example() -> String {
    let [x1, x2, x3, y1, y2, y3] = [1, 2, 3, 4, 5, 6].map(key);
    format!(
        "log {}\n\nwitness X1 {x1}\nwitness X2 {x2}\nwitness X3 {x3}\ngroup X-witnesses 2 X1 X2 X3\n\n\
         witness Y1 {y1}\nwitness Y2 {y2}\nwitness Y3 {y3}\ngroup Y-witnesses any Y1 Y2 Y3\n\n\
         group X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n",
        log(9)
    )
}

fn parse(text: &str) -> WitnessPolicy {
    WitnessPolicy::parse(text.as_bytes()).unwrap()
}

fn met(policy: &WitnessPolicy, seeds: &[u8]) -> bool {
    let keys: Vec<WitnessKey> = seeds.iter().copied().map(key).collect();
    policy.is_met(|key| keys.contains(key))
}

#[test]
fn the_example_of_the_standard_counts_as_the_standard_says() {
    let policy = parse(&example());
    assert_eq!(policy.logs().len(), 1);
    let names: Vec<&str> = policy.witnesses().map(|witness| witness.name).collect();
    assert_eq!(names, ["X1", "X2", "X3", "Y1", "Y2", "Y3"]);
    assert_eq!(policy.asked().len(), 6);
    assert!(met(&policy, &[1, 2, 4]));
    assert!(met(&policy, &[2, 3, 6]));
    assert!(met(&policy, &[1, 2, 3, 4, 5, 6]));
    assert!(!met(&policy, &[1, 4, 5, 6]), "one X only");
    assert!(!met(&policy, &[1, 2, 3]), "no Y");
    assert!(!met(&policy, &[]));
}

#[test]
fn a_quorum_may_be_one_witness_or_nobody() {
    let two = format!("witness a {}\nwitness b {}\n", key(1), key(2));
    let one = parse(&format!("{two}quorum b\n"));
    assert!(met(&one, &[2]) && !met(&one, &[1]));
    let asked: Vec<&str> = one.asked().iter().map(|witness| witness.name).collect();
    assert_eq!(asked, ["b"]);
    let nobody = parse(&format!("quorum none\n{two}"));
    assert!(nobody.is_none() && met(&nobody, &[]));
    assert!(nobody.asked().is_empty());
    assert!(!one.is_none());
    assert!(nobody.logs().is_empty(), "the log may be known otherwise");
}

#[test]
fn white_space_comments_urls_and_order_are_free_where_the_standard_says_so() {
    let (one, two) = (key(1), key(2));
    let policy = parse(&format!(
        "# comment with \u{e9}\n \t# another\n\t \n  witness\t \u{212a} {one}  https://w.example/\u{e9} \n\
         witness K {two}\ngroup g 2 \u{212a} K\nquorum g\nlog {} https://log.example\n",
        log(9)
    ));
    assert!(met(&policy, &[1, 2]) && !met(&policy, &[1]));
    // Names and comments are opaque octets, not UTF-8.
    let raw = [
        b"# \xff\nwitness \xfe ",
        key(1).to_string().as_bytes(),
        b"\nquorum \xfe\n",
    ]
    .concat();
    let policy = WitnessPolicy::parse(&raw).unwrap();
    assert_eq!(policy.witnesses().next().unwrap().name, "\u{fffd}");
    assert!(met(&policy, &[1]));
}

#[test]
fn two_names_that_look_alike_are_two() {
    let raw = [
        b"witness \xfe ".as_slice(),
        key(1).to_string().as_bytes(),
        b"\nquorum \xff\n",
    ]
    .concat();
    let error = WitnessPolicy::parse(&raw).unwrap_err();
    assert!(matches!(
        error,
        WitnessPolicyError::Line {
            line: 2,
            fault: LineFault::Undefined { .. }
        }
    ));
}

/// A policy of two witnesses, one line more, and a quorum.
fn with(line: &str) -> Result<WitnessPolicy, WitnessPolicyError> {
    let text = format!(
        "witness a {}\nwitness b {}\n{line}\nquorum a\n",
        key(1),
        key(2)
    );
    WitnessPolicy::parse(text.as_bytes())
}

/// Asserts that each line is refused as the third.
fn assert_refused<const N: usize>(cases: [(String, LineFault); N]) {
    assert!(with("# nothing").is_ok());
    for (line, fault) in cases {
        let error = with(&line).unwrap_err();
        assert_eq!(error, WitnessPolicyError::Line { line: 3, fault }, "{line}");
        assert!(error.to_string().starts_with("line 3 "), "{error}");
    }
}

#[test]
fn a_line_of_another_form_is_refused_with_its_number() {
    let items = |expected| LineFault::Items { expected };
    let control = |byte| LineFault::ControlCharacter { byte };
    let witness = items("witness <name> <vkey> [<url>]");
    let more = format!("witness c {} https://w.example more", key(3));
    let group = items("group <name> <all, any or a number> <name>...");
    assert_refused([
        ("Witness c x".to_owned(), LineFault::Keyword),
        ("policy".to_owned(), LineFault::Keyword),
        ("witness c".to_owned(), witness.clone()),
        (more, witness),
        ("log".to_owned(), items("log <vkey> [<url>]")),
        ("group g all".to_owned(), group.clone()),
        ("group".to_owned(), group),
        ("quorum".to_owned(), items("quorum <name>")),
        ("quorum a b".to_owned(), items("quorum <name>")),
        ("# \r".to_owned(), control(b'\r')),
        ("# \u{7f}".to_owned(), control(0x7f)),
        ("#\0".to_owned(), control(0)),
    ]);
}

#[test]
fn a_key_of_the_wrong_type_or_that_stands_twice_is_refused() {
    let renamed = WitnessKey::new("other.example", key(2).key()).unwrap();
    let witness = LineFault::WitnessKey(CosignatureError::WitnessKey);
    assert_refused([
        // A log's key where a witness's is wanted, and the other way round.
        (format!("witness c {}", log(3)), witness),
        (
            format!("log {}", key(3)),
            LineFault::LogKey(NoteError::VerifierKey),
        ),
        // One witness under two names would be a quorum of two.
        (
            format!("witness c {renamed}"),
            LineFault::KeyTaken { first: 2 },
        ),
        // A log that witnesses itself.
        (format!("log {}", log(1)), LineFault::KeyTaken { first: 1 }),
    ]);
}

#[test]
fn a_name_that_is_taken_or_not_yet_defined_is_refused() {
    let three = key(3);
    let undefined = |name: &str| LineFault::Undefined {
        name: name.to_owned(),
    };
    let taken = || LineFault::NameTaken {
        name: "a".to_owned(),
    };
    assert_refused([
        (format!("witness none {three}"), LineFault::Name),
        (
            format!("witness {} {three}", "n".repeat(256)),
            LineFault::Name,
        ),
        ("group none any a".to_owned(), LineFault::Name),
        (format!("witness a {three}"), taken()),
        ("group a any b".to_owned(), taken()),
        ("group g any c".to_owned(), undefined("c")),
        ("group g any g".to_owned(), undefined("g")),
        ("group g any none".to_owned(), undefined("none")),
        ("quorum c".to_owned(), undefined("c")),
    ]);
}

#[test]
fn a_threshold_that_nobody_or_anybody_reaches_is_refused() {
    let threshold = || LineFault::Threshold { members: 2 };
    let twice = LineFault::MemberTwice {
        name: "a".to_owned(),
    };
    assert_refused([
        ("group g 2 a a".to_owned(), twice),
        ("group g 0 a b".to_owned(), threshold()),
        ("group g 3 a b".to_owned(), threshold()),
        ("group g 02 a b".to_owned(), threshold()),
        ("group g +1 a b".to_owned(), threshold()),
        ("group g most a b".to_owned(), threshold()),
        ("group g 18446744073709551616 a b".to_owned(), threshold()),
    ]);
}

#[test]
fn a_witness_counts_in_one_way_only() {
    let error = with("group g any a\ngroup h 2 a b").unwrap_err();
    let fault = LineFault::MemberTwice {
        name: "a".to_owned(),
    };
    assert_eq!(error, WitnessPolicyError::Line { line: 4, fault });
    assert!(with("group g any a\ngroup h 2 g b").is_ok());
}

#[test]
fn a_policy_has_exactly_one_quorum_and_ends_in_a_newline() {
    let error = with("quorum b").unwrap_err();
    assert_eq!(
        error,
        WitnessPolicyError::Line {
            line: 4,
            fault: LineFault::SecondQuorum
        }
    );
    for text in ["", "\n", "# quorum none\n"] {
        let error = WitnessPolicy::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error, WitnessPolicyError::NoQuorum, "{text:?}");
    }
    // A file that was cut short might have asked for more.
    let error = WitnessPolicy::parse(b"quorum none").unwrap_err();
    assert_eq!(
        error,
        WitnessPolicyError::Line {
            line: 1,
            fault: LineFault::Unterminated
        }
    );
}

#[test]
fn each_limit_is_held() {
    let bytes = vec![b'#'; POLICY_BYTES_MAX + 1];
    let error = WitnessPolicy::parse(&bytes).unwrap_err();
    assert_eq!(
        error,
        WitnessPolicyError::TooLarge {
            bytes: POLICY_BYTES_MAX + 1
        }
    );

    let many = |count: usize, line: &dyn Fn(u16) -> String| {
        let lines = (0..).take(count).map(line);
        lines
            .chain(["quorum none\n".to_owned()])
            .collect::<String>()
    };
    let public = |n: u16| {
        let [high, low] = n.to_be_bytes();
        let mut seed = [7; 32];
        (seed[0], seed[1]) = (high, low);
        SigningKey::from_seed(seed).public()
    };
    let witness = |n: u16| {
        format!(
            "witness w{n} {}\n",
            WitnessKey::new("w", &public(n)).unwrap()
        )
    };
    let log = |n: u16| {
        format!(
            "log {}\n",
            VerifierKey::new("log.example", &public(n)).unwrap()
        )
    };
    let group = |n: u16| match n {
        0 => format!("{}group g0 any w0\n", witness(0)),
        n => format!("group g{n} any g{}\n", n - 1),
    };
    for line in [&witness as &dyn Fn(u16) -> String, &log, &group] {
        let policy = parse(&many(ITEMS_MAX, line));
        assert!(policy.is_met(|_| false), "nobody is asked");
        let error = WitnessPolicy::parse(many(ITEMS_MAX + 1, line).as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                WitnessPolicyError::Line {
                    fault: LineFault::TooMany,
                    ..
                }
            ),
            "{error}"
        );
    }
    // The deepest nesting there can be.
    let deep = many(ITEMS_MAX, &group).replace("quorum none", "quorum g255");
    let deep = parse(&deep);
    assert!(deep.is_met(|_| true) && !deep.is_met(|_| false));
    assert_eq!(deep.asked().len(), 1);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = WitnessPolicy::parse(&bytes);
    }

    #[test]
    fn lines_in_any_order_never_panic(order in proptest::collection::vec(0..14_usize, 0..20), cut in 0..2000_usize) {
        let example = example();
        let lines: Vec<&str> = example.split_inclusive('\n').collect();
        let shuffled: String = order.iter().map(|&line| lines[line]).collect();
        if let Ok(policy) = WitnessPolicy::parse(shuffled.as_bytes()) {
            prop_assert!(policy.is_met(|_| true), "who has everybody has the quorum");
            prop_assert!(policy.is_none() || !policy.is_met(|_| false));
        }
        let cut = cut.min(example.len());
        prop_assert!(cut == example.len() || WitnessPolicy::parse(&example.as_bytes()[..cut]).is_err());
    }

    /// Who cosigns more never has less.
    #[test]
    fn another_cosignature_never_hurts(some in proptest::collection::vec(1..7_u8, 0..6), more in 1..7_u8) {
        let policy = parse(&example());
        let all = [some.as_slice(), &[more]].concat();
        prop_assert!(!met(&policy, &some) || met(&policy, &all));
    }
}
