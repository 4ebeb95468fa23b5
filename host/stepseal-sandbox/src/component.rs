//! Components that are ready to run, and the checks that make them so.

use std::sync::Arc;

use stepseal_receipts::digest::Digest;
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentNamedList, Lift, Lower};

use crate::bindings::{policy, step};
use crate::capability::{is_base, is_capability};
use crate::error::LoadError;
use crate::guest::Guest;
use crate::pool::{Owner, Pool, Share};
use crate::text::message;

/// What makes a component a plugin.
const STEP_EXPORT: &str = "stepseal:plugin/step@0.1.0";

/// What makes a component a policy.
const POLICY_EXPORT: &str = "stepseal:plugin/policy@0.1.0";

/// Types of the contract itself: they come along with the exports and are nothing a host could give.
const CONTRACT_TYPES: &str = "stepseal:plugin/types@0.1.0";

/// Imports of one component: they are stored and shown with it. The whole base has under thirty.
const IMPORTS_MAX: usize = 128;

/// Bytes of the name of an import.
const IMPORT_NAME_BYTES_MAX: usize = 256;

/// Names of exports that an error lists.
const NAMES_LISTED_MAX: usize = 12;

/// A plugin, ready to run. Cheap to clone.
#[derive(Clone)]
pub struct StepComponent(pub(crate) Arc<Ready<step::PluginStepPre<Guest>>>);

/// A policy, ready to judge. Cheap to clone.
#[derive(Clone)]
pub struct PolicyComponent(pub(crate) Arc<Ready<policy::PluginPolicyPre<Guest>>>);

pub(crate) struct Ready<P> {
    pub(crate) pre: P,
    /// How many calls of it run at a time.
    pub(crate) share: Share,
    digest: Digest,
    imports: Vec<String>,
}

macro_rules! accessors {
    ($component:ident) => {
        impl $component {
            /// Of the exact bytes.
            pub fn digest(&self) -> Digest {
                self.0.digest
            }

            /// The engine it was compiled for.
            pub(crate) fn engine(&self) -> &Engine {
                self.0.pre.engine()
            }

            /// The interfaces it imports, sorted.
            pub fn imports(&self) -> &[String] {
                &self.0.imports
            }
        }

        impl std::fmt::Debug for $component {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($component))
                    .field(&self.0.digest)
                    .finish()
            }
        }
    };
}
accessors!(StepComponent);
accessors!(PolicyComponent);

/// What a component is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plugin,
    Policy,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Policy => "policy",
        }
    }

    /// What a component's exports make it.
    pub(crate) fn of(component: &Component) -> Result<Self, LoadError> {
        let engine = component.engine();
        let ty = component.component_type();
        let exports = |name| ty.get_export(engine, name).is_some();
        match (exports(STEP_EXPORT), exports(POLICY_EXPORT)) {
            (true, false) => Ok(Self::Plugin),
            (false, true) => Ok(Self::Policy),
            (true, true) => Err(LoadError::Ambiguous),
            (false, false) => {
                let found = ty
                    .exports(engine)
                    .take(NAMES_LISTED_MAX)
                    .map(|(name, _)| shown(name))
                    .collect();
                Err(LoadError::NoKnownExport { found })
            }
        }
    }
}

/// A name that a stranger chose, for an error.
fn shown(name: &str) -> String {
    crate::text::cut(name, 128).to_owned()
}

/// What bytes are before they are compiled: WebAssembly, and which kind (component model, binary format, "preamble").
pub(crate) fn check_preamble(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [0, b'a', b's', b'm', ..] => Err(LoadError::NotComponent(
            "its version is not one that this host knows".to_owned(),
        )),
        _ => Err(LoadError::NotWasm),
    }
}

