//! What a component says of itself.

use std::collections::BTreeSet;

use serde_json::Value;
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;

use crate::bindings::{policy, step};
use crate::text::cut;

/// What an upload showed.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Of the exact bytes.
    pub digest: Digest,
    /// The interfaces it imports, sorted, such as `wasi:keyvalue/store@0.2.0-draft`.
    pub imports: Vec<String>,
    /// What it is.
    pub descriptor: Descriptor,
}

/// What kind of component it is, and what it says of itself.
#[derive(Clone, Debug)]
pub enum Descriptor {
    /// It runs steps.
    Plugin(PluginDescriptor),
    /// It judges steps.
    Policy(PolicyDescriptor),
}

/// A plugin.
#[derive(Clone, Debug)]
pub struct PluginDescriptor {
    /// `[a-z][a-z0-9-]*`, at most 64 bytes.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line.
    pub summary: String,
    /// 1 to 256, with unique names.
    pub steps: Vec<StepType>,
}

/// One kind of step a plugin runs.
#[derive(Clone, Debug)]
pub struct StepType {
    /// `[a-z][a-z0-9-]*`, at most 64 bytes.
    pub name: String,
    /// One line.
    pub summary: String,
    /// JSON Schema of the input: a JSON object (the keywords are not checked here).
    pub input_schema: Value,
    /// JSON Schema of the output: a JSON object.
    pub output_schema: Value,
}

/// A policy.
#[derive(Clone, Debug)]
pub struct PolicyDescriptor {
    /// `[a-z][a-z0-9-]*`, at most 64 bytes.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// One line.
    pub summary: String,
    /// JSON Schema of the operator's settings: a JSON object.
    pub settings_schema: Value,
    /// When it wants to be asked: at least one, no doubles.
    pub stages: Vec<Stage>,
}

/// When a policy is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Once, when a task is submitted.
    Plan,
    /// Before every attempt of a step.
    BeforeStep,
    /// After a step ran and before its output is used.
    AfterStep,
}

impl Stage {
    /// Its name in the contract and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::BeforeStep => "before-step",
            Self::AfterStep => "after-step",
        }
    }
}

/// What of the world an operator can grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Key-value buckets.
    KeyValue,
    /// Values of the configuration. They touch nothing: see [`Access::config`](crate::Access::config).
    Config,
    /// Requests to the network.
    Http,
}

impl Capability {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::KeyValue, Self::Config, Self::Http];

    /// Whether it is what an import asks for.
    pub fn is_asked_by(self, import: &str) -> bool {
        import.starts_with(match self {
            Self::KeyValue => "wasi:keyvalue/",
            Self::Config => "wasi:config/",
            // The types alone send nothing.
            Self::Http => "wasi:http/outgoing-handler@",
        })
    }

    /// Whether it lets a step touch the world.
    pub fn is_effect(self) -> bool {
        match self {
            Self::KeyValue | Self::Http => true,
            Self::Config => false,
        }
    }
}

/// Whether a component with these imports has no way to touch the world, where this is granted. The WASI base touches
/// nothing: its clocks are virtual, its randomness is seeded, it has no files, and its sockets refuse.
pub fn is_pure(imports: &[String], granted: &[Capability]) -> bool {
    !granted.iter().any(|capability| {
        capability.is_effect() && imports.iter().any(|name| capability.is_asked_by(name))
    })
}

/// Bytes of a name, and of a version.
const NAME_BYTES_MAX: usize = 64;

/// Bytes of a summary.
const SUMMARY_BYTES_MAX: usize = 1_024;

/// Bytes of one JSON Schema.
const SCHEMA_BYTES_MAX: usize = 256 << 10;

/// Depth of one JSON Schema.
const SCHEMA_DEPTH_MAX: usize = 64;

/// Step types of one plugin.
const STEP_TYPES_MAX: usize = 256;

/// Bytes of a whole descriptor: it is stored with the component and shown to clients.
const DESCRIPTOR_BYTES_MAX: usize = 1 << 20;

