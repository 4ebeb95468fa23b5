//! What `wit-bindgen` makes of `wit/`, once for all plugins and policies.
//!
//! A world each, so that a plugin does not have to export a policy: the sections that describe the exports are
//! expanded in the crate that calls [`plugin!`](crate::plugin) or [`policy!`](crate::policy), and an import that
//! nothing calls does not reach the component.

#![expect(
    clippy::same_length_and_capacity,
    reason = "generated: a list crosses the boundary as pointer and length"
)]

/// The imports.
pub mod host {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package stepseal:sdk;
            world host {
                import wasi:logging/logging@0.1.0-draft;
                import wasi:keyvalue/store@0.2.0-draft;
            }
        ",
        generate_all,
    });
}

/// What policies tell their panics on.
#[cfg(feature = "panic-log")]
pub mod stdio {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package stepseal:sdk;
            world stdio {
                import wasi:cli/stderr@0.2.0;
            }
        ",
        generate_all,
    });
}

/// The exports of a plugin.
pub mod step {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "stepseal:plugin/plugin-step",
        pub_export_macro: true,
        export_macro_name: "export_step",
        runtime_path: "stepseal_plugin::bindings::runtime",
    });
}

/// The exports of a policy.
pub mod policy {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "stepseal:plugin/plugin-policy",
        pub_export_macro: true,
        export_macro_name: "export_policy",
        runtime_path: "stepseal_plugin::bindings::runtime",
    });
}

pub use wit_bindgen::rt as runtime;
