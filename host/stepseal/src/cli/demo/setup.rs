//! Uploads, grants, and the policy.

use std::path::Path;

use anyhow::ensure;
use serde_json::json;

use super::super::files;
use super::super::output::{bytes, one_line, short};
use super::story::Story;
use super::tasks::Teller;
use crate::api::wire;

/// The components, and what each is.
const COMPONENTS: [(&str, wire::ComponentKind); 3] = [
    ("ledger", wire::ComponentKind::Plugin),
    ("jq", wire::ComponentKind::Plugin),
    ("spending-limit", wire::ComponentKind::Policy),
];

pub(super) fn tell(teller: &Teller, dir: &Path, story: &mut Story) -> anyhow::Result<()> {
    let client = teller.client();
    story.line(&format!(
        "A host starts on an empty data directory: {} (SQLite, fresh keys and token, mode 0600).",
        client.url()
    ))?;
    let mut policy = None;
    for (name, kind) in COMPONENTS {
        let component = upload(teller, &dir.join(format!("{name}.wasm")), story)?;
        ensure!(
            component.name == name && component.kind == kind,
            "{name}.wasm is {} {}",
            component.name,
            component.version
        );
        if component.kind == wire::ComponentKind::Policy {
            policy = Some(component.digest);
        }
    }
    let ledger = json!({ "buckets": ["ledger"] });
    client.put("/v1/plugins/ledger/grants", &ledger)?;
    // The dependency tree of a workspace is larger than what a step may read by default.
    let jq = json!({ "limits": {
        "fuel": 20_000_000_000_u64, "memory_bytes": 512 << 20, "wall_ms": 60_000,
        "input_bytes": 8 << 20, "output_bytes": 1 << 20,
    }});
    client.put("/v1/plugins/jq/grants", &jq)?;
    story.line(
        "  granted   ledger its bucket; jq longer inputs and more fuel; neither anything else",
    )?;
    let binding = json!({
        "component": policy,
        "settings": {
            "limits": { "USD": { "approval_above": "100.00", "deny_above": "1000.00" } },
            "spends_nothing": ["ledger/open-account", "ledger/balance"],
        },
        "scope": { "plugin": "ledger" },
        "mode": "enforce",
    });
    client.post("/v1/policies", &binding)?;
    story.line("  bound     spending-limit to ledger: over 100.00 USD a person is asked, over 1000.00 USD it is denied")
}

fn upload(teller: &Teller, path: &Path, story: &mut Story) -> anyhow::Result<wire::Component> {
    let wasm = files::read(path, "the component", files::COMPONENT_BYTES_MAX)?;
    let client = teller.client();
    let (is_new, answer) = {
        let _busy = story.busy("the host compiles and checks a component");
        client.upload(&wasm)?
    };
    ensure!(
        is_new,
        "{} was there before in an empty host",
        path.display()
    );
    let (again, _) = client.upload(&wasm)?;
    ensure!(!again, "the same bytes became a second component");
    let component: wire::Component = client.decode(&answer)?;
    let kind = component.kind;
    let imports = match component.imports.as_slice() {
        [] if kind == wire::ComponentKind::Policy => {
            "imports nothing: it judges, it touches nothing".to_owned()
        }
        [] => "imports nothing: its steps are pure".to_owned(),
        imports => {
            let interfaces = imports
                .iter()
                .map(|name| name.split('@').next().unwrap_or(name));
            format!(
                "imports {}",
                one_line(&interfaces.collect::<Vec<_>>().join(", "))
            )
        }
    };
    story.line(&format!(
        "  uploaded  {:<14} {} {:>9}  {}  {imports}",
        component.name,
        component.version,
        bytes(component.size),
        short(&component.digest.to_string()),
    ))?;
    Ok(component)
}