/// Checks what a plugin says of itself. The text of the error names the member.
pub(crate) fn plugin(said: step::Descriptor) -> Result<PluginDescriptor, String> {
    check_identity(&said.name, &said.version, &said.summary)?;
    if said.steps.is_empty() || said.steps.len() > STEP_TYPES_MAX {
        return Err(format!(
            "`steps` has {} entries; 1 to {STEP_TYPES_MAX} are allowed",
            said.steps.len()
        ));
    }
    let bytes: usize = said
        .steps
        .iter()
        .map(|step| step.input_schema.len() + step.output_schema.len())
        .sum();
    check_size(bytes)?;
    let mut names = BTreeSet::new();
    let mut steps = Vec::with_capacity(said.steps.len());
    for (index, step) in said.steps.into_iter().enumerate() {
        let member = |name: &str| format!("steps[{index}].{name}");
        check_name(&member("name"), &step.name)?;
        check_summary(&member("summary"), &step.summary)?;
        if !names.insert(step.name.clone()) {
            return Err(format!(
                "`{}` is `{}`, like that of another step type",
                member("name"),
                step.name
            ));
        }
        steps.push(StepType {
            input_schema: schema(&member("input-schema"), &step.input_schema)?,
            output_schema: schema(&member("output-schema"), &step.output_schema)?,
            name: step.name,
            summary: step.summary,
        });
    }
    Ok(PluginDescriptor {
        name: said.name,
        version: said.version,
        summary: said.summary,
        steps,
    })
}

/// Checks what a policy says of itself.
pub(crate) fn policy(said: policy::Descriptor) -> Result<PolicyDescriptor, String> {
    check_identity(&said.name, &said.version, &said.summary)?;
    let settings_schema = schema("settings-schema", &said.settings_schema)?;
    let mut stages = Vec::new();
    // A hostile list may be long; after three stages the next one is a double.
    for stage in said.stages {
        let stage = match stage {
            policy::Stage::Plan => Stage::Plan,
            policy::Stage::BeforeStep => Stage::BeforeStep,
            policy::Stage::AfterStep => Stage::AfterStep,
        };
        if stages.contains(&stage) {
            return Err(format!("`stages` names `{}` twice", stage.as_str()));
        }
        stages.push(stage);
    }
    if stages.is_empty() {
        return Err("`stages` is empty; a policy wants to be asked at least at one".to_owned());
    }
    Ok(PolicyDescriptor {
        name: said.name,
        version: said.version,
        summary: said.summary,
        settings_schema,
        stages,
    })
}

fn check_identity(name: &str, version: &str, summary: &str) -> Result<(), String> {
    check_name("name", name)?;
    if version.len() > NAME_BYTES_MAX || !is_semantic_version(version) {
        let version = cut(version, NAME_BYTES_MAX);
        return Err(format!(
            "`version` is `{version}`; a semantic version such as `1.2.0` is wanted"
        ));
    }
    check_summary("summary", summary)
}

fn check_name(member: &str, name: &str) -> Result<(), String> {
    if is_name(name) {
        return Ok(());
    }
    let name = cut(name, NAME_BYTES_MAX);
    Err(format!(
        "`{member}` is `{name}`; `[a-z][a-z0-9-]*` with at most {NAME_BYTES_MAX} characters is wanted"
    ))
}

/// Whether a text is a name as the contract defines them: `[a-z][a-z0-9-]*`, at most 64 bytes.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
}

fn check_summary(member: &str, summary: &str) -> Result<(), String> {
    if summary.len() > SUMMARY_BYTES_MAX {
        return Err(format!(
            "`{member}` has more than {SUMMARY_BYTES_MAX} bytes"
        ));
    }
    if summary.chars().any(char::is_control) {
        return Err(format!(
            "`{member}` has a control character; it is one line for people"
        ));
    }
    Ok(())
}

fn check_size(bytes: usize) -> Result<(), String> {
    if bytes > DESCRIPTOR_BYTES_MAX {
        return Err(format!(
            "its schemas have {bytes} bytes together; {DESCRIPTOR_BYTES_MAX} are allowed"
        ));
    }
    Ok(())
}

