//! The trust file: the public keys a verifier believes (format §3), obtained out of band.
//!
//! Unlike a receipt it is believed as it stands, so a member it does not know, a key twice or a key in two roles is
//! an error and never ignored.

mod signature;

use serde_json::{Map, Value};

use crate::json::{self, JsonError};
use crate::keys::{PublicKey, SPKI_EXPECTED};
use crate::note::VerifierKey;
use crate::record::members::{At, MemberError, Members};

pub use signature::{SIGNATURE_BYTES_MAX, UnvouchedError, check_vouched, vouch};

/// `mediaType` of a trust file.
pub const MEDIA_TYPE: &str = "application/vnd.stepseal.trust.v1+json";
/// Largest trust file, in bytes.
pub const TRUST_BYTES_MAX: usize = 1024 * 1024;
/// Most keys of one role.
pub const KEYS_MAX: usize = 256;
/// Deepest nesting of a trust file.
const DEPTH_MAX: usize = 8;

/// The public keys a verifier believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile {
    /// The log's origin.
    pub origin: String,
    /// Keys that sign the log's checkpoints.
    pub log: Vec<VerifierKey>,
    /// Keys that sign records.
    pub records: Vec<RecordKey>,
    /// Keys of people who sign their own approvals.
    pub approvers: Vec<ApproverKey>,
    /// Keys that vouch for new keys.
    pub root: Vec<PublicKey>,
}

/// A key that signs records, and the part of the log in which it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordKey {
    /// The key.
    pub key: PublicKey,
    /// First index of the log at which its signature counts.
    pub from_index: u64,
    /// Last index at which it counts, itself included; open-ended where absent.
    pub to_index: Option<u64>,
}

/// A key of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApproverKey {
    /// The name records give the person.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// First index of the log at which a record may speak of what it signed.
    pub from_index: u64,
    /// Last index at which one may, itself included; open-ended where absent.
    pub to_index: Option<u64>,
}

/// Why bytes are no trust file.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not JSON, or too large.
    #[error("the trust file is not JSON that can be read: {0}")]
    Json(#[from] JsonError),
    /// A member is absent, malformed or unknown.
    #[error("the trust file's {0}")]
    Member(#[from] MemberError),
    /// A role that cannot do without keys has none.
    #[error("the trust file's member {member} is empty; at least one key is needed there")]
    NoKey {
        /// The role.
        member: &'static str,
    },
    /// A key stands twice, or in two roles.
    #[error(
        "the trust file has the key {id} in {first} and again in {second}; each key has one place"
    )]
    Duplicate {
        /// Lower-case hexadecimal SHA-256 of the key's SPKI.
        id: String,
        /// Path of its first place.
        first: String,
        /// Path of its second place.
        second: String,
    },
    /// A checkpoint key is named otherwise than the origin, so no checkpoint could ever be signed with it.
    #[error(
        "the trust file's member log[{number}] is a key of {name:?}, and the origin is {origin:?}"
    )]
    OtherOrigin {
        /// Place in `log`.
        number: usize,
        /// Name of the key.
        name: String,
        /// The file's origin.
        origin: String,
    },
}

impl RecordKey {
    /// Whether its signature counts at an index of the log.
    pub fn covers(&self, index: u64) -> bool {
        covers(self.from_index, self.to_index, index)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.covers(other.from_index) || other.covers(self.from_index)
    }
}

impl ApproverKey {
    /// Whether what it signed counts for a record at an index of the log.
    pub fn covers(&self, index: u64) -> bool {
        covers(self.from_index, self.to_index, index)
    }
}

fn covers(from: u64, to: Option<u64>, index: u64) -> bool {
    from <= index && to.is_none_or(|to| index <= to)
}

