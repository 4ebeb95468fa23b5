//! Which witnesses a verifier wants to have seen a checkpoint (C2SP tlog-policy): their keys, their groups, the quorum.
//!
//! Like a trust file it is obtained out of band and believed as it stands, so it is read strictly: what is unknown, stands
//! twice or comes too soon is an error with its line. Deliberately stricter than the standard: no key is a log's and a
//! witness's, since a log that witnesses itself shows nothing.

use std::collections::HashMap;

use crate::cosignature::{CosignatureError, WitnessKey};
use crate::json::decimal;
use crate::keys::PublicKey;
use crate::note::{NAME_BYTES_MAX, NoteError, VerifierKey};

/// Largest policy file, in bytes.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;
/// Most logs, most witnesses and most groups of one policy.
pub const ITEMS_MAX: usize = 256;

/// The name of the quorum that needs nobody.
const NONE: &str = "none";

/// Logs, witnesses, and how many of whom must have cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessPolicy {
    logs: Vec<VerifierKey>,
    /// Witnesses and groups in the order of the file: the members of a group come before it.
    voters: Vec<Voter>,
    quorum: Quorum,
}

/// Who must vouch for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    /// `none`.
    Nobody,
    /// One of the voters, by its place.
    Voter(usize),
}

/// A witness, or a group of what was defined before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Voter {
    name: String,
    kind: VoterKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum VoterKind {
    Witness(Box<WitnessKey>),
    Group {
        threshold: usize,
        members: Vec<usize>,
    },
}

/// A witness of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness<'a> {
    /// Its name in the policy. It means nothing outside, and bytes of it that are no UTF-8 are shown as U+FFFD.
    pub name: &'a str,
    /// Its key, with the name it signs under.
    pub key: &'a WitnessKey,
}

/// Why bytes are no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessPolicyError {
    /// Too long to be looked at.
    #[error("a witness policy has at most {POLICY_BYTES_MAX} bytes, this one has {bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A line is at fault.
    #[error("line {line} of the witness policy: {fault}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        fault: LineFault,
    },
    /// Nothing says who must have cosigned.
    #[error("the witness policy has no quorum line, and exactly one is needed")]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineFault {
    /// The file ends within it.
    #[error("it does not end in a newline; the file may have been cut short")]
    Unterminated,
    /// A byte that cannot be in a policy.
    #[error(
        "the byte {byte:#04x} cannot stand in a policy; control characters are tab and newline only"
    )]
    ControlCharacter {
        /// The byte.
        byte: u8,
    },
    /// Neither of the four.
    #[error("it must begin with log, witness, group, quorum or #")]
    Keyword,
    /// Too few or too many items.
    #[error("it must read `{expected}`")]
    Items {
        /// What it must look like.
        expected: &'static str,
    },
    /// Not the key of a log.
    #[error("the log's key is refused: {0}")]
    LogKey(NoteError),
    /// Not the key of a witness.
    #[error("the witness's key is refused: {0}")]
    WitnessKey(CosignatureError),
    /// A name nobody can have.
    #[error("a name has at most {NAME_BYTES_MAX} bytes and is not `none`")]
    Name,
    /// A name of something else.
    #[error("the name {name} is taken already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A key of something else, under whatever name.
    #[error("this key stands in the policy already, in line {first}")]
    KeyTaken {
        /// Where it stood first, from 1.
        first: usize,
    },
    /// A name that was not defined before.
    #[error("{name} is not a witness or a group of an earlier line")]
    Undefined {
        /// The name.
        name: String,
    },
    /// A member of two groups, or twice of one: its word would count twice.
    #[error("{name} is a member of a group already, and can be one only once")]
    MemberTwice {
        /// The name.
        name: String,
    },
    /// Not a number of members.
    #[error(
        "the threshold of a group is all, any, or a number from 1 to that of its members, which is {members}"
    )]
    Threshold {
        /// How many the group has.
        members: usize,
    },
    /// Another quorum.
    #[error("there is a second quorum line, and exactly one is needed")]
    SecondQuorum,
    /// More than this crate handles.
    #[error("a policy has at most {ITEMS_MAX} logs, witnesses and groups each")]
    TooMany,
}