fn schema(member: &str, text: &str) -> Result<Value, String> {
    let limits = json::Limits {
        bytes_max: SCHEMA_BYTES_MAX,
        depth_max: SCHEMA_DEPTH_MAX,
    };
    let schema = json::parse(text.as_bytes(), &limits)
        .map_err(|error| format!("`{member}` is not JSON: {error}"))?;
    if !schema.is_object() {
        return Err(format!("`{member}` is not a JSON object"));
    }
    Ok(schema)
}

/// Semantic Versioning 2.0.0, clauses 2, 9 and 10.
fn is_semantic_version(version: &str) -> bool {
    let (version, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (core, pre) = match version.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (version, None),
    };
    let number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
    };
    let identifier = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let pre_identifier = |text: &str| {
        identifier(text) && (number(text) || !text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(pre_identifier))
        && build.is_none_or(|build| build.split('.').all(identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor() -> step::Descriptor {
        let step = |name: &str| crate::bindings::step::exports::stepseal::plugin::step::StepType {
            name: name.into(),
            summary: String::new(),
            input_schema: "{}".into(),
            output_schema: "{}".into(),
        };
        step::Descriptor {
            name: "ledger".into(),
            version: "1.0.0".into(),
            summary: "Books.".into(),
            steps: vec![step("transfer"), step("balance")],
        }
    }

    #[test]
    fn a_good_descriptor_is_taken_as_it_is() {
        let plugin = plugin(descriptor()).unwrap();
        assert_eq!(plugin.name, "ledger");
        assert_eq!(plugin.steps[1].name, "balance");
    }

    #[test]
    fn each_fault_is_named_with_its_member() {
        type Spoil = fn(&mut step::Descriptor);
        let faults: [(Spoil, &str); 9] = [
            (|d| d.name = "Ledger".into(), "`name`"),
            (|d| d.name = "a".repeat(65), "`name`"),
            (|d| d.version = "1".into(), "`version`"),
            (|d| d.summary = "two\nlines".into(), "`summary`"),
            (|d| d.steps.clear(), "`steps`"),
            (|d| d.steps[1].name = "transfer".into(), "`steps[1].name`"),
            (
                |d| d.steps[0].input_schema = "[]".into(),
                "`steps[0].input-schema`",
            ),
            (
                |d| d.steps[1].output_schema = "{\"a\":1,\"a\":2}".into(),
                "`steps[1].output-schema`",
            ),
            (
                |d| d.steps[1].summary = "x".repeat(2_000),
                "`steps[1].summary`",
            ),
        ];
        for (spoil, member) in faults {
            let mut descriptor = descriptor();
            spoil(&mut descriptor);
            let error = plugin(descriptor).unwrap_err();
            assert!(error.contains(member), "{error}");
        }
    }

    #[test]
    fn a_policy_names_each_stage_once() {
        let descriptor = |stages| policy::Descriptor {
            name: "limit".into(),
            version: "0.1.0".into(),
            summary: String::new(),
            settings_schema: "{}".into(),
            stages,
        };
        let good = super::policy(descriptor(vec![
            policy::Stage::BeforeStep,
            policy::Stage::Plan,
        ]))
        .unwrap();
        assert_eq!(good.stages, [Stage::BeforeStep, Stage::Plan]);
        assert!(super::policy(descriptor(vec![])).is_err());
        assert!(super::policy(descriptor(vec![policy::Stage::Plan, policy::Stage::Plan])).is_err());
    }

    #[test]
    fn versions_are_semantic() {
        for good in [
            "0.0.0",
            "1.2.3",
            "1.0.0-alpha.1",
            "1.0.0-0a",
            "1.0.0+build.007",
            "1.0.0-x-y+z",
        ] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0+",
            "v1.0.0",
            "1.0.0-a..b",
        ] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }

    #[test]
    fn only_a_granted_bucket_makes_a_component_impure() {
        let imports = [
            "wasi:keyvalue/store@0.2.0-draft".to_owned(),
            "wasi:cli/environment@0.2.0".to_owned(),
        ];
        assert!(!is_pure(&imports, &Capability::ALL));
        assert!(is_pure(&imports, &[Capability::Config]));
        assert!(is_pure(&imports[1..], &Capability::ALL));
    }
}