impl TrustFile {
    /// Reads a trust file.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let limits = json::Limits {
            bytes_max: TRUST_BYTES_MAX,
            depth_max: DEPTH_MAX,
        };
        let mut members = Members::new(At::root(""), json::parse_borrowed(bytes, &limits)?)?;
        members.need_parsed("mediaType", MEDIA_TYPE, |text| {
            (text == MEDIA_TYPE).then_some(())
        })?;
        let origin = members.need_text("origin")?;
        if let Err(reason) = crate::checkpoint::origin::check(&origin) {
            return Err(members.invalid("origin", &reason).into());
        }
        let vkey = "a signed-note verifier key of Ed25519 (name+id+base64) whose key is not weak";
        let file = Self {
            origin,
            log: members.texts("log", KEYS_MAX, vkey, |text| text.parse().ok())?,
            records: members.list("records", KEYS_MAX, record_key)?,
            approvers: members.list("approvers", KEYS_MAX, approver_key)?,
            root: members.texts("root", KEYS_MAX, SPKI_EXPECTED, spki)?,
        };
        members.finish_known()?;
        file.check()?;
        Ok(file)
    }

    /// The file's text, one that [`TrustFile::parse`] reads.
    pub fn to_json(&self) -> Vec<u8> {
        let records = self.records.iter().map(|key| {
            let mut members = Map::new();
            members.insert("key".to_owned(), Value::from(key.key.spki_base64()));
            range(&mut members, Some(key.from_index), key.to_index);
            Value::Object(members)
        });
        let approvers = self.approvers.iter().map(|approver| {
            let mut members = Map::new();
            members.insert("name".to_owned(), Value::from(approver.name.as_str()));
            members.insert("key".to_owned(), Value::from(approver.key.spki_base64()));
            let from = Some(approver.from_index).filter(|from| *from > 0);
            range(&mut members, from, approver.to_index);
            Value::Object(members)
        });
        let mut members = Map::new();
        members.insert("mediaType".to_owned(), Value::from(MEDIA_TYPE));
        members.insert("origin".to_owned(), Value::from(self.origin.as_str()));
        let log = self.log.iter().map(ToString::to_string);
        members.insert("log".to_owned(), log.collect::<Vec<_>>().into());
        members.insert("records".to_owned(), Value::Array(records.collect()));
        members.insert("approvers".to_owned(), Value::Array(approvers.collect()));
        let root = self.root.iter().map(PublicKey::spki_base64);
        members.insert("root".to_owned(), root.collect::<Vec<_>>().into());
        json::canonical(&Value::Object(members))
    }

    /// The first place at which a key stands, like `records[0]`.
    pub(crate) fn role_of(&self, key: &PublicKey) -> Option<String> {
        let places = self.places().into_iter();
        let mut places = places.filter(|(found, _)| *found == key);
        places.next().map(|(_, place)| place.to_string())
    }

    /// What must hold of the keys together.
    fn check(&self) -> Result<(), TrustError> {
        for (member, empty) in [
            ("log", self.log.is_empty()),
            ("records", self.records.is_empty()),
        ] {
            if empty {
                return Err(TrustError::NoKey { member });
            }
        }
        for (number, key) in self.log.iter().enumerate() {
            if key.name() != self.origin {
                return Err(TrustError::OtherOrigin {
                    number,
                    name: key.name().to_owned(),
                    origin: self.origin.clone(),
                });
            }
        }
        let places = self.places();
        for (second_number, (second, second_place)) in places.iter().enumerate() {
            for (first, first_place) in &places[..second_number] {
                if first == second && !self.apart(first_place, second_place) {
                    return Err(TrustError::Duplicate {
                        id: first.id().to_hex(),
                        first: first_place.to_string(),
                        second: second_place.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    fn places(&self) -> Vec<(&PublicKey, Place)> {
        let at = |role| move |number| Place { role, number };
        let log = self
            .log
            .iter()
            .map(VerifierKey::key)
            .zip((0..).map(at("log")));
        let records = self.records.iter().map(|key| &key.key);
        let approvers = self.approvers.iter().map(|approver| &approver.key);
        log.chain(records.zip((0..).map(at("records"))))
            .chain(approvers.zip((0..).map(at("approvers"))))
            .chain(self.root.iter().zip((0..).map(at("root"))))
            .collect()
    }

    /// A record key may come back for a later part of the log; nothing else may stand twice.
    fn apart(&self, first: &Place, second: &Place) -> bool {
        first.role == "records"
            && second.role == "records"
            && !self.records[first.number].overlaps(&self.records[second.number])
    }
}

/// Where a key stands in the file.
struct Place {
    role: &'static str,
    number: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.role, self.number)
    }
}

fn spki(text: &str) -> Option<PublicKey> {
    PublicKey::from_spki_base64(text).ok()
}

fn record_key(members: &mut Members<'_>) -> Result<RecordKey, MemberError> {
    let key = RecordKey {
        key: members.need_parsed("key", SPKI_EXPECTED, spki)?,
        from_index: members.need_integer("fromIndex")?,
        to_index: members.integer("toIndex")?,
    };
    members.finish_known()?;
    in_order(members, key.from_index, key.to_index)?;
    Ok(key)
}

fn approver_key(members: &mut Members<'_>) -> Result<ApproverKey, MemberError> {
    let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    let key = ApproverKey {
        name: members.need_parsed("name", "a name", name)?,
        key: members.need_parsed("key", SPKI_EXPECTED, spki)?,
        from_index: members.integer("fromIndex")?.unwrap_or(0),
        to_index: members.integer("toIndex")?,
    };
    members.finish_known()?;
    in_order(members, key.from_index, key.to_index)?;
    Ok(key)
}

fn in_order(members: &Members<'_>, from: u64, to: Option<u64>) -> Result<(), MemberError> {
    match to {
        Some(to) if to < from => Err(members.wrong("toIndex", "no smaller than fromIndex")),
        _ => Ok(()),
    }
}

fn range(members: &mut Map<String, Value>, from: Option<u64>, to: Option<u64>) {
    for (member, index) in [("fromIndex", from), ("toIndex", to)] {
        if let Some(index) = index {
            members.insert(member.to_owned(), Value::from(index.to_string()));
        }
    }
}

#[cfg(test)]
mod tests;
