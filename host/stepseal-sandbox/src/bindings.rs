//! Generated from `/wit`: the exports of plugins and policies, and the imports that wasmtime-wasi does not bring.

/// Components that run steps.
pub(crate) mod step {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin-step",
        exports: { default: async },
    });
    pub(crate) use exports::stepseal::plugin::step::{Descriptor, Failure, Invocation};
}

/// Components that judge steps.
pub(crate) mod policy {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "plugin-policy",
        exports: { default: async },
    });
    pub(crate) use exports::stepseal::plugin::policy::{Descriptor, Reason, Stage, Verdict};
}

/// Capabilities beyond the WASI base.
pub(crate) mod capabilities {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package stepseal:sandbox;
            world capabilities {
                import wasi:logging/logging@0.1.0-draft;
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
                import wasi:config/store@0.2.0-rc.1;
            }
        ",
        world: "stepseal:sandbox/capabilities",
        imports: {
            "wasi:keyvalue/store.[method]bucket.get": async | trappable,
            "wasi:keyvalue/store.[method]bucket.exists": async | trappable,
            "wasi:keyvalue/store.[method]bucket.list-keys": async | trappable,
            "wasi:keyvalue/atomics.increment": async | trappable,
            "wasi:keyvalue/batch.get-many": async | trappable,
            default: trappable,
        },
        with: { "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Bucket },
    });
    pub(crate) use wasi::config::store as config;
    pub(crate) use wasi::keyvalue::{atomics, batch, store};
    pub(crate) use wasi::logging::logging;
}
