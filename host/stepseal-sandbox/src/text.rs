//! Texts that guests wrote, made fit for records.

use crate::limits::MESSAGE_BYTES_MAX;

/// The longest beginning of at most `bytes_max` bytes that does not split a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// A text for people, as records carry it.
pub(crate) fn message(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_does_not_split_a_character() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(message("é".repeat(600)).len(), 1_024);
        assert_eq!(message(format!("a{}", "é".repeat(600))).len(), 1_023);
    }
}
