//! GSM 03.38 (3GPP TS 23.038): the default alphabet and its extension.

/// Leads to the extension table.
pub(super) const ESCAPE: u8 = 0x1b;

/// The default alphabet by septet. `ESCAPE` stands for itself and is never taken from a text.
const BASIC: [char; 128] = [
    '@', '£', '$', '¥', 'è', 'é', 'ù', 'ì', 'ò', 'Ç', '\n', 'Ø', 'ø', '\r', 'Å', 'å', //
    'Δ', '_', 'Φ', 'Γ', 'Λ', 'Ω', 'Π', 'Ψ', 'Σ', 'Θ', 'Ξ', '\u{1b}', 'Æ', 'æ', 'ß', 'É', //
    ' ', '!', '"', '#', '¤', '%', '&', '\'', '(', ')', '*', '+', ',', '-', '.', '/', //
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', ':', ';', '<', '=', '>', '?', //
    '¡', 'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', //
    'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z', 'Ä', 'Ö', 'Ñ', 'Ü', '§', //
    '¿', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', //
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', 'ä', 'ö', 'ñ', 'ü', 'à',
];

/// The extension table: two septets each, the escape first.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// How the alphabet writes a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Septets {
    /// One septet.
    One(u8),
    /// The escape, then this one.
    Escaped(u8),
}

/// The septets of a character; `None` when the alphabet lacks it.
pub(super) fn septets(sign: char) -> Option<Septets> {
    match sign {
        // Most of most texts, where septet and ASCII agree.
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' => Some(Septets::One(sign as u8)),
        '\u{1b}' => None,
        _ => {
            BASIC.iter().zip(0..).find_map(|(basic, septet)| (*basic == sign).then_some(Septets::One(septet))).or_else(
                || EXTENSION.iter().find_map(|(septet, extra)| (*extra == sign).then_some(Septets::Escaped(*septet))),
            )
        }
    }
}

/// The default alphabet has the character, without the extension.
pub(crate) fn is_basic(sign: char) -> bool {
    matches!(septets(sign), Some(Septets::One(_)))
}

/// The text of unpacked septets. As the standard asks, an escape before an unknown septet shows that septet's
/// character of the default alphabet, and an escape at the end or before another shows a space.
pub(super) fn text(septets: &[u8]) -> String {
    read(septets, basic, extension)
}

/// The text of unpacked septets by the tables given: what a septet shows, and what one after the escape.
pub(super) fn read(septets: &[u8], basic: impl Fn(u8) -> char, extension: impl Fn(u8) -> Option<char>) -> String {
    let mut text = String::with_capacity(septets.len());
    let mut rest = septets.iter().map(|septet| septet & 0x7f);
    while let Some(septet) = rest.next() {
        let sign = if septet != ESCAPE {
            basic(septet)
        } else {
            match rest.next() {
                None | Some(ESCAPE) => ' ',
                Some(second) => extension(second).unwrap_or_else(|| basic(second)),
            }
        };
        text.push(sign);
    }
    text
}

/// A septet's sign in the default alphabet.
pub(super) fn basic(septet: u8) -> char {
    BASIC.get(usize::from(septet)).copied().unwrap_or(' ')
}

/// The sign of a septet after the escape, if there is one.
pub(super) fn extension(septet: u8) -> Option<char> {
    EXTENSION.iter().find(|(extra, _)| *extra == septet).map(|(_, sign)| *sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_septet_of_both_tables_goes_there_and_back() {
        for (septet, sign) in (0u8..).zip(BASIC) {
            if septet == ESCAPE {
                assert_eq!(septets(sign), None);
                continue;
            }
            assert_eq!(septets(sign), Some(Septets::One(septet)), "{sign:?}");
            assert_eq!(text(&[septet]), sign.to_string());
        }
        for (septet, sign) in EXTENSION {
            assert_eq!(septets(sign), Some(Septets::Escaped(septet)), "{sign:?}");
            assert_eq!(text(&[ESCAPE, septet]), sign.to_string());
        }
    }

    #[test]
    fn the_tables_hold_138_different_characters() {
        let mut signs: Vec<char> = BASIC.iter().copied().chain(EXTENSION.map(|(_, sign)| sign)).collect();
        signs.sort_unstable();
        signs.dedup();
        assert_eq!(signs.len(), 138);
    }

    #[test]
    fn broken_escapes_show_what_the_standard_asks() {
        assert_eq!(text(&[b'a', ESCAPE]), "a ");
        assert_eq!(text(&[ESCAPE, ESCAPE, b'a']), " a");
        assert_eq!(text(&[ESCAPE, b'a']), "a");
    }
}
