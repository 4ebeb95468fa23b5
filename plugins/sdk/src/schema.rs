//! JSON Schemas (2020-12) of Rust types.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// The schema of what can be decoded as a `T`, as JSON text.
pub(crate) fn of_input<T: JsonSchema>() -> String {
    text::<T>(SchemaSettings::draft2020_12().for_deserialize())
}

/// The schema of what a `T` is encoded as, as JSON text.
pub(crate) fn of_output<T: JsonSchema>() -> String {
    text::<T>(SchemaSettings::draft2020_12().for_serialize())
}

fn text<T: JsonSchema>(settings: SchemaSettings) -> String {
    settings
        .into_generator()
        .into_root_schema_for::<T>()
        .to_value()
        .to_string()
}
