//! `stepseal plugin check`: what an upload would find, without a host.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use stepseal_sandbox::{Capability, Descriptor, Inspection, is_pure};

use super::super::output::{bytes, one_line, table};
use super::super::runtime::{self, block_on};
use super::super::{Answer, Context, files};

/// What `plugin check` is given.
#[derive(Args, Debug)]
pub(in crate::cli) struct Check {
    /// The component; `-` reads stdin.
    file: PathBuf,
}

impl Check {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<Answer> {
        let wasm = files::read(&self.file, "the component", files::COMPONENT_BYTES_MAX)?;
        let size = wasm.len() as u64;
        let progress = context
            .output
            .progress("compiling and asking the component what it is");
        let found = block_on(async {
            let sandbox = runtime::sandbox(None)?;
            Ok(sandbox.inspect(wasm.into()).await)
        });
        progress.finish_and_clear();
        match found? {
            Ok(inspection) => {
                let report = report(&inspection, size);
                context.output.result(&report, || text(&inspection, size))?;
                Ok(Answer::Yes)
            }
            Err(refusal) => {
                let report = json!({ "accepted": false, "reason": refusal.to_string() });
                context.output.result(&report, || {
                    format!("a host would refuse {}:\n  {refusal}", self.file.display())
                })?;
                Ok(Answer::No)
            }
        }
    }
}

fn report(inspection: &Inspection, size: u64) -> Value {
    let mut report = json!({
        "accepted": true,
        "digest": inspection.digest,
        "size": size,
        "imports": inspection.imports,
        "pure_whatever_is_granted": is_pure(&inspection.imports, &Capability::ALL),
    });
    let descriptor = match &inspection.descriptor {
        Descriptor::Plugin(plugin) => {
            let steps = plugin.steps.iter().map(|step| {
                json!({
                    "name": step.name,
                    "summary": step.summary,
                    "input_schema": step.input_schema,
                    "output_schema": step.output_schema,
                })
            });
            json!({
                "kind": "plugin",
                "name": plugin.name,
                "version": plugin.version,
                "summary": plugin.summary,
                "steps": steps.collect::<Vec<_>>(),
            })
        }
        Descriptor::Policy(policy) => {
            let stages = policy.stages.iter().map(|stage| stage.as_str());
            json!({
                "kind": "policy",
                "name": policy.name,
                "version": policy.version,
                "summary": policy.summary,
                "settings_schema": policy.settings_schema,
                "stages": stages.collect::<Vec<_>>(),
            })
        }
    };
    if let (Value::Object(report), Value::Object(descriptor)) = (&mut report, descriptor) {
        report.extend(descriptor);
    }
    report
}

fn text(inspection: &Inspection, size: u64) -> String {
    let (kind, name, version, summary) = match &inspection.descriptor {
        Descriptor::Plugin(plugin) => ("plugin", &plugin.name, &plugin.version, &plugin.summary),
        Descriptor::Policy(policy) => ("policy", &policy.name, &policy.version, &policy.summary),
    };
    let mut lines = vec![
        format!(
            "{kind} {} {}: {}",
            one_line(name),
            one_line(version),
            one_line(summary)
        ),
        format!("  {}, {}", inspection.digest, bytes(size)),
    ];
    match inspection.imports.as_slice() {
        [] => lines.push("  imports nothing".to_owned()),
        imports => lines.push(format!("  imports {}", one_line(&imports.join(", ")))),
    }
    match &inspection.descriptor {
        Descriptor::Plugin(plugin) => {
            lines.push(if is_pure(&inspection.imports, &Capability::ALL) {
                "  its steps are pure whatever is granted: anyone can re-run them".to_owned()
            } else {
                "  its steps are pure until a bucket or a destination is granted; from then on they wait for a person unless a policy allows them".to_owned()
            });
            let rows = plugin.steps.iter().map(|step| {
                [
                    step.name.clone(),
                    members(&step.input_schema),
                    members(&step.output_schema),
                    step.summary.clone(),
                ]
            });
            lines.push(table(["step", "input", "output", "summary"], rows));
        }
        Descriptor::Policy(policy) => {
            let stages: Vec<&str> = policy.stages.iter().map(|stage| stage.as_str()).collect();
            lines.push(format!("  asked at {}", stages.join(", ")));
            lines.push(format!(
                "  settings {}",
                one_line(&policy.settings_schema.to_string())
            ));
        }
    }
    lines.join("\n")
}

/// The members a schema names, those that may be absent with a question mark.
fn members(schema: &Value) -> String {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(properties) = schema["properties"].as_object() else {
        return "any JSON".to_owned();
    };
    let names = properties.keys().map(|name| {
        if required.contains(&name.as_str()) {
            name.clone()
        } else {
            format!("{name}?")
        }
    });
    names.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_summed_up_by_its_members() {
        let schema = json!({ "properties": { "a": {}, "b": {} }, "required": ["a"] });
        assert_eq!(members(&schema), "a b?");
        assert_eq!(members(&json!({})), "any JSON");
    }
}
