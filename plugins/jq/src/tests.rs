use serde_json::json;

use super::*;

fn run(input: &Value) -> Result<Value, Failure> {
    let call = Call {
        step_type: "filter".into(),
        attempt: 1,
        ..Call::default()
    };
    PLUGIN
        .run(&call, &input.to_string())
        .map(|output| serde_json::from_str(&output).unwrap())
}

fn outputs(filter: &str, document: &Value) -> Value {
    run(&json!({"filter": filter, "document": document})).unwrap()["outputs"].clone()
}

fn fault(filter: &str) -> String {
    match run(&json!({"filter": filter, "document": null})) {
        Err(Failure::InvalidInput(message)) => message,
        other => panic!("{filter}: {other:?}"),
    }
}

#[test]
fn a_filter_gives_all_of_its_outputs_in_order() {
    assert_eq!(outputs(".[] | . + 1", &json!([3, 1, 2])), json!([4, 2, 3]));
    assert_eq!(outputs("empty", &json!([])), json!([]));
    let one = run(&json!({"filter": "map(.n) | add", "document": [{"n": 1}, {"n": 2}]})).unwrap();
    assert_eq!(one, json!({"result": 3, "outputs": [3]}));
    let none = run(&json!({"filter": "empty", "document": 0})).unwrap();
    assert_eq!(none, json!({"result": null, "outputs": []}));
}

#[test]
fn the_standard_library_is_there() {
    let document = json!({"packages": [
        {"name": "b", "license": "MIT", "deps": [1, 2]},
        {"name": "a", "license": "Apache-2.0", "deps": []},
        {"name": "c", "license": "MIT", "deps": [1]}
    ]});
    let filter = ".packages | group_by(.license) | map({license: .[0].license, names: map(.name) | sort, n: length})";
    assert_eq!(
        outputs(filter, &document),
        json!([[{"license": "Apache-2.0", "names": ["a"], "n": 1}, {"license": "MIT", "names": ["b", "c"], "n": 2}]])
    );
    assert_eq!(
        outputs(r#"test("^a+$"), @base64, (.|ascii_upcase)"#, &json!("aaa")),
        json!([true, "YWFh", "AAA"])
    );
    assert_eq!(
        outputs("todate", &json!(0)),
        json!(["1970-01-01T00:00:00Z"])
    );
    assert_eq!(outputs("floor, sqrt", &json!(6.25)), json!([6, 2.5]));
}

#[test]
fn arguments_are_variables() {
    let input =
        json!({"filter": ".[:$n] + $more", "document": [1, 2, 3], "args": {"more": [9], "n": 2}});
    assert_eq!(run(&input).unwrap()["result"], json!([1, 2, 9]));
    let input = json!({"filter": ".", "document": 0, "args": {"a b": 1}});
    assert!(
        matches!(run(&input), Err(Failure::InvalidInput(message)) if message.contains("\"a b\""))
    );
}

#[test]
fn a_bad_filter_is_told_with_its_place() {
    assert!(
        fault(".a |\n  .b ||").starts_with("filter at line 2, column"),
        "{}",
        fault(".a |\n  .b ||")
    );
    assert_eq!(
        fault("map(.a"),
        "filter at line 1, column 7 (the end): expected closing parenthesis"
    );
    assert_eq!(
        fault("1 | frobnicate(2)"),
        "filter at line 1, column 5 (`frobnicate(2)`): there is no filter `frobnicate/1`"
    );
    assert_eq!(
        fault("ä§ | $x"),
        "filter at line 1, column 1 (`ä§ | $x`): expected token"
    );
    assert!(
        fault(". | $nobody").ends_with("there is no variable `$nobody`"),
        "{}",
        fault(". | $nobody")
    );
    assert!(fault("1 +").contains("(the end)"), "{}", fault("1 +"));
}

#[test]
fn nothing_outside_of_the_document_can_be_reached() {
    for filter in [
        "now",
        "env",
        "$ENV",
        "$ENV.HOME",
        "input",
        "inputs",
        "halt",
        "halt_error",
        "halt_error(1)",
        "localtime",
        r#"strflocaltime("%Z")"#,
        "input_filename",
        "$__prog_args",
        r#"include "x"; ."#,
        r#"import "x" as x; ."#,
        r#"import "x" as $x; $x"#,
        "get_search_list",
    ] {
        fault(filter);
    }
}

#[test]
fn debug_passes_its_input_on() {
    assert_eq!(outputs("debug | stderr", &json!(1)), json!([1]));
}

#[test]
fn an_error_of_the_filter_is_the_steps_failure() {
    let failed = |filter: &str| match run(&json!({"filter": filter, "document": {"a": 1}})) {
        Err(Failure::Failed(message)) => message,
        other => panic!("{filter}: {other:?}"),
    };
    assert_eq!(failed(r#"1, error("no")"#), "output 2: no");
    assert!(
        failed(".a[0]").starts_with("output 1: cannot index 1 with 0"),
        "{}",
        failed(".a[0]")
    );
    assert!(failed("nan").contains("is not a JSON number"));
    assert!(failed("range(1e9)").contains("more than 100000 outputs"));
}

#[test]
fn a_filter_that_is_too_long_is_refused_before_it_is_read() {
    let long = "(".repeat(FILTER_BYTES_MAX + 1);
    assert_eq!(fault(&long), "filter is longer than 65536 bytes");
}
