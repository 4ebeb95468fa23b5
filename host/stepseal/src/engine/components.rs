//! Uploaded components: checked, described, kept by digest, found by name.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lru::LruCache;
use serde_json::{Value, json};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::record::{ComponentRef, Kind};
use stepseal_sandbox::{Compilation, Descriptor, LoadError, Stage};

use super::schema::Schema;
use super::{Actor, Engine, EngineError};
use crate::store::{AddComponent, ComponentKind, ComponentRow};

/// Described components kept in memory; the rest is read from the database again when it is needed.
const REGISTRY_ENTRIES: NonZeroUsize = NonZeroUsize::new(512).expect("not zero");

impl Engine {
    /// Checks, describes and keeps a component. False where the same bytes were there already.
    pub async fn add_component(
        &self,
        bytes: Vec<u8>,
        actor: Actor,
    ) -> Result<(ComponentRow, bool), EngineError> {
        let digest = Digest::of(&bytes);
        let bytes: Arc<[u8]> = bytes.into();
        if let Some(known) = self.0.store.component(&digest).await? {
            // A file that was lost or damaged is mended by uploading it again.
            if self.component_content(&digest).await.is_err() {
                self.0.content.put(digest, bytes).await?;
            }
            return Ok((known, false));
        }
        let inspection = self.0.sandbox.inspect(Arc::clone(&bytes)).await?;
        let (kind, name, version, descriptor) = described(&inspection.descriptor)?;
        let row = ComponentRow {
            digest,
            kind,
            name,
            version,
            descriptor: descriptor.to_string(),
            imports: inspection.imports,
            size: bytes.len() as u64,
            added: self.0.clock.now(),
        };
        // The bytes first: a row without bytes would be a promise nobody can keep, bytes without a row are only litter.
        self.0.content.put(digest, bytes).await?;
        let act = self.act(Kind::ComponentAdded, actor, |record| {
            record.component = Some(reference(&row));
        });
        match self.0.store.add_component(&row, act.await?).await? {
            AddComponent::Added => {
                self.0.registry.forget(kind, &row.name);
                self.rules_changed();
                Ok((row, true))
            }
            AddComponent::Known(known) => Ok((known, false)),
            AddComponent::NameTaken(by) => {
                self.0.content.remove(digest).await?;
                Err(EngineError::Conflict {
                    code: "name-taken",
                    message: format!(
                        "{} {} {} is {by} already, and a version never changes: raise the version and build again",
                        kind.as_str(),
                        row.name,
                        row.version
                    ),
                })
            }
        }
    }

    /// What is compiled now, and what waits for it.
    pub fn compilations(&self) -> Vec<Compilation> {
        self.0.sandbox.compilations()
    }

    /// Every component, by name, then time of upload.
    pub async fn components(
        &self,
        kind: Option<ComponentKind>,
    ) -> Result<Vec<ComponentRow>, EngineError> {
        let mut rows = self.0.store.components().await?;
        rows.retain(|row| kind.is_none_or(|kind| row.kind == kind));
        Ok(rows)
    }

    /// One component.
    pub async fn component(&self, digest: &Digest) -> Result<ComponentRow, EngineError> {
        let found = self.0.store.component(digest).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "component",
            id: digest.to_string(),
        })
    }

    /// The bytes of a component.
    pub async fn component_content(&self, digest: &Digest) -> Result<Vec<u8>, EngineError> {
        self.component(digest).await?;
        let content = self.0.content.clone();
        let digest = *digest;
        tokio::task::spawn_blocking(move || content.get(digest))
            .await
            .map_err(|error| EngineError::Internal(error.to_string()))?
            .map_err(|error| EngineError::from_content(&error))
    }

    /// The plugin with this name and version, or the newest where `version` is absent.
    pub(crate) async fn plugin_named(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<Plugin>>, EngineError> {
        let key = (name.to_owned(), version.map(str::to_owned));
        if let Some(plugin) = self.0.registry.named(&key) {
            return Ok(Some(plugin));
        }
        let uploads = self.0.registry.uploads.load(Ordering::SeqCst);
        let row = self
            .0
            .store
            .component_named(ComponentKind::Plugin, name, version)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let plugin = Arc::new(Plugin::from_row(row)?);
        // An upload since then may have made another one the newest.
        let still = self.0.registry.uploads.load(Ordering::SeqCst) == uploads;
        self.0.registry.remember(still.then_some(key), &plugin);
        Ok(Some(plugin))
    }

    /// The plugin with this digest.
    pub(crate) async fn plugin(&self, digest: &Digest) -> Result<Option<Arc<Plugin>>, EngineError> {
        if let Some(plugin) = self.0.registry.by_digest(digest) {
            return Ok(Some(plugin));
        }
        let row = self.0.store.component(digest).await?;
        let Some(row) = row.filter(|row| row.kind == ComponentKind::Plugin) else {
            return Ok(None);
        };
        let plugin = Arc::new(Plugin::from_row(row)?);
        self.0.registry.remember(None, &plugin);
        Ok(Some(plugin))
    }
}

/// A component as records name it.
pub(super) fn reference(row: &ComponentRow) -> ComponentRef {
    ComponentRef {
        name: row.name.clone(),
        version: row.version.clone(),
        digest: row.digest,
    }
}