impl WitnessPolicy {
    /// Reads a policy file.
    pub fn parse(bytes: &[u8]) -> Result<Self, WitnessPolicyError> {
        if bytes.len() > POLICY_BYTES_MAX {
            return Err(WitnessPolicyError::TooLarge { bytes: bytes.len() });
        }
        let mut reader = Reader::default();
        for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            reader.line = number + 1;
            reader
                .read(line)
                .map_err(|fault| WitnessPolicyError::Line {
                    line: number + 1,
                    fault,
                })?;
        }
        Ok(Self {
            quorum: reader.quorum.ok_or(WitnessPolicyError::NoQuorum)?,
            logs: reader.logs,
            voters: reader.voters,
        })
    }

    /// The logs it is for. None means: the one that the verifier knows otherwise.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// All witnesses, in the order of the file.
    pub fn witnesses(&self) -> impl Iterator<Item = Witness<'_>> {
        self.voters.iter().filter_map(Voter::witness)
    }

    /// Whether anybody must have cosigned at all.
    pub fn is_none(&self) -> bool {
        self.quorum == Quorum::Nobody
    }

    /// Whether those who cosigned are enough. Where nobody needs to be asked, they are.
    pub fn is_met(&self, cosigned: impl Fn(&WitnessKey) -> bool) -> bool {
        let mut vouches = Vec::with_capacity(self.voters.len());
        for voter in &self.voters {
            vouches.push(match &voter.kind {
                VoterKind::Witness(key) => cosigned(key),
                VoterKind::Group { threshold, members } => {
                    members.iter().filter(|&&member| vouches[member]).count() >= *threshold
                }
            });
        }
        match self.quorum {
            Quorum::Nobody => true,
            Quorum::Voter(place) => vouches[place],
        }
    }

    /// The witnesses whose word can make a difference to the quorum.
    pub fn asked(&self) -> Vec<Witness<'_>> {
        let mut asked = vec![false; self.voters.len()];
        if let Quorum::Voter(place) = self.quorum {
            asked[place] = true;
        }
        for (place, voter) in self.voters.iter().enumerate().rev() {
            if let VoterKind::Group { members, .. } = &voter.kind
                && asked[place]
            {
                for &member in members {
                    asked[member] = true;
                }
            }
        }
        let voters = self.voters.iter().zip(asked);
        voters
            .filter(|(_, asked)| *asked)
            .filter_map(|(voter, _)| voter.witness())
            .collect()
    }
}

impl Voter {
    fn witness(&self) -> Option<Witness<'_>> {
        match &self.kind {
            VoterKind::Witness(key) => Some(Witness {
                name: &self.name,
                key,
            }),
            VoterKind::Group { .. } => None,
        }
    }
}

