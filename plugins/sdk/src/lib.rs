//! Write Stepseal step handlers and policies in Rust, as plain types and functions.
//!
//! A plugin is a crate with `crate-type = ["cdylib"]`, types that derive [`Deserialize`], [`Serialize`] and
//! [`JsonSchema`], one function for each step type, and [`plugin!`]:
//!
//! ```ignore
//! use stepseal_plugin::{Call, Failure, JsonSchema, plugin};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Add { a: i32, b: i32 }
//! #[derive(Serialize, JsonSchema)]
//! struct Sum { sum: i32 }
//!
//! fn add(_: &Call, input: Add) -> Result<Sum, Failure> {
//!     let sum = input.a.checked_add(input.b).ok_or_else(|| Failure::failed("the sum is too large"))?;
//!     Ok(Sum { sum })
//! }
//!
//! plugin! {
//!     /// Sums.
//!     name: "sums",
//!     steps: {
//!         /// Adds two numbers.
//!         "add" => add,
//!     }
//! }
//! ```
//!
//! A policy is the same with [`policy!`]. Handlers are ordinary functions, so `cargo test` on the host tests them;
//! there a [`kv::Bucket`] is in memory. A component imports only what its code uses: [`log`] brings
//! `wasi:logging`, [`kv`] brings `wasi:keyvalue`, and without them there is no import at all. The contract itself is
//! in `wit/`.
//!
//! The feature `heap`, on by default, sets the guest's allocator; a guest with a `#[global_allocator]` of its own leaves it out.
//!
//! Deliberately absent: clocks and randomness (take `wasi:clocks` and `wasi:random` yourself where a step needs
//! them, both are recorded), and anything asynchronous.

// The bindings name this crate by its own name, since plugins expand a part of them.
extern crate self as stepseal_plugin;

#[doc(hidden)]
pub mod bindings;
#[cfg(all(feature = "heap", target_arch = "wasm32"))]
mod heap;
pub mod kv;
pub mod log;
pub mod money;
#[cfg(feature = "panic-log")]
mod panic;
pub mod policy;
mod schema;
pub mod step;

pub use policy::Policy;
pub use schemars::{self, JsonSchema};
pub use serde::{Deserialize, Serialize};
pub use serde_json;
pub use step::{Call, Failure, Plugin};

/// Makes the crate a plugin: see the crate's documentation for an example.
///
/// The doc comments become the summaries that people see. The version is the crate's. A handler is a
/// `fn(&Call, Input) -> Result<Output, Failure>`; its types give the JSON Schemas. Defines `PLUGIN`, a [`Plugin`],
/// for tests that go through JSON.
#[macro_export]
macro_rules! plugin {
    (
        $(#[doc = $summary:expr])+
        name: $name:literal,
        steps: { $( $(#[doc = $step_summary:expr])+ $step:literal => $handler:path ),+ $(,)? } $(,)?
    ) => {
        /// What this plugin is and can do.
        pub static PLUGIN: $crate::Plugin = $crate::Plugin {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            summary: concat!($($summary),+),
            steps: &[$(
                $crate::step::StepType {
                    name: $step,
                    summary: concat!($($step_summary),+),
                    input_schema: || $crate::step::input_schema($handler),
                    output_schema: || $crate::step::output_schema($handler),
                    run: |call, input| $crate::step::run($handler, call, input),
                }
            ),+],
        };

        const _: () = {
            use $crate::bindings::step::exports::stepseal::plugin::step as contract;
            struct Component;
            impl contract::Guest for Component {
                fn describe() -> contract::Descriptor {
                    PLUGIN.describe()
                }
                fn run(call: contract::Invocation) -> Result<String, contract::Failure> {
                    PLUGIN.invoke(call)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::step::export_step!(Component with_types_in $crate::bindings::step);
        };
    };
}

/// Makes the crate a policy.
///
/// ```ignore
/// policy! {
///     /// Nothing runs on a Sunday.
///     name: "sunday",
///     stages: [BeforeStep],
///     judge: judge, // fn(Stage, &Settings, &Input) -> Result<Verdict, String>
/// }
/// ```
///
/// The doc comment becomes the summary, the settings' type the JSON Schema of the settings. Defines `POLICY`, a
/// [`Policy`], for tests that go through JSON.
#[macro_export]
macro_rules! policy {
    (
        $(#[doc = $summary:expr])+
        name: $name:literal,
        stages: [$($stage:ident),+ $(,)?],
        judge: $judge:path $(,)?
    ) => {
        /// What this policy is and when it wants to be asked.
        pub static POLICY: $crate::Policy = $crate::Policy {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            summary: concat!($($summary),+),
            stages: &[$($crate::policy::Stage::$stage),+],
            settings_schema: || $crate::policy::settings_schema($judge),
            judge: |stage, settings, input| $crate::policy::judge($judge, stage, settings, input),
        };

        const _: () = {
            use $crate::bindings::policy::exports::stepseal::plugin::policy as contract;
            struct Component;
            impl contract::Guest for Component {
                fn describe() -> contract::Descriptor {
                    POLICY.describe()
                }
                fn evaluate(stage: contract::Stage, settings: String, input: String) -> Result<contract::Verdict, String> {
                    POLICY.evaluate(stage, &settings, &input)
                }
            }
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::policy::export_policy!(Component with_types_in $crate::bindings::policy);
        };
    };
}
