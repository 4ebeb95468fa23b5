//! The export of a whole log as JSON lines (format §7): its signed head, then its entries in their order.
//!
//! A line is read without believing any of it; [`crate::verify::LogVerifier`] judges them together.

use serde_json::{Map, Value};

use crate::dsse::Envelope;
use crate::json::{self, JsonError};
use crate::leaf;
use crate::record::members::{At, MemberError, Members};

/// `mediaType` of the first line.
pub const MEDIA_TYPE: &str = "application/vnd.stepseal.log.v1+jsonl";

/// Most bytes of a line without its line feed: the largest note in JSON, and more than the largest entry.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting of a line.
const DEPTH_MAX: usize = 8;

/// Why a line is not one of an export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Not JSON, or too large.
    #[error("the line is not JSON that can be read: {0}")]
    Json(#[from] JsonError),
    /// A member is absent, malformed or unknown.
    #[error("the line's {0}")]
    Member(#[from] MemberError),
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The signed head of the log, a C2SP signed note.
    pub checkpoint: String,
}

impl Header {
    /// Reads the first line.
    pub fn parse(line: &[u8]) -> Result<Self, ExportError> {
        let mut members = members(line)?;
        members.need_parsed("mediaType", MEDIA_TYPE, |text| {
            (text == MEDIA_TYPE).then_some(())
        })?;
        let checkpoint = members.need_text("checkpoint")?;
        members.finish_known()?;
        Ok(Self { checkpoint })
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> Vec<u8> {
        let mut members = Map::new();
        members.insert("mediaType".to_owned(), MEDIA_TYPE.into());
        members.insert("checkpoint".to_owned(), self.checkpoint.as_str().into());
        let mut line = json::canonical(&Value::Object(members));
        line.push(b'\n');
        line
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its index.
    pub index: u64,
    /// What there is of it.
    pub entry: LineEntry,
}

/// What an export has of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineEntry {
    /// The signed record.
    Envelope(Envelope),
    /// The leaf alone: the envelope was erased.
    Leaf(Vec<u8>),
}

impl Line {
    /// Reads a line after the first.
    pub fn parse(line: &[u8]) -> Result<Self, ExportError> {
        let mut members = members(line)?;
        let index = members.need_integer("index")?;
        let envelope = members.object("envelope", |members| {
            let envelope = Envelope::read(members)?;
            members.finish_known()?;
            Ok(envelope)
        })?;
        let leaf = members.parsed("leaf", leaf::LEAF_TEXT, leaf::from_base64)?;
        members.finish_known()?;
        let entry = match (envelope, leaf) {
            (Some(envelope), None) => LineEntry::Envelope(envelope),
            (None, Some(leaf)) => LineEntry::Leaf(leaf),
            _ => {
                let expected = "there, or leaf in its place where it was erased, and not both";
                return Err(members.wrong("envelope", expected).into());
            }
        };
        Ok(Self { index, entry })
    }

    /// The line, with its line feed.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = match &self.entry {
            LineEntry::Envelope(envelope) => {
                let mut line = b"{\"envelope\":".to_vec();
                line.extend_from_slice(&envelope.to_json());
                line.extend_from_slice(b",\"index\":\"");
                line.extend_from_slice(self.index.to_string().as_bytes());
                line.push(b'"');
                line
            }
            LineEntry::Leaf(leaf) => {
                let mut line = format!("{{\"index\":\"{}\",\"leaf\":", self.index).into_bytes();
                json::write_base64(leaf, &mut line);
                line
            }
        };
        line.extend_from_slice(b"}\n");
        line
    }
}

fn members(line: &[u8]) -> Result<Members<'_>, ExportError> {
    let limits = json::Limits {
        bytes_max: LINE_BYTES_MAX,
        depth_max: DEPTH_MAX,
    };
    let value = json::parse_borrowed(line, &limits)?;
    Ok(Members::new(At::root(""), value)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::b64;
    use crate::keys::SigningKey;
    use crate::leaf::LEAF_BYTES;

    #[test]
    fn each_line_is_read_back_as_it_was() {
        let header = Header {
            checkpoint: "log.example/one\n0\n".to_owned(),
        };
        let key = SigningKey::from_seed([1; 32]);
        let envelope = Envelope::sign("a type", b"payload".to_vec(), &key);
        let line = |entry| Line { index: 7, entry };
        assert_eq!(
            Header::parse(header.to_line().trim_ascii_end()).unwrap(),
            header
        );
        for line in [
            line(LineEntry::Envelope(envelope)),
            line(LineEntry::Leaf(vec![7; LEAF_BYTES])),
        ] {
            let text = line.to_line();
            assert_eq!(text.split(|byte| *byte == b'\n').count(), 2);
            assert_eq!(Line::parse(text.trim_ascii_end()).unwrap(), line);
        }
    }

    #[test]
    fn a_line_is_an_envelope_or_a_leaf_and_nothing_else() {
        let leaf = b64::encode(&[0; LEAF_BYTES]);
        let short = b64::encode(&[0; LEAF_BYTES - 1]);
        for (text, member) in [
            (r#"{"index":"1"}"#.to_owned(), "envelope"),
            (format!(r#"{{"index":1,"leaf":"{leaf}"}}"#), "index"),
            (format!(r#"{{"index":"1","leaf":"{short}"}}"#), "leaf"),
            (
                format!(r#"{{"index":"1","leaf":"{leaf}","proof":[]}}"#),
                "proof",
            ),
            (
                r#"{"index":"1","envelope":{}}"#.to_owned(),
                "envelope.payloadType",
            ),
        ] {
            match Line::parse(text.as_bytes()).unwrap_err() {
                ExportError::Member(error) => assert_eq!(error.member(), member, "{text}"),
                ExportError::Json(error) => panic!("{text}: {error}"),
            }
        }
        let long = vec![b' '; LINE_BYTES_MAX + 1];
        assert!(matches!(Line::parse(&long), Err(ExportError::Json(_))));
    }
}
