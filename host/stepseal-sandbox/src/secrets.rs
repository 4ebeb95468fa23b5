//! Secrets that the host injects into requests. A guest is never given one; should it come by one all the same, since a server sent
//! it back, say, it is found in what the guest gives away.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Bytes of a secret. Shorter ones would be found in everything.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=1_024;

/// What `encodeURIComponent` leaves as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

/// Whether the host keeps a secret like this.
pub fn check_secret(value: &str) -> Result<(), String> {
    if !SECRET_BYTES.contains(&value.len()) {
        return Err(format!(
            "a secret has {} to {} bytes",
            SECRET_BYTES.start(),
            SECRET_BYTES.end()
        ));
    }
    if value.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
        Ok(())
    } else {
        Err("a secret is visible ASCII, since it goes into a header".to_owned())
    }
}

/// The secrets of one step, and how to find them.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    search: Option<Search>,
}

struct Search {
    automaton: AhoCorasick,
    /// The secret's name of each pattern.
    names: Vec<String>,
}

// Written by hand so that no secret can end up in a log.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// Secrets by name; each is one that [`check_secret`] lets pass.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        let mut patterns = Vec::new();
        let mut names = Vec::new();
        for (name, value) in &values {
            let spelled = spellings(value);
            names.extend(std::iter::repeat_n(name.clone(), spelled.len()));
            patterns.extend(spelled);
        }
        let search = (!patterns.is_empty()).then(|| {
            let automaton = AhoCorasick::builder()
                // Hexadecimal digits of either case, and whoever changes it.
                .ascii_case_insensitive(true)
                .match_kind(MatchKind::LeftmostLongest)
                .build(patterns)
                .expect("a few hundred patterns of a few kilobytes");
            Search { automaton, names }
        });
        Self { values, search }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The name of a secret that is in these bytes.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<&str> {
        let search = self.search.as_ref()?;
        let found = search.automaton.find(bytes)?;
        Some(&search.names[found.pattern()])
    }

    /// The bytes with `[secret NAME]` in the place of each secret; `None` where there is none in them.
    pub(crate) fn redacted(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let search = self.search.as_ref()?;
        search.automaton.find(bytes)?;
        let mut redacted = Vec::with_capacity(bytes.len());
        search
            .automaton
            .replace_all_with_bytes(bytes, &mut redacted, |found, _, out| {
                let name = &search.names[found.pattern()];
                out.extend_from_slice(format!("[secret {name}]").as_bytes());
                true
            });
        Some(redacted)
    }

    /// The same for a text.
    pub(crate) fn redact(&self, text: &mut String) {
        if let Some(redacted) = self.redacted(text.as_bytes()) {
            *text = String::from_utf8_lossy(&redacted).into_owned();
        }
    }
}

/// The ways in which a secret is looked for: as it is, in JSON, in hexadecimal, percent-encoded, and in base64 at each place it can
/// have in what was encoded with it.
fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let mut spelled = vec![
        secret.as_bytes().to_vec(),
        hexadecimal(secret, ""),
        hexadecimal(secret, "%"),
        utf8_percent_encode(secret, NON_ALPHANUMERIC)
            .to_string()
            .into_bytes(),
        utf8_percent_encode(secret, COMPONENT)
            .to_string()
            .into_bytes(),
    ];
    let json = serde_json::Value::from(secret).to_string();
    spelled.push(json.as_bytes()[1..json.len() - 1].to_vec());
    spelled.push(json[1..json.len() - 1].replace('/', "\\/").into_bytes());
    for engine in [&STANDARD, &URL_SAFE] {
        for before in 0..3 {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(secret.as_bytes());
            let encoded = engine.encode(&bytes).into_bytes();
            // Characters that neighbours have a part in are left out.
            let start = [0, 2, 3][before];
            let end = bytes.len() / 3 * 4 + [0, 1, 2][bytes.len() % 3];
            spelled.push(encoded[start..end].to_vec());
        }
    }
    spelled.sort();
    spelled.dedup();
    spelled
}

/// Two digits a byte, each byte after `before`.
fn hexadecimal(secret: &str, before: &str) -> Vec<u8> {
    let mut hex = String::new();
    for byte in secret.bytes() {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{before}{byte:02x}");
    }
    hex.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr\"t/+K~y";

    fn secrets() -> Secrets {
        Secrets::new([("api-key".to_owned(), SECRET.to_owned())].into())
    }

    #[test]
    fn a_secret_is_found_however_it_is_spelled() {
        let hex = String::from_utf8(hexadecimal(SECRET, ""))
            .unwrap()
            .to_uppercase();
        let mut spelled = vec![
            SECRET.to_owned(),
            serde_json::json!({ "a": SECRET }).to_string(),
            hex.clone(),
            hex.to_lowercase(),
            "s3cr%22t%2F%2BK~y".to_owned(),
            "s3cr%22t%2f%2bK%7ey".to_owned(),
            SECRET.to_uppercase(),
        ];
        for before in 0..6 {
            for after in 0..3 {
                let text = format!("{}{SECRET}{}", "x".repeat(before), "y".repeat(after));
                spelled.push(STANDARD.encode(&text));
                spelled.push(URL_SAFE.encode(&text));
            }
        }
        for text in spelled {
            let text = format!("before {text} after");
            assert_eq!(secrets().find(text.as_bytes()), Some("api-key"), "{text}");
            let mut redacted = text.clone();
            secrets().redact(&mut redacted);
            assert!(redacted.contains("[secret api-key]"), "{redacted}");
            assert_eq!(secrets().find(redacted.as_bytes()), None, "{redacted}");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        assert_eq!(secrets().find(b"s3cr t/+K~y, and much else"), None);
        assert_eq!(secrets().redacted(b"nothing"), None);
        assert_eq!(Secrets::default().find(SECRET.as_bytes()), None);
        assert!(!format!("{:?}", secrets()).contains(SECRET));
    }

    #[test]
    fn a_secret_is_long_enough_to_be_looked_for() {
        assert!(check_secret("12345678").is_ok());
        for bad in ["1234567", "with a space", "line\nbreaks", "ünïcodes", ""] {
            assert!(check_secret(bad).is_err(), "{bad}");
        }
        assert!(check_secret(&"x".repeat(1_025)).is_err());
    }
}
