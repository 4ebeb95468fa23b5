//! How single values are written; used for `/openapi.json` only. In Rust these are the types of the receipts crate.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// Schema of [`Digest`](stepseal_receipts::digest::Digest).
pub struct DigestText;

impl PartialSchema for DigestText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^sha256:[0-9a-f]{64}$"))
            .description(Some(
                "A SHA-256 digest: `sha256:` and 64 lowercase hexadecimal digits.",
            ))
            .examples([json!(
                "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
            )])
            .into()
    }
}

impl ToSchema for DigestText {
    fn name() -> Cow<'static, str> {
        "Digest".into()
    }
}

/// Schema of [`Timestamp`](stepseal_receipts::time::Timestamp).
pub struct TimestampText;

impl PartialSchema for TimestampText {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .pattern(Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$"))
            .description(Some(
                "A time of the host's clock (RFC 3339), UTC, with milliseconds.",
            ))
            .examples([json!("2026-01-31T12:00:00.000Z")])
            .into()
    }
}

impl ToSchema for TimestampText {
    fn name() -> Cow<'static, str> {
        "Timestamp".into()
    }
}

/// Schema of the bytes of a component.
pub struct WasmBytes;

impl PartialSchema for WasmBytes {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .content_media_type("application/wasm")
            .into()
    }
}

impl ToSchema for WasmBytes {
    fn name() -> Cow<'static, str> {
        "WasmBytes".into()
    }
}
