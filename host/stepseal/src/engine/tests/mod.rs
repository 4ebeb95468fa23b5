//! The engine over a real database and a real sandbox, where a test reaches in between: writes that fail, and clocks that jump.

mod clock;
mod faults;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::keys::SigningKey;
use stepseal_receipts::record::Record;
use stepseal_receipts::state::TaskState;
use stepseal_receipts::time::Timestamp;
use stepseal_receipts::tree::Frontier;
use stepseal_receipts::trust::TrustFile;
use stepseal_receipts::verify::{Options, Report, verify_bytes};
use stepseal_sandbox::{Sandbox, Settings, TlsRoots};
use tempfile::TempDir;
use tokio::time::sleep;

use super::policies::{BindPolicy, Mode, Scope};
use super::tasks::TaskView;
use super::{Engine, EngineError, EngineSettings, TaskLimits};
use crate::clock::{Clock, SystemClock};
use crate::store::faulty::FaultyStore;
use crate::store::postgres::tests::server::Schema;
use crate::store::postgres::{self, Sharing};
use crate::store::{OPERATOR, Store, TaskQuery, sqlite};

/// How long a test waits for anything before it fails: long, since a machine may be busy, and reached only by a bug.
const PATIENCE: Duration = Duration::from_mins(2);
/// Time between two looks.
const GLANCE: Duration = Duration::from_millis(20);
/// The longest that a host is silent before others take its tasks.
const LEASE: Duration = Duration::from_secs(20);
/// What each account of the ledger begins with.
const OPENING: &str = "50.00";

/// The machine's clock, put forward or back.
#[derive(Default)]
struct Jumping {
    ahead_ms: AtomicI64,
}

impl Jumping {
    fn put(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().unix_ms();
        let now = now.saturating_add_signed(self.ahead_ms.load(Ordering::SeqCst));
        Timestamp::from_unix_ms(now).unwrap()
    }

    fn random(&self) -> [u8; 32] {
        SystemClock.random()
    }

    fn id(&self) -> String {
        SystemClock.id()
    }
}

/// A data directory and its database.
struct Place {
    dir: TempDir,
    /// Where that is in PostgreSQL.
    schema: Option<Schema>,
}

impl Place {
    fn on_sqlite() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            schema: None,
        }
    }

    fn on_postgres() -> Self {
        Self {
            schema: Some(Schema::new()),
            ..Self::on_sqlite()
        }
    }

    async fn store(&self) -> Arc<dyn Store> {
        match &self.schema {
            Some(schema) => {
                let url = schema.url().parse().unwrap();
                Arc::new(postgres::open(&url, Sharing::Together).await.unwrap())
            }
            None => Arc::new(
                sqlite::open(&self.dir.path().join("stepseal.db"))
                    .await
                    .unwrap(),
            ),
        }
    }

    /// A host that serves it under a name of its own.
    async fn host(&self, name: &str, limits: TaskLimits) -> Host {
        static SANDBOX: LazyLock<Sandbox> =
            LazyLock::new(|| Sandbox::new(Settings::default()).unwrap());
        let store = Arc::new(FaultyStore::over(self.store().await));
        let clock = Arc::new(Jumping::default());
        let file = |name: &str| self.dir.path().join(name);
        std::fs::create_dir_all(file("components")).unwrap();
        let engine = Engine::open(EngineSettings {
            store: Arc::clone(&store) as Arc<dyn Store>,
            sandbox: SANDBOX.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            components: file("components"),
            shared_components: None,
            record_key: SigningKey::from_seed([1; 32]),
            log_key: SigningKey::from_seed([2; 32]),
            log_key_before: None,
            head: file("head"),
            secrets: file("secrets"),
            previous: None,
            origin: "example.org/log".to_owned(),
            approval_ttl_ms: super::APPROVAL_TTL_MS,
            tasks: limits,
            keep_payloads: None,
            witnesses: None,
            http_roots: TlsRoots::default(),
        });
        let engine = engine.await.unwrap();
        engine.join(name, LEASE).await.unwrap();
        engine.start();
        Host {
            engine,
            store,
            clock,
        }
    }
}

/// An engine at work, and what it stands on.
struct Host {
    engine: Engine,
    store: Arc<FaultyStore>,
    clock: Arc<Jumping>,
}

impl Host {
    /// Uploads the guests and grants what they need; `ada` and `bob` have an account each.
    async fn set_up(&self) {
        let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
        let mut policy = None;
        for name in ["ledger", "hostile", "spending-limit"] {
            let bytes = std::fs::read(guests.join(format!("{name}.wasm")));
            let bytes = bytes.expect("`make guests test-guests` builds it");
            let (row, _) = self.engine.add_component(bytes, None).await.unwrap();
            policy = Some(row.digest);
        }
        let ledger = json!({"buckets": ["ledger"]});
        self.engine.put_grant("ledger", ledger, None).await.unwrap();
        let endless = json!({"limits": {"fuel": 1_000_000_000_000_u64, "wall_ms": 600_000}});
        let granted = self.engine.put_grant("hostile", endless, None).await;
        granted.unwrap();
        let limits = json!({"USD": {"approval_above": "10.00", "deny_above": "100.00"}});
        let harmless = ["ledger/balance", "ledger/open-account"];
        let bound = self.engine.bind_policy(
            BindPolicy {
                component: policy.unwrap(),
                settings: json!({"limits": limits, "spends_nothing": harmless}),
                scope: Scope::default(),
                mode: Mode::Enforce,
            },
            None,
        );
        bound.await.unwrap();
        for account in ["ada", "bob"] {
            let with = json!({"account": account, "currency": "USD", "opening_balance": OPENING});
            let opened = self.run(one_step("ledger/open-account", &with)).await;
            assert_eq!(opened.row.state, TaskState::Succeeded, "{opened:?}");
        }
    }

