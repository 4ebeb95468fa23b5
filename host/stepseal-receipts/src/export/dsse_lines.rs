//! DSSE JSON lines: the envelopes of a receipt's records, one a line, in the log's order. What reads in-toto attestations reads
//! this. The log is not in it, nor is anything that shows a record which was left out.

use crate::receipt::Receipt;

/// Most bytes of a first line that [`begin`] looks at: more than an envelope of the format takes.
const LINE_BYTES_MAX: usize = 128 * 1024;

/// The lines.
pub fn write(receipt: &Receipt) -> Vec<u8> {
    let mut lines = Vec::new();
    for entry in &receipt.entries {
        lines.extend_from_slice(&entry.envelope.to_json());
        lines.push(b'\n');
    }
    lines
}

/// Whether a file begins with an envelope.
pub(super) fn begin(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next();
    line.is_some_and(|line| line.len() <= LINE_BYTES_MAX && super::envelope(line).is_ok())
}
