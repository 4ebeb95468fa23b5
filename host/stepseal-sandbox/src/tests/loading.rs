//! What is accepted, what is refused and with which words, and what the cache on disk lets through.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stepseal_receipts::digest::Digest;

use super::wat::{Plugin, parse_str, plugin, plugin_with, policy};
use super::{inspect, sandbox};
use crate::{CacheSettings, Descriptor, LoadError, Sandbox, Settings};

const ECHO: &str = "(call $ok (local.get $input) (local.get $input-len))";

async fn refusal(text: &str) -> LoadError {
    inspect(text).await.unwrap_err()
}

async fn refusal_of_bytes(bytes: &[u8]) -> LoadError {
    sandbox().inspect(Arc::from(bytes)).await.unwrap_err()
}

#[tokio::test]
async fn a_plugin_describes_itself() {
    let inspection = inspect(&plugin(ECHO)).await.unwrap();
    let Descriptor::Plugin(plugin) = inspection.descriptor else {
        panic!("it is a plugin")
    };
    assert_eq!(
        (plugin.name.as_str(), plugin.version.as_str()),
        ("probe", "1.0.0")
    );
    assert_eq!(plugin.steps.len(), 1);
    assert_eq!(plugin.steps[0].input_schema, serde_json::json!({}));
}

#[tokio::test]
async fn what_is_not_a_component_is_refused() {
    assert!(matches!(refusal_of_bytes(b"").await, LoadError::NotWasm));
    assert!(matches!(
        refusal_of_bytes(b"#!/bin/sh\n").await,
        LoadError::NotWasm
    ));
    assert!(matches!(refusal("(module)").await, LoadError::CoreModule));
    assert!(matches!(
        refusal_of_bytes(b"\0asm\x07\0\x01\0").await,
        LoadError::NotComponent(_)
    ));
    assert!(matches!(
        refusal_of_bytes(b"\0asm\x0d\0\x01\0\xff\xff\xff").await,
        LoadError::Compile(_)
    ));
}

#[tokio::test]
async fn too_large_a_component_is_refused_before_it_is_looked_at() {
    let settings = Settings {
        pooling: false,
        compile_bytes_max: 100,
        ..Settings::default()
    };
    let error = Sandbox::new(settings)
        .unwrap()
        .inspect(Arc::from(vec![0; 101]))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        LoadError::TooLarge {
            bytes: 101,
            bytes_max: 100
        }
    ));
}

#[tokio::test]
async fn a_component_without_our_exports_is_refused_with_what_it_has() {
    let error =
        refusal("(component (core module $m) (export \"stranger\" (core module $m)))").await;
    assert!(error.to_string().contains("but stranger."), "{error}");
    assert!(
        refusal("(component)")
            .await
            .to_string()
            .contains("but nothing.")
    );
}

#[tokio::test]
async fn a_foreign_import_is_named() {
    let error = importing("wasi:http/incoming-handler@0.2.0").await;
    assert!(
        matches!(&error, LoadError::ForeignImport { name, kind: "plugin" } if name == "wasi:http/incoming-handler@0.2.0"),
        "{error}"
    );
    // One that is known, but not with this type, would trap when it is called.
    let error = importing("wasi:http/outgoing-handler@0.2.0").await;
    assert!(matches!(error, LoadError::ImportMismatch(_)), "{error}");
}

/// Why a plugin is refused that imports `handle` without parameters from this interface.
async fn importing(interface: &str) -> LoadError {
    let plugin = Plugin {
        imports: format!("(import \"{interface}\" (instance (export \"handle\" (func))))"),
        run: ECHO.into(),
        ..Plugin::default()
    };
    refusal(&plugin.text()).await
}

