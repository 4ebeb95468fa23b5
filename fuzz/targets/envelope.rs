//! An envelope survives being written, and a record that is read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stepseal_receipts::dsse::Envelope;
use stepseal_receipts::record::Record;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) {
        let again = serde_json::from_slice(&envelope.to_json());
        assert_eq!(again.ok(), Some(envelope.clone()));
        read(&envelope.payload);
    }
    read(bytes);
});

fn read(statement: &[u8]) {
    if let Ok(record) = Record::parse(statement) {
        assert_eq!(record.to_statement(), statement);
    }
}
