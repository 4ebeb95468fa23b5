//! Collects faults without letting a hostile receipt make the report large.

use super::{Check, Fault, Outcome3};

/// Most faults a report lists; a last one says that there are more.
pub const FAULTS_MAX: usize = 1000;
/// Longest message of a fault, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// The faults so far.
#[derive(Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    /// Questions that were answered "no", also by faults that are not listed any more.
    failed: Vec<Check>,
    unlisted: u64,
}

impl Faults {
    pub(super) fn add(
        &mut self,
        check: Check,
        index: Option<u64>,
        member: &str,
        message: &impl ToString,
    ) {
        if !self.failed.contains(&check) {
            self.failed.push(check);
        }
        if self.list.len() == FAULTS_MAX {
            self.unlisted += 1;
            return;
        }
        self.list.push(Fault {
            check,
            index,
            member: cut(member),
            message: cut(&message.to_string()),
        });
    }

    /// Takes the faults of a part.
    pub(super) fn append(&mut self, part: Self) {
        self.unlisted += part.unlisted;
        for fault in part.list {
            self.add(fault.check, fault.index, &fault.member, &fault.message);
        }
        for check in part.failed {
            if !self.failed.contains(&check) {
                self.failed.push(check);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn any(&self, check: Check) -> bool {
        self.failed.contains(&check)
    }

    /// The answer to a question: "no" where there is a fault, else "yes" if it was asked at all.
    pub(super) fn outcome(&self, check: Check, asked: bool) -> Outcome3 {
        match (self.any(check), asked) {
            (true, _) => Outcome3::Fail,
            (false, true) => Outcome3::Pass,
            (false, false) => Outcome3::NotChecked,
        }
    }

    pub(super) fn into_list(mut self) -> Vec<Fault> {
        if self.unlisted > 0 {
            self.list.push(Fault {
                check: Check::Receipt,
                index: None,
                member: String::new(),
                message: format!("{} more faults are not listed", self.unlisted),
            });
        }
        self.list
    }
}

/// Where the record at hand reports what is wrong with what it says.
pub(super) struct Place<'f> {
    index: u64,
    faults: &'f mut Faults,
}

impl<'f> Place<'f> {
    pub(super) fn new(index: u64, faults: &'f mut Faults) -> Self {
        Self { index, faults }
    }

    /// The record's index in the log.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    pub(super) fn fault(&mut self, member: &str, message: impl Into<String>) {
        let message: String = message.into();
        self.faults
            .add(Check::Chain, Some(self.index), member, &message);
    }
}

/// What a message quotes may come from the receipt: as long as that, and with escapes that a terminal would obey.
pub(super) fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MESSAGE_BYTES_MAX);
    let mut shown = text[..end].replace(char::is_control, "\u{fffd}");
    if end < text.len() {
        shown.push('\u{2026}');
    }
    shown
}
