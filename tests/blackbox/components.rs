//! Uploading components: what is taken, what is refused, and with which words.

use crate::host::Host;
use crate::host::guests;
use crate::wat::{Plugin, parse_str, plugin, plugin_with};

/// A body of `run` that gives its input back.
const ECHO: &str = "(call $ok (local.get $input) (local.get $input-len))";

fn component(text: &str) -> Vec<u8> {
    parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(host: &Host, bytes: Vec<u8>, code: &str) -> String {
    let problem = host.upload_bytes(bytes).problem(422, code);
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn an_upload_is_described_and_given_back_byte_for_byte() {
    let host = Host::empty();
    let bytes = guests::bytes("hostile");
    let answer = host.upload_bytes(bytes.clone()).expect(201);
    let uploaded = answer.json();
    let place = answer.header("location").unwrap().to_owned();
    assert_eq!(
        place,
        format!("/v1/components/{}", uploaded["digest"].as_str().unwrap())
    );
    assert_eq!(
        (&uploaded["name"], &uploaded["kind"], &uploaded["size"]),
        (&"hostile".into(), &"plugin".into(), &bytes.len().into())
    );
    assert!(
        uploaded["imports"]
            .as_array()
            .unwrap()
            .iter()
            .any(|import| import.as_str().unwrap().starts_with("wasi:keyvalue/store@"))
    );
    let steps = uploaded["descriptor"]["steps"].as_array().unwrap();
    assert!(
        steps
            .iter()
            .any(|step| step["name"] == "echo" && step["summary"] == "Gives its input.")
    );
    assert_eq!(host.get(&place), uploaded);

    let content = host
        .call("GET", format!("{place}/content"))
        .send()
        .expect(200);
    assert_eq!(content.body, bytes);
    assert!(
        content
            .header("cache-control")
            .unwrap()
            .contains("immutable")
    );
}

#[test]
fn the_same_bytes_twice_are_one_component() {
    let host = Host::with_guests();
    let again = host
        .upload_bytes(guests::bytes("ledger"))
        .expect(200)
        .json();
    assert_eq!(again["digest"], host.digest("ledger"));
    assert_eq!(
        host.get("/v1/components")["items"]
            .as_array()
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_name_and_version_never_come_to_mean_other_bytes() {
    let host = Host::with_guests();
    let first = host.digest("ledger");
    let problem = host
        .upload_bytes(guests::bytes_with_another_section("ledger"))
        .problem(409, "name-taken");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("ledger 0.1.0") && detail.contains(&first),
        "{detail}"
    );
    assert_eq!(host.digest("ledger"), first);
    let content = host
        .call("GET", format!("/v1/components/{first}/content"))
        .send()
        .expect(200);
    assert_eq!(content.body, guests::bytes("ledger"));
}

#[test]
fn what_is_not_a_component_is_refused_and_told_what_it_is() {
    let host = Host::empty();
    for bytes in [
        Vec::new(),
        b"#!/bin/sh\necho hello\n".to_vec(),
        b"PK\x03\x04".to_vec(),
    ] {
        refusal(&host, bytes, "not-wasm");
    }
    let detail = refusal(&host, component("(module)"), "core-module");
    assert!(detail.contains("component"), "{detail}");
    let truncated = guests::bytes("hostile")[..10_000].to_vec();
    refusal(&host, truncated, "does-not-compile");
    assert_eq!(
        host.get("/v1/components")["items"]
            .as_array()
            .unwrap()
            .len(),
        0,
        "nothing of it is kept"
    );
}

#[test]
fn a_component_without_our_exports_is_told_what_it_exports() {
    let host = Host::empty();
    let detail = refusal(
        &host,
        component("(component (core module $m) (export \"stranger\" (core module $m)))"),
        "no-known-export",
    );
    assert!(
        detail.contains("stranger") && detail.contains("stepseal:plugin/step@0.1.0"),
        "{detail}"
    );
}

#[test]
fn an_import_that_no_host_offers_is_named_before_it_can_trap() {
    let host = Host::empty();
    for (interface, code) in [
        ("wasi:http/incoming-handler@0.2.0", "foreign-import"),
        // Offered, but not with this type: its first call would trap.
        ("wasi:http/outgoing-handler@0.2.0", "import-mismatch"),
    ] {
        let text = Plugin {
            imports: format!("(import \"{interface}\" (instance (export \"handle\" (func))))"),
            run: ECHO.into(),
            ..Plugin::default()
        }
        .text();
        let detail = refusal(&host, component(&text), code);
        assert!(detail.contains(interface), "{detail}");
    }
}

#[test]
fn an_export_of_another_type_is_refused_when_it_is_uploaded() {
    let host = Host::empty();
    let text = plugin(ECHO).replace(
        "(export \"run\" (func $run))",
        "(export \"run\" (func $describe))",
    );
    let detail = refusal(&host, component(&text), "wrong-type");
    assert!(detail.contains("run"), "{detail}");
}

#[test]
fn a_describe_that_does_not_answer_is_refused_with_the_cause() {
    let host = Host::empty();
    for (describe, why) in [
        ("(unreachable)", "trapped"),
        ("(loop $again (br $again)) (unreachable)", "fuel"),
        (
            "(drop (memory.grow (i32.const 1000))) (unreachable)",
            "memory",
        ),
    ] {
        let text = Plugin {
            run: ECHO.into(),
            describe: Some(describe.into()),
            ..Plugin::default()
        }
        .text();
        let detail = refusal(&host, component(&text), "describe-failed");
        assert!(detail.contains(why), "{detail}");
    }
}

#[test]
fn a_describe_that_answers_nonsense_is_refused_with_the_place() {
    let host = Host::empty();
    let named = plugin_with("(data (i32.const 512) \"Probe\")", ECHO);
    let detail = refusal(&host, component(&named), "bad-descriptor");
    assert!(
        detail.contains("`name`") && detail.contains("Probe"),
        "{detail}"
    );
    let schema = plugin_with("(data (i32.const 522) \"[]\")", ECHO);
    refusal(&host, component(&schema), "bad-descriptor");
}

#[test]
fn components_are_found_by_kind_and_by_digest_alone() {
    let host = Host::with_guests();
    let names = |kind: &str| {
        let list = host.get(format!("/v1/components?kind={kind}"));
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("plugin"), ["hostile", "jq", "ledger"]);
    assert_eq!(names("policy"), ["spending-limit"]);
    host.call("GET", "/v1/components?kind=planner")
        .send()
        .problem(400, "bad-parameter");

    let unknown = format!("sha256:{}", "0".repeat(64));
    for place in [
        format!("/v1/components/{unknown}"),
        format!("/v1/components/{unknown}/content"),
    ] {
        let problem = host.call("GET", place).send().problem(404, "not-found");
        assert!(problem["detail"].as_str().unwrap().contains(&unknown));
    }
    for bad in [
        "ledger",
        "sha256:00",
        &unknown.to_uppercase(),
        &"0".repeat(64),
    ] {
        let problem = host
            .call("GET", format!("/v1/components/{bad}"))
            .send()
            .problem(400, "bad-parameter");
        assert!(
            problem["detail"].as_str().unwrap().starts_with("digest: "),
            "{problem}"
        );
    }
}