/// A component's imports, if a host offers all of them to its kind.
fn check_imports(component: &Component, kind: Kind) -> Result<Vec<String>, LoadError> {
    let engine = component.engine();
    let ty = component.component_type();
    let mut imports = Vec::new();
    for (name, import) in ty.imports(engine) {
        if imports.len() == IMPORTS_MAX {
            return Err(LoadError::ImportMismatch(format!(
                "it has more than {IMPORTS_MAX} imports"
            )));
        }
        let offered = is_base(name)
            || name == CONTRACT_TYPES
            || (kind == Kind::Plugin && is_capability(name));
        let harmless = name.len() <= IMPORT_NAME_BYTES_MAX && is_types_only(engine, &import.ty);
        if !offered && !harmless {
            return Err(LoadError::ForeignImport {
                name: shown(name),
                kind: kind.as_str(),
            });
        }
        if name != CONTRACT_TYPES {
            imports.push(name.to_owned());
        }
    }
    imports.sort_unstable();
    Ok(imports)
}

/// Whether an import is an interface with nothing in it but plain types: there is nothing to offer.
fn is_types_only(engine: &Engine, item: &ComponentItem) -> bool {
    let ComponentItem::ComponentInstance(instance) = item else {
        return false;
    };
    instance
        .exports(engine)
        .all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)))
}

/// Checks a function's type now: the linker would not, and the first call would fail.
fn check_function<Params, Return>(
    component: &Component,
    interface: &str,
    name: &str,
) -> Result<(), LoadError>
where
    Params: ComponentNamedList + Lower,
    Return: ComponentNamedList + Lift,
{
    let wrong = |detail: String| LoadError::WrongType {
        export: format!("{interface}#{name}"),
        detail: message(detail),
    };
    let ty = component.component_type();
    let Some(ComponentItem::ComponentInstance(instance)) = ty
        .get_export(component.engine(), interface)
        .map(|export| export.ty)
    else {
        return Err(wrong(format!("{interface} is not an instance")));
    };
    let function: ComponentFunc = match instance
        .get_export(component.engine(), name)
        .map(|export| export.ty)
    {
        Some(ComponentItem::ComponentFunc(function)) => function,
        Some(_) => return Err(wrong("it is not a function".to_owned())),
        None => return Err(wrong("it is missing".to_owned())),
    };
    function
        .typecheck::<Params, Return>(&ty.instance_type())
        .map_err(|error| wrong(format!("{error:#}")))
}

/// Checks a plugin and links it.
pub(crate) fn link_step(
    pool: &Pool,
    component: &Component,
    digest: Digest,
) -> Result<StepComponent, LoadError> {
    let imports = check_imports(component, Kind::Plugin)?;
    check_function::<(), (step::Descriptor,)>(component, STEP_EXPORT, "describe")?;
    check_function::<(&step::Invocation,), (Result<String, step::Failure>,)>(
        component,
        STEP_EXPORT,
        "run",
    )?;
    let pre = pool
        .linker
        .instantiate_pre(component)
        .map_err(|error| mismatch(&error))?;
    let pre = step::PluginStepPre::new(pre).map_err(|error| mismatch(&error))?;
    Ok(StepComponent(Arc::new(Ready {
        pre,
        share: pool.share(Owner::Component(digest)),
        digest,
        imports,
    })))
}

/// Checks a policy and links it.
pub(crate) fn link_policy(
    pool: &Pool,
    component: &Component,
    digest: Digest,
) -> Result<PolicyComponent, LoadError> {
    let imports = check_imports(component, Kind::Policy)?;
    check_function::<(), (policy::Descriptor,)>(component, POLICY_EXPORT, "describe")?;
    check_function::<(policy::Stage, &str, &str), (Result<policy::Verdict, String>,)>(
        component,
        POLICY_EXPORT,
        "evaluate",
    )?;
    let pre = pool
        .linker
        .instantiate_pre(component)
        .map_err(|error| mismatch(&error))?;
    let pre = policy::PluginPolicyPre::new(pre).map_err(|error| mismatch(&error))?;
    Ok(PolicyComponent(Arc::new(Ready {
        pre,
        share: pool.share(Owner::Component(digest)),
        digest,
        imports,
    })))
}

fn mismatch(error: &wasmtime::Error) -> LoadError {
    LoadError::ImportMismatch(message(format!("{error:#}")))
}
