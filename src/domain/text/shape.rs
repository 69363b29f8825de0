//! Texts made to fit: written with the letters of the GSM alphabet, or cut to a number of parts.
use super::{Encoding, Parts, TextRefusal, gsm, parts};
use crate::domain::Personal;

/// Beyond this there are arrows, boxes, scripts that are read as syllables, and emoji: what is written for them in other letters
/// is no longer what was meant.
const LAST_OF_LETTERS: char = '\u{218f}';

/// The text with letters of the GSM alphabet where there are some that say the same: `œ` becomes `oe`, `“` becomes `"`. Letters
/// that the alphabet has (æøå among them) stay, and so does what has no counterpart.
#[must_use]
pub fn transliterate(text: &str) -> Personal<String> {
    let mut written = String::with_capacity(text.len());
    for sign in text.chars() {
        let other = (sign <= LAST_OF_LETTERS && gsm::septets(sign).is_none())
            .then(|| deunicode::deunicode_char(sign))
            .flatten();
        match other.filter(|other| other.chars().all(|sign| gsm::septets(sign).is_some())) {
            Some(other) => written.push_str(other),
            None => written.push(sign),
        }
    }
    Personal::new(written)
}

/// As much of the text's beginning as fits in `most` parts, never half a character.
///
/// # Errors
/// When it cannot be sent in this encoding, however short.
pub fn truncate(text: &str, encoding: Encoding, most: u8) -> Result<(&str, Parts), TextRefusal> {
    let fits = |text: &str| parts(text, encoding).map(|parts| parts.get() <= most);
    match fits(text) {
        Ok(true) => return Ok((text, parts(text, encoding)?)),
        Ok(false) | Err(TextRefusal::TooLong) => {}
        Err(refusal) => return Err(refusal),
    }
    // A longer beginning never takes fewer parts.
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
    let fitting = ends.partition_point(|end| fits(&text[..*end]) == Ok(true));
    let end = fitting.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(text.len());
    Ok((&text[..end], parts(&text[..end], encoding)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_of_other_alphabets_become_those_of_gsm() {
        for (text, written) in [
            ("Hej Åse, 10 €", "Hej Åse, 10 €"),
            ("“Tak” – siger œuvre…", "\"Tak\" - siger oeuvre..."),
            ("Łódź Şişli", "Lodz Sisli"),
            ("e\u{301}", "e"),
            ("Привет", "Privet"),
            ("ok 😀 北 →", "ok 😀 北 →"),
        ] {
            assert_eq!(transliterate(text).reveal(), written);
        }
    }

    #[test]
    fn a_text_is_cut_to_its_parts() {
        let cut = |text: &str, encoding, most| {
            let (text, parts) = truncate(text, encoding, most).expect("cut");
            (text.chars().count(), parts.get())
        };
        let long = "a".repeat(5000);
        assert_eq!(cut(&long, Encoding::Gsm, 1), (160, 1));
        assert_eq!(cut(&long, Encoding::Gsm, 2), (306, 2));
        assert_eq!(cut(&"a".repeat(60_000), Encoding::Gsm, 3), (459, 3));
        assert_eq!(cut("Hej", Encoding::Gsm, 1), (3, 1));
        // An escape is not torn from its septet, nor a surrogate from the other.
        assert_eq!(cut(&format!("{}€", "a".repeat(159)), Encoding::Gsm, 1), (159, 1));
        assert_eq!(cut(&format!("a{}", "😀".repeat(40)), Encoding::Ucs2, 1), (35, 1));
        assert_eq!(truncate("😀", Encoding::Gsm, 1), Err(TextRefusal::NotGsm { position: 1 }));
        assert_eq!(truncate("", Encoding::Gsm, 1), Err(TextRefusal::Empty));
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_one_character_more_does_not(text in "\\PC{1,900}", most in 1_u8..4) {
            let encoding = Encoding::of(&text);
            let (cut, count) = truncate(&text, encoding, most).expect("cut");
            prop_assert!(count.get() <= most && text.starts_with(cut));
            if let Some(next) = text[cut.len()..].chars().next() {
                let longer = &text[..cut.len() + next.len_utf8()];
                prop_assert!(parts(longer, encoding).map_or(true, |parts| parts.get() > most));
            }
        }
    }
}