    /// Submits a task and gives it once it is over or waits for a person.
    async fn run(&self, submission: Value) -> TaskView {
        let submitted = self.engine.submit(OPERATOR, submission, None, true).await;
        let mut submitted = submitted.unwrap();
        self.engine.wait(&mut submitted, PATIENCE).await.unwrap()
    }

    /// A task once this is true of it.
    async fn until(&self, id: &str, what: &str, is_so: impl Fn(&TaskView) -> bool) -> TaskView {
        let looked = tokio::time::timeout(PATIENCE, async {
            loop {
                let view = self.engine.task(id).await.unwrap();
                if is_so(&view) {
                    return view;
                }
                sleep(GLANCE).await;
            }
        });
        let looked = looked.await;
        looked.unwrap_or_else(|_| panic!("task {id} is not {what} within {PATIENCE:?}"))
    }

    /// A task once it is over.
    async fn ended(&self, id: &str) -> TaskView {
        self.until(id, "over", |view| view.row.state.is_final())
            .await
    }

    async fn balance(&self, account: &str) -> String {
        let task = self
            .run(one_step("ledger/balance", &json!({"account": account})))
            .await;
        assert_eq!(task.row.state, TaskState::Succeeded, "{task:?}");
        let output = task.steps[0].output.as_ref().unwrap();
        output["available"].as_str().unwrap().to_owned()
    }

    /// The report on a task's receipt, which must pass.
    async fn verified(&self, id: &str) -> Report {
        let trust = TrustFile::parse(&self.engine.trust().await.unwrap()).unwrap();
        let receipt = self.engine.receipt(id, true, None).await.unwrap();
        let report = verify_bytes(&receipt, &trust, &Options::default());
        assert!(report.passed() && !report.open, "{id}: {report:#?}");
        report
    }

    /// Checks everything there is: every task ends, is whole and is verified by a stranger, and the log is one, with no record of a task missing
    /// or there twice. Gives the tasks.
    async fn checked(&self) -> Vec<TaskView> {
        let all = TaskQuery {
            limit: 1_000,
            ..TaskQuery::default()
        };
        let mut tasks = Vec::new();
        let mut expected = BTreeSet::new();
        for row in self.engine.tasks(all).await.unwrap() {
            let task = self.ended(&row.task.id).await;
            self.verified(&row.task.id).await;
            let seqs = 0..task.row.records;
            expected.extend(seqs.map(|seq| (row.task.id.clone(), seq)));
            tasks.push(task);
        }
        let mut tree = Frontier::new();
        let mut found = BTreeSet::new();
        let log = self.store.log_records(0, 100_000).await.unwrap();
        for (row, index) in log.iter().zip(0..) {
            assert_eq!(row.index, index, "the log has a gap");
            tree.append(row.leaf_hash);
            let envelope: Envelope = serde_json::from_str(row.kept.envelope().unwrap()).unwrap();
            if let Some(link) = Record::parse(&envelope.payload).unwrap().task {
                assert!(found.insert((link.id.clone(), link.seq)), "twice: {link:?}");
            }
        }
        assert_eq!(found, expected);
        let head = self.store.log_head().await.unwrap();
        assert_eq!((head.size, head.root), (log.len() as u64, tree.root()));
        tasks
    }

    /// Ends it like an operator.
    async fn stop(self) {
        self.engine.shutdown().await;
        self.store.close().await;
    }
}

/// A submission of one step.
fn one_step(uses: &str, with: &Value) -> Value {
    json!({"plan": {"steps": [{"id": "only", "uses": uses, "with": with}]}})
}

/// A dollar from `ada` to `bob`.
fn transfer() -> Value {
    let with = json!({"from": "ada", "to": "bob", "amount": "1.00", "currency": "USD"});
    one_step("ledger/transfer", &with)
}

/// The same, once a person has approved it.
fn transfer_if_approved() -> Value {
    let mut submission = transfer();
    submission["plan"]["steps"][0]["approval"] = json!("required");
    submission
}

/// What an account has that began with [`OPENING`] and got so many dollars.
fn after(dollars: i64) -> String {
    format!("{}.00", 50 + dollars)
}

/// Whether a client would ask again: nobody knows what came of it.
fn is_unknown(error: &EngineError) -> bool {
    matches!(error, EngineError::Store(_))
}