/// The policy as far as it is read.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<VerifierKey>,
    voters: Vec<Voter>,
    quorum: Option<Quorum>,
    /// Places among the voters, by name: opaque bytes, as the standard has them.
    names: HashMap<&'a [u8], usize>,
    /// The line in which each key stands.
    keys: HashMap<PublicKey, usize>,
    /// Whether each voter is in a group already.
    is_member: Vec<bool>,
    witnesses: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), LineFault> {
        let text = line.strip_suffix(b"\n").ok_or(LineFault::Unterminated)?;
        let control = |byte: &&u8| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f;
        if let Some(&byte) = text.iter().find(control) {
            return Err(LineFault::ControlCharacter { byte });
        }
        let items: Vec<&[u8]> = text
            .split(|&byte| byte == b' ' || byte == b'\t')
            .filter(|item| !item.is_empty())
            .collect();
        match items.split_first() {
            None => Ok(()),
            Some((first, _)) if first.starts_with(b"#") => Ok(()),
            Some((&b"log", rest)) => self.log(rest),
            Some((&b"witness", rest)) => self.witness(rest),
            Some((&b"group", rest)) => self.group(rest),
            Some((&b"quorum", rest)) => self.quorum(rest),
            Some(_) => Err(LineFault::Keyword),
        }
    }

    fn log(&mut self, items: &[&[u8]]) -> Result<(), LineFault> {
        let expected = "log <vkey> [<url>]";
        let ([vkey] | [vkey, _]) = items else {
            return Err(LineFault::Items { expected });
        };
        let vkey = std::str::from_utf8(vkey)
            .map_err(|_| NoteError::VerifierKey)
            .and_then(VerifierKey::parse)
            .map_err(LineFault::LogKey)?;
        self.take_key(vkey.key())?;
        if self.logs.len() == ITEMS_MAX {
            return Err(LineFault::TooMany);
        }
        self.logs.push(vkey);
        Ok(())
    }

    fn witness(&mut self, items: &[&'a [u8]]) -> Result<(), LineFault> {
        let expected = "witness <name> <vkey> [<url>]";
        let ([name, vkey] | [name, vkey, _]) = items else {
            return Err(LineFault::Items { expected });
        };
        let key = std::str::from_utf8(vkey)
            .map_err(|_| CosignatureError::WitnessKey)
            .and_then(WitnessKey::parse)
            .map_err(LineFault::WitnessKey)?;
        self.take_key(key.key())?;
        if self.witnesses == ITEMS_MAX {
            return Err(LineFault::TooMany);
        }
        self.witnesses += 1;
        self.define(name, VoterKind::Witness(Box::new(key)))
    }

    fn group(&mut self, items: &[&'a [u8]]) -> Result<(), LineFault> {
        let expected = "group <name> <all, any or a number> <name>...";
        let [name, threshold, names @ ..] = items else {
            return Err(LineFault::Items { expected });
        };
        if names.is_empty() {
            return Err(LineFault::Items { expected });
        }
        if self.voters.len() - self.witnesses == ITEMS_MAX {
            return Err(LineFault::TooMany);
        }
        let mut members = Vec::new();
        for name in names {
            let member = self.find(name)?;
            if self.is_member[member] {
                let name = shown(name);
                return Err(LineFault::MemberTwice { name });
            }
            self.is_member[member] = true;
            members.push(member);
        }
        let threshold = match *threshold {
            b"all" => Some(members.len()),
            b"any" => Some(1),
            number => std::str::from_utf8(number)
                .ok()
                .and_then(decimal::parse)
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| (1..=members.len()).contains(number)),
        };
        let threshold = threshold.ok_or(LineFault::Threshold {
            members: members.len(),
        })?;
        self.define(name, VoterKind::Group { threshold, members })
    }

    fn quorum(&mut self, items: &[&[u8]]) -> Result<(), LineFault> {
        let expected = "quorum <name>";
        let [name] = items else {
            return Err(LineFault::Items { expected });
        };
        if self.quorum.is_some() {
            return Err(LineFault::SecondQuorum);
        }
        self.quorum = Some(if *name == NONE.as_bytes() {
            Quorum::Nobody
        } else {
            Quorum::Voter(self.find(name)?)
        });
        Ok(())
    }

    /// Where a name was defined. `none` never was: it cannot be.
    fn find(&self, name: &[u8]) -> Result<usize, LineFault> {
        let place = self.names.get(name).copied();
        place.ok_or_else(|| LineFault::Undefined { name: shown(name) })
    }

    fn define(&mut self, name: &'a [u8], kind: VoterKind) -> Result<(), LineFault> {
        if name.len() > NAME_BYTES_MAX || name == NONE.as_bytes() {
            return Err(LineFault::Name);
        }
        if self.names.insert(name, self.voters.len()).is_some() {
            return Err(LineFault::NameTaken { name: shown(name) });
        }
        self.voters.push(Voter {
            name: shown(name),
            kind,
        });
        self.is_member.push(false);
        Ok(())
    }

    fn take_key(&mut self, key: &PublicKey) -> Result<(), LineFault> {
        match self.keys.insert(key.clone(), self.line) {
            None => Ok(()),
            Some(first) => Err(LineFault::KeyTaken { first }),
        }
    }
}

/// A name as people can read it. It may be as long as the file, in which case its beginning is enough.
fn shown(name: &[u8]) -> String {
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests;
