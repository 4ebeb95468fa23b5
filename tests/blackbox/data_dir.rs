//! Data directories a host must not serve: each is refused with a sentence that says why and what to do, and is left as it was.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::host::Host;
use crate::host::tasks::{id, one_step};
use crate::support::{Ran, stepseal};

/// Starts a host on a directory and expects it to refuse.
fn refusal(data: &Path, more: &[&str]) -> Ran {
    let data = data.to_str().unwrap();
    let ran = stepseal(&[&["serve", "--listen", "127.0.0.1:0", "--data", data], more].concat());
    assert_ne!(ran.code, 0, "a host served {data}: {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// Expects a refusal whose message holds all of `says`.
fn refused(data: &Path, says: &[&str]) {
    let ran = refusal(data, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    for part in says {
        assert!(
            ran.stderr.contains(part),
            "{part:?} is not in: {}",
            ran.stderr
        );
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_first_start_makes_everything_for_its_owner_alone() {
    let host = Host::empty();
    let data = host.data();
    assert_eq!(mode(&data), 0o700);
    for secret in ["token", "keys/record.pem", "keys/log.pem", "keys/cache.key"] {
        assert_eq!(mode(&data.join(secret)), 0o600, "{secret}");
    }
}

#[test]
fn a_second_host_on_a_directory_is_refused_and_told_where_the_first_is() {
    let host = Host::empty();
    refused(&host.data(), &["another host", host.url(), "--data"]);
    // The first is not disturbed: it is still found by its clients, too.
    host.get("/readyz");
    let listed = stepseal(&["--data", host.data().to_str().unwrap(), "task", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
}

#[test]
fn a_directory_that_was_refused_and_mended_is_served_again_with_everything_in_it() {
    let host = Host::with_guests();
    let id = id(&host.submit_and_wait(&one_step(
        "jq/filter",
        &json!({"filter": ".", "document": 7}),
    )));
    let trust = host.get("/v1/trust");
    let dir = host.kill();
    let data = dir.path();
    let (record, log) = (data.join("keys/record.pem"), data.join("keys/log.pem"));

    for key in [&record, &log] {
        let kept = fs::read(key).unwrap();
        fs::remove_file(key).unwrap();
        refused(&data, &[key.to_str().unwrap(), "missing", "backup"]);
        assert!(
            !key.exists(),
            "{} was made anew under a log that has another",
            key.display()
        );
        fs::write(
            key,
            "-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        chmod(key, 0o600);
        refused(&data, &[key.to_str().unwrap(), "backup"]);
        fs::write(key, kept).unwrap();
    }
    for (open, is) in [
        (&record, 0o644),
        (&log, 0o640),
        (&data.join("token"), 0o604),
    ] {
        chmod(open, is);
        refused(&data, &[open.to_str().unwrap(), "others", "chmod 600"]);
        chmod(open, 0o600);
    }
    chmod(&data, 0o755);
    refused(&data, &["others", "chmod 700"]);
    chmod(&data, 0o700);
    // Each key in the place of the other: none is the one the database names.
    fs::rename(&record, data.join("swap")).unwrap();
    fs::rename(&log, &record).unwrap();
    fs::rename(data.join("swap"), &log).unwrap();
    refused(
        &data,
        &["record.pem", "not the one this database was written with"],
    );
    fs::rename(&record, data.join("swap")).unwrap();
    fs::rename(&log, &record).unwrap();
    fs::rename(data.join("swap"), &log).unwrap();
    let other_origin = refusal(&data, &["--origin", "example.org/other"]);
    assert!(
        other_origin.stderr.contains("example.org/other"),
        "{}",
        other_origin.stderr
    );

    let host = Host::on(dir);
    assert_eq!(host.get("/v1/trust"), trust);
    assert_eq!(host.task(&id)["steps"][0]["output"]["result"], 7);
    host.receipt_verified(&id);
}

#[test]
fn the_keys_of_another_host_are_refused() {
    let (host, other) = (Host::empty(), Host::empty());
    let dir = host.kill();
    let key = dir.path().join("keys/log.pem");
    fs::copy(other.data().join("keys/log.pem"), &key).unwrap();
    let foreign = "not the one this database was written with";
    refused(&dir.path(), &[key.to_str().unwrap(), foreign]);
}

#[test]
fn a_database_of_a_newer_version_is_refused() {
    let dir = Host::empty().kill();
    let database = dir.path().join("stepseal.db");
    let migrate = async {
        let mut connection = SqliteConnectOptions::new()
            .filename(&database)
            .connect()
            .await
            .unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9000, 'from the future', TRUE, x'00', 0)";
        sqlx::query(newer).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(migrate);
    refused(&dir.path(), &["stepseal.db", "9000", "newer"]);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = Host::empty().kill();
    let database = dir.path().join("stepseal.db");
    for leftover in ["stepseal.db-wal", "stepseal.db-shm"] {
        let _ = fs::remove_file(dir.path().join(leftover));
    }
    fs::write(
        &database,
        "this is no database at all, but long enough to look like one".repeat(100),
    )
    .unwrap();
    refused(&dir.path(), &["stepseal.db"]);
    let left = fs::read_to_string(&database).unwrap();
    assert!(
        left.starts_with("this is no database"),
        "the file was written over"
    );
    fs::remove_file(&database).unwrap();
    fs::create_dir(&database).unwrap();
    refused(&dir.path(), &["stepseal.db"]);
}

#[test]
fn a_place_that_cannot_be_a_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "I am a file").unwrap();
    refused(&file, &[file.to_str().unwrap()]);
    refused(&file.join("below"), &[file.join("below").to_str().unwrap()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "I am a file");
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    chmod(&data, 0o700);
    fs::write(data.join("keys"), "not a directory").unwrap();
    refused(&data, &[data.join("keys").to_str().unwrap()]);
}

#[test]
fn a_place_to_listen_that_is_taken_or_open_to_others_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let data = data.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = stepseal(&["serve", "--data", data, "--listen", &address]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&address) && ran.stderr.contains("--listen"),
        "{}",
        ran.stderr
    );
    let ran = stepseal(&["serve", "--data", data, "--listen", "0.0.0.0:0"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--allow-remote"), "{}", ran.stderr);
}

#[test]
fn a_host_that_was_killed_is_not_taken_for_one_that_serves() {
    let dir = Host::empty().kill();
    let data = dir.path();
    let data = data.to_str().unwrap();
    let ran = stepseal(&["--data", data, "task", "list"]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    let doctor = stepseal(&["--data", data, "doctor"]);
    assert!(doctor.stdout.contains("is gone"), "{}", doctor.stdout);
}