/// Kind, name, version and descriptor as JSON; schemas must compile.
fn described(descriptor: &Descriptor) -> Result<(ComponentKind, String, String, Value), LoadError> {
    let bad = |what: &str, error: String| LoadError::BadDescriptor(format!("{what}: {error}"));
    match descriptor {
        Descriptor::Plugin(plugin) => {
            for step in &plugin.steps {
                for (which, schema) in [
                    ("input", &step.input_schema),
                    ("output", &step.output_schema),
                ] {
                    Schema::compile(schema).map_err(|error| {
                        bad(
                            &format!("the {which}-schema of step type {:?}", step.name),
                            error,
                        )
                    })?;
                }
            }
            let steps: Vec<Value> = plugin
                .steps
                .iter()
                .map(|step| {
                    json!({"name": step.name, "summary": step.summary,
                        "input_schema": step.input_schema, "output_schema": step.output_schema})
                })
                .collect();
            let value = json!({"name": plugin.name, "version": plugin.version, "summary": plugin.summary, "steps": steps});
            Ok((
                ComponentKind::Plugin,
                plugin.name.clone(),
                plugin.version.clone(),
                value,
            ))
        }
        Descriptor::Policy(policy) => {
            Schema::compile(&policy.settings_schema)
                .map_err(|error| bad("the settings-schema", error))?;
            let stages: Vec<&str> = policy.stages.iter().map(|stage| stage.as_str()).collect();
            let value = json!({"name": policy.name, "version": policy.version, "summary": policy.summary,
                "settings_schema": policy.settings_schema, "stages": stages});
            Ok((
                ComponentKind::Policy,
                policy.name.clone(),
                policy.version.clone(),
                value,
            ))
        }
    }
}

/// A plugin ready to be planned with.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) row: ComponentRow,
    pub(crate) steps: BTreeMap<String, PluginStep>,
}

/// A step type with its schemas compiled.
#[derive(Debug)]
pub(crate) struct PluginStep {
    pub(crate) summary: String,
    pub(crate) input: Schema,
    pub(crate) output: Schema,
}

impl Plugin {
    fn from_row(row: ComponentRow) -> Result<Self, EngineError> {
        let corrupt =
            |why: String| EngineError::Internal(format!("descriptor of {}: {why}", row.digest));
        let descriptor: Value =
            serde_json::from_str(&row.descriptor).map_err(|error| corrupt(error.to_string()))?;
        let steps = descriptor["steps"]
            .as_array()
            .ok_or_else(|| corrupt("no steps".to_owned()))?;
        let mut compiled = BTreeMap::new();
        for step in steps {
            let text = |member: &str| step[member].as_str().unwrap_or_default().to_owned();
            compiled.insert(
                text("name"),
                PluginStep {
                    summary: text("summary"),
                    input: Schema::compile(&step["input_schema"]).map_err(corrupt)?,
                    output: Schema::compile(&step["output_schema"]).map_err(corrupt)?,
                },
            );
        }
        Ok(Self {
            row,
            steps: compiled,
        })
    }
}

/// A policy ready to be bound.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) row: ComponentRow,
    pub(crate) settings: Schema,
    pub(crate) stages: Vec<Stage>,
}

impl Policy {
    pub(crate) fn from_row(row: ComponentRow) -> Result<Self, EngineError> {
        let corrupt =
            |why: String| EngineError::Internal(format!("descriptor of {}: {why}", row.digest));
        let descriptor: Value =
            serde_json::from_str(&row.descriptor).map_err(|error| corrupt(error.to_string()))?;
        let settings = Schema::compile(&descriptor["settings_schema"]).map_err(corrupt)?;
        let stages = [Stage::Plan, Stage::BeforeStep, Stage::AfterStep]
            .into_iter()
            .filter(|stage| {
                descriptor["stages"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|s| s == stage.as_str()))
            })
            .collect();
        Ok(Self {
            row,
            settings,
            stages,
        })
    }
}

type NameKey = (String, Option<String>);

/// Plugins described lately, by digest and by name.
pub(crate) struct Registry {
    by_digest: Mutex<LruCache<Digest, Arc<Plugin>>>,
    by_name: Mutex<LruCache<NameKey, Arc<Plugin>>>,
    /// How many plugins were uploaded since the start.
    uploads: AtomicU64,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            by_digest: Mutex::new(LruCache::new(REGISTRY_ENTRIES)),
            by_name: Mutex::new(LruCache::new(REGISTRY_ENTRIES)),
            uploads: AtomicU64::new(0),
        }
    }

    fn by_digest(&self, digest: &Digest) -> Option<Arc<Plugin>> {
        super::lock(&self.by_digest).get(digest).cloned()
    }

    fn named(&self, key: &NameKey) -> Option<Arc<Plugin>> {
        super::lock(&self.by_name).get(key).cloned()
    }

    fn remember(&self, name: Option<NameKey>, plugin: &Arc<Plugin>) {
        super::lock(&self.by_digest).put(plugin.row.digest, Arc::clone(plugin));
        if let Some(name) = name {
            super::lock(&self.by_name).put(name, Arc::clone(plugin));
        }
    }

    /// Another host may have been given new versions.
    pub(crate) fn forget_names(&self) {
        self.uploads.fetch_add(1, Ordering::SeqCst);
        super::lock(&self.by_name).clear();
    }

    /// A new version of `name` may be the newest now.
    fn forget(&self, kind: ComponentKind, name: &str) {
        if kind == ComponentKind::Plugin {
            self.uploads.fetch_add(1, Ordering::SeqCst);
            super::lock(&self.by_name).pop(&(name.to_owned(), None));
        }
    }
}

/// What a step type says of itself, for an approver.
pub(crate) fn summary(plugin: &Plugin, step_type: &str) -> String {
    plugin
        .steps
        .get(step_type)
        .map(|step| step.summary.clone())
        .unwrap_or_default()
}
