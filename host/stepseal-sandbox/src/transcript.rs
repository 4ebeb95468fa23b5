//! What a step asked of the world, and what it was told: enough to run it again without the world.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use stepseal_receipts::digest::Digest;
use stepseal_receipts::json;

use crate::limits::{KEYVALUE_BYTES_MAX, KEYVALUE_CALLS_MAX};

/// Bytes of an encoded transcript: every value read once in base64, and 512 bytes for the rest of each call.
const TRANSCRIPT_BYTES_MAX: usize = KEYVALUE_BYTES_MAX * 2 + KEYVALUE_CALLS_MAX * 512;

/// Depth of an encoded transcript: object, array, object.
const TRANSCRIPT_DEPTH_MAX: usize = 4;

/// The ordered calls by which a step touched the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// In the order they were made.
    pub calls: Vec<Call>,
}

/// One call and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Of the request: canonical JSON with the operation and all its arguments.
    pub request: Digest,
    /// What the host answered: canonical JSON.
    pub response: Vec<u8>,
}

/// Bytes that are not a transcript.
#[derive(Clone, Debug, thiserror::Error)]
#[error("this is not a transcript of host calls: {0}")]
pub struct TranscriptError(String);

impl Transcript {
    /// How many calls.
    pub fn count(&self) -> u64 {
        self.calls.len() as u64
    }

    /// The canonical encoding, whose digest goes into the record: JCS of
    /// `{"calls":[{"request":"sha256:<hex>","response":"<base64>"}]}`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let calls = self.calls.iter().map(|call| {
            let mut object = Map::new();
            object.insert("request".into(), call.request.to_string().into());
            object.insert("response".into(), BASE64.encode(&call.response).into());
            Value::Object(object)
        });
        let calls = Value::Array(calls.collect());
        json::canonical(&Value::Object(Map::from_iter([(
            "calls".to_owned(),
            calls,
        )])))
    }

    /// Reads what [`Transcript::to_bytes`] wrote; any other bytes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TranscriptError> {
        let limits = json::Limits {
            bytes_max: TRANSCRIPT_BYTES_MAX,
            depth_max: TRANSCRIPT_DEPTH_MAX,
        };
        let value =
            json::parse(bytes, &limits).map_err(|error| TranscriptError(error.to_string()))?;
        let calls = value
            .get("calls")
            .and_then(Value::as_array)
            .ok_or_else(|| TranscriptError("it has no member `calls`".into()))?;
        if calls.len() > KEYVALUE_CALLS_MAX {
            return Err(TranscriptError(format!(
                "it has more than {KEYVALUE_CALLS_MAX} calls"
            )));
        }
        let calls = calls.iter().enumerate().map(|(index, call)| {
            decode_call(call)
                .ok_or_else(|| TranscriptError(format!("call {} cannot be read", index + 1)))
        });
        let transcript = Self {
            calls: calls.collect::<Result<_, _>>()?,
        };
        // One encoding only, so that one transcript has one digest.
        if transcript.to_bytes() != bytes {
            return Err(TranscriptError("it is not in canonical form".into()));
        }
        Ok(transcript)
    }
}

fn decode_call(call: &Value) -> Option<Call> {
    let request = call.get("request")?.as_str()?.parse().ok()?;
    let response = BASE64.decode(call.get("response")?.as_str()?).ok()?;
    Some(Call { request, response })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript() -> Transcript {
        Transcript {
            calls: vec![Call {
                request: Digest::of(b"question"),
                response: b"{}".to_vec(),
            }],
        }
    }

    #[test]
    fn a_transcript_survives_its_encoding() {
        assert_eq!(
            Transcript::from_bytes(&transcript().to_bytes()).unwrap(),
            transcript()
        );
        assert_eq!(Transcript::default().to_bytes(), br#"{"calls":[]}"#);
    }

    #[test]
    fn another_spelling_of_a_transcript_is_refused() {
        let mut bytes = transcript().to_bytes();
        bytes.push(b' ');
        assert!(
            Transcript::from_bytes(&bytes)
                .unwrap_err()
                .to_string()
                .contains("canonical")
        );
    }

    #[test]
    fn what_is_not_a_transcript_is_refused() {
        for bytes in [
            &b"[]"[..],
            b"",
            br#"{"calls":[{}]}"#,
            br#"{"calls":[{"request":"x","response":""}]}"#,
        ] {
            assert!(Transcript::from_bytes(bytes).is_err());
        }
    }
}