#[tokio::test]
async fn a_policy_may_not_import_what_a_plugin_may() {
    let import = "(component (import \"wasi:logging/logging@0.1.0-draft\" (instance
        (type $t (enum \"trace\" \"debug\" \"info\" \"warn\" \"error\" \"critical\"))
        (export \"level\" (type $level (eq $t)))
        (export \"log\" (func (param \"level\" $level) (param \"context\" string) (param \"message\" string))))) ";
    let with_import = |text: String| text.replacen("(component", import, 1);
    assert!(inspect(&with_import(plugin(ECHO))).await.is_ok());
    let error = refusal(&with_import(policy("", "(i32.const 16)"))).await;
    assert!(
        matches!(error, LoadError::ForeignImport { kind: "policy", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_import_with_another_type_is_refused_when_it_is_uploaded() {
    let imports =
        "(import \"wasi:random/random@0.2.0\" (instance (export \"get-random-u64\" (func (result string)))))".to_owned();
    let error = refusal(
        &Plugin {
            imports,
            run: ECHO.into(),
            ..Plugin::default()
        }
        .text(),
    )
    .await;
    assert!(matches!(error, LoadError::ImportMismatch(_)), "{error}");
    assert!(error.to_string().contains("get-random-u64"), "{error}");
}

#[tokio::test]
async fn an_import_of_plain_types_needs_nothing() {
    let imports = "(import \"someone:else/types@3.0.0\" (instance
        (type $r (record (field \"a\" u8))) (export \"a-record\" (type (eq $r)))))"
        .to_owned();
    let inspection = inspect(
        &Plugin {
            imports,
            run: ECHO.into(),
            ..Plugin::default()
        }
        .text(),
    )
    .await
    .unwrap();
    assert_eq!(inspection.imports, ["someone:else/types@3.0.0"]);
}

#[tokio::test]
async fn an_export_with_another_type_is_refused_when_it_is_uploaded() {
    let missing = plugin(ECHO).replace("(export \"run\" (func $run))", "");
    let error = refusal(&missing).await;
    assert!(
        matches!(&error, LoadError::WrongType { detail, .. } if detail == "it is missing"),
        "{error}"
    );

    let other = plugin(ECHO).replace(
        "(export \"run\" (func $run))",
        "(export \"run\" (func $describe))",
    );
    let error = refusal(&other).await;
    assert!(
        matches!(&error, LoadError::WrongType { export, .. } if export.ends_with("step@0.1.0#run")),
        "{error}"
    );

    let renamed = plugin(ECHO).replace("(case \"failed\" string)", "(case \"broken\" string)");
    let error = refusal(&renamed).await;
    assert!(
        matches!(&error, LoadError::WrongType { detail, .. } if detail.contains("failed")),
        "{error}"
    );
}

#[tokio::test]
async fn a_describe_that_does_not_answer_is_refused() {
    for (describe, why) in [
        ("(unreachable)", "it trapped"),
        (
            "(loop $again (br $again)) (unreachable)",
            "it ran out of fuel",
        ),
        (
            "(drop (memory.grow (i32.const 1000))) (unreachable)",
            "it ran out of memory",
        ),
        ("(i32.const -4)", "cannot be taken"),
    ] {
        let plugin = Plugin {
            run: ECHO.into(),
            describe: Some(describe.into()),
            ..Plugin::default()
        };
        let error = refusal(&plugin.text()).await;
        assert!(
            matches!(&error, LoadError::Describe(text) if text.contains(why)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_describe_that_answers_nonsense_is_refused() {
    let nonsense = plugin_with("(data (i32.const 512) \"Probe\")", ECHO);
    let error = refusal(&nonsense).await;
    assert!(
        matches!(&error, LoadError::BadDescriptor(text) if text.contains("`name` is `Probe`")),
        "{error}"
    );
}

#[tokio::test]
async fn a_component_is_not_taken_for_another_kind_or_other_bytes() {
    let plugin = parse_str(plugin(ECHO)).unwrap();
    let digest = Digest::of(&plugin);
    let bytes = plugin.clone();
    let error = sandbox().policy(digest, || Ok(bytes)).await.unwrap_err();
    assert!(matches!(
        error,
        LoadError::WrongKind {
            found: "plugin",
            wanted: "policy"
        }
    ));
    let error = sandbox()
        .step(Digest::of(b"other"), || Ok(plugin))
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::WrongDigest));
}

#[tokio::test]
async fn what_the_engine_leaves_out_is_refused_and_breaks_no_compiler() {
    for (items, what) in [
        ("(memory $wide i64 1)", "memory64"),
        ("(memory $shared 1 1 shared)", "threads"),
        ("(memory $bytes 1 (pagesize 1))", "custom"),
        ("(type $s (struct (field i32)))", "gc"),
        ("(func (local anyref))", "gc"),
        ("(tag $e)", "exceptions"),
        ("(func (block (try_table (catch_all 0))))", "exceptions"),
        ("(type $f (func)) (type $c (cont $f))", "stack switching"),
    ] {
        let error = inspect(&plugin_with(items, ECHO)).await.unwrap_err();
        let LoadError::Compile(text) = &error else {
            panic!("{items}: {error}")
        };
        assert!(text.contains(what), "{items}: {text}");
    }
}

/// What both ways of allocating say to a component.
async fn refused_by_both(text: &str) -> [String; 2] {
    let on_demand = Sandbox::new(Settings {
        pooling: false,
        ..Settings::default()
    })
    .unwrap();
    let bytes: Arc<[u8]> = Arc::from(parse_str(text).unwrap());
    let mut said = [const { String::new() }; 2];
    for (sandbox, said) in [sandbox(), &on_demand].into_iter().zip(&mut said) {
        match sandbox.inspect(Arc::clone(&bytes)).await.unwrap_err() {
            LoadError::Compile(text) => *said = text,
            other => panic!("{other:?}"),
        }
    }
    said
}

#[tokio::test]
async fn what_no_limit_of_memory_counts_is_bounded_with_and_without_a_pool() {
    // Each function whose address is taken costs the host 32 bytes for every call.
    let functions: Vec<String> = (0..40_000).map(|index| index.to_string()).collect();
    let functions = functions.join(" ");
    let addresses = format!(
        "{} (elem declare func {functions})",
        "(func)".repeat(40_000)
    );
    let globals = "(global (mut i64) (i64.const 0))".repeat(80_000);
    let memories = "(memory 1)".repeat(9);
    let tables = "(table 1 funcref)".repeat(17);
    for (items, why) in [
        (addresses.as_str(), "1048576 bytes"),
        (globals.as_str(), "1048576 bytes"),
        (memories.as_str(), "limit of 8"),
        (tables.as_str(), "limit of 16"),
        ("(table 100001 funcref)", "100000"),
    ] {
        for said in refused_by_both(&plugin_with(items, ECHO)).await {
            assert!(said.contains(why), "{said}");
        }
    }
}

#[tokio::test]
async fn names_a_stranger_chose_cannot_make_errors_or_imports_long() {
    let import = |name: &str, ty: &str| Plugin {
        imports: format!("(import \"{name}\" (instance {ty}))"),
        run: ECHO.into(),
        ..Plugin::default()
    };
    let long = "x".repeat(50_000);
    let unknown = format!("(export \"{long}\" (func))");
    for plugin in [
        import(&format!("a:b/{long}"), "").text(),
        import("wasi:cli/environment@0.2.0", &unknown).text(),
        Plugin {
            core_imports: format!("(import \"{long}\" \"x\" (func))"),
            ..Plugin::default()
        }
        .text(),
    ] {
        let error = inspect(&plugin).await.unwrap_err();
        assert!(error.to_string().len() < 2_000, "{error:.2000}");
    }
    let mut many = String::new();
    for number in 0..200 {
        write!(many, "(import \"a:b/c{number}\" (instance))").unwrap();
    }
    let plugin = Plugin {
        imports: many,
        run: ECHO.into(),
        ..Plugin::default()
    };
    let error = inspect(&plugin.text()).await.unwrap_err();
    assert!(error.to_string().contains("more than 128"), "{error:.2000}");
}

#[tokio::test]
async fn bytes_that_cannot_be_read_are_an_error_of_their_own() {
    let gone = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let error = sandbox()
        .step(Digest::of(b"never seen"), gone)
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::Io(_)));
}

/// A sandbox with nothing in memory and this cache.
fn cached(dir: &Path, key: u8) -> Sandbox {
    let cache = Some(CacheSettings {
        dir: dir.to_owned(),
        key: [key; 32],
        bytes_max: u64::MAX,
    });
    Sandbox::new(Settings {
        pooling: false,
        cache,
        ..Settings::default()
    })
    .unwrap()
}

/// Loads a plugin, and says whether its bytes were asked for, which is when it had to be compiled.
async fn compiles(sandbox: &Sandbox, bytes: &[u8]) -> bool {
    let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (owned, flag) = (bytes.to_vec(), Arc::clone(&asked));
    let read = move || {
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(owned)
    };
    let component = sandbox.step(Digest::of(bytes), read).await.unwrap();
    let outcome = sandbox.run(&component, super::call()).await.outcome;
    assert_eq!(outcome.status().as_str(), "ok", "{outcome:?}");
    asked.load(std::sync::atomic::Ordering::Relaxed)
}

fn only_file(dir: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[tokio::test]
async fn a_component_is_compiled_once_and_read_from_disk_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = parse_str(plugin(ECHO)).unwrap();
    let first = cached(dir.path(), 1);
    assert!(compiles(&first, &bytes).await);
    assert!(!compiles(&first, &bytes).await, "it is in memory");
    assert!(
        !compiles(&cached(dir.path(), 1), &bytes).await,
        "it is on disk"
    );
}

#[tokio::test]
async fn machine_code_that_is_not_this_hosts_own_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = parse_str(plugin(ECHO)).unwrap();
    assert!(compiles(&cached(dir.path(), 1), &bytes).await);
    let file = only_file(dir.path());
    let good = fs::read(&file).unwrap();

    // Another key: a file made by another host, or by whoever does not have the key.
    assert!(compiles(&cached(dir.path(), 2), &bytes).await);
    let others = fs::read(&file).unwrap();
    assert_ne!(good, others);
    assert!(compiles(&cached(dir.path(), 1), &bytes).await);

    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut mac = good.clone();
    mac[20] ^= 1;
    for damaged in [
        flipped,
        mac,
        good[..good.len() - 1].to_vec(),
        good[..20].to_vec(),
        Vec::new(),
        others,
    ] {
        fs::write(&file, damaged).unwrap();
        assert!(compiles(&cached(dir.path(), 1), &bytes).await);
        assert_eq!(
            fs::read(&file).unwrap().len(),
            good.len(),
            "it is written again"
        );
    }
}

#[tokio::test]
async fn machine_code_of_another_component_is_never_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (
        parse_str(plugin(ECHO)).unwrap(),
        parse_str(plugin_with("(func)", ECHO)).unwrap(),
    );
    assert!(compiles(&cached(dir.path(), 1), &first).await);
    let file = only_file(dir.path());
    let name = file
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .replace(&Digest::of(&first).to_hex(), &Digest::of(&second).to_hex());
    fs::rename(&file, dir.path().join(name)).unwrap();
    assert!(compiles(&cached(dir.path(), 1), &second).await);
}

#[tokio::test]
async fn refused_components_leave_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = parse_str("(component)").unwrap();
    assert!(
        cached(dir.path(), 1)
            .inspect(Arc::from(bytes))
            .await
            .is_err()
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Bytes that are read when they are let go, and whether anybody asked for them.
fn held_back(
    bytes: Vec<u8>,
) -> (
    impl FnOnce() -> std::io::Result<Vec<u8>> + Send + 'static,
    tokio::sync::oneshot::Receiver<()>,
    std::sync::mpsc::Sender<()>,
) {
    let (asked, was_asked) = tokio::sync::oneshot::channel();
    let (go, wait) = std::sync::mpsc::channel();
    let read = move || {
        asked.send(()).unwrap();
        // An error once the sender is gone, which is as good.
        let _ = wait.recv();
        Ok(bytes)
    };
    (read, was_asked, go)
}

#[tokio::test]
async fn a_caller_that_goes_away_makes_no_room_for_another_compilation() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = cached(dir.path(), 1);
    let bytes = parse_str(plugin(ECHO)).unwrap();
    let (read, was_asked, go) = held_back(bytes.clone());
    let digest = Digest::of(&bytes);
    let first = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.step(digest, read).await }
    });
    was_asked.await.unwrap();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());

    // The first compilation still runs, so a second one must not begin.
    let (read, mut was_asked, second_go) = held_back(Vec::new());
    let second = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.step(Digest::of(b""), read).await }
    });
    // Once this read of another component's cache file is done, the second one has long come to where it waits.
    for _ in 0..100 {
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.unwrap();
    }
    assert!(was_asked.try_recv().is_err());
    go.send(()).unwrap();
    was_asked.await.unwrap();
    drop(second_go);
    assert!(second.await.unwrap().is_err());
}
