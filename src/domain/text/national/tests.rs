use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LANGUAGES: std::ops::RangeInclusive<u8> = 0..=13;

/// The shortest septets of each sign: of the locking table, else of the single shift table.
fn written(languages: Languages) -> BTreeMap<char, Vec<u8>> {
    let mut all = BTreeMap::new();
    for septet in (0..0x80).filter(|septet| *septet != ESCAPE) {
        all.entry(locking(languages.0, septet)).or_insert_with(|| vec![septet]);
    }
    for septet in (0..0x80).filter(|septet| *septet != ESCAPE) {
        if let Some(sign) = single(languages.1, septet) {
            all.entry(sign).or_insert_with(|| vec![ESCAPE, septet]);
        }
    }
    all
}

/// Different signs of a locking table; its places that hold none read as a space.
fn signs(language: u8) -> usize {
    let mut signs: Vec<_> = (0..0x80).filter(|s| *s != ESCAPE).map(|septet| locking(language, septet)).collect();
    signs.sort_unstable();
    signs.dedup();
    signs.len()
}

#[test]
fn every_table_has_as_many_signs_as_the_specification_shows() {
    // 127 less the places that hold none; a space is a sign itself.
    let counted: Vec<_> = LANGUAGES.map(signs).collect();
    assert_eq!(counted, [127, 127, 127, 127, 114, 120, 127, 120, 120, 116, 110, 102, 120, 127]);
    let shifted: Vec<_> =
        LANGUAGES.map(|language| (0..0x80).filter(|septet| single(language, *septet).is_some()).count()).collect();
    let (indic, urdu) = (24 + 26 + 8, 31 + 1);
    let own = [24, 12, 30, 15, 24, 17, 18, 19, 20];
    assert_eq!(&shifted[..4], &[10, 17, 19, 37]);
    assert_eq!(&shifted[4..13], own.map(|own| indic + own));
    assert_eq!(shifted[13], indic + urdu);
}

#[test]
fn signs_stand_where_the_specification_has_them() {
    for (language, septet, sign) in [
        (1, 0x07, 'ı'),
        (1, 0x60, 'ç'),
        (3, 0x15, '∞'),
        (3, 0x5b, 'Ã'),
        (4, 0x60, '\u{9ce}'),
        (4, 0x7f, '\u{9f1}'),
        (5, 0x7f, '\u{af1}'),
        (6, 0x00, '\u{901}'),
        (6, 0x3c, '\u{929}'),
        (6, 0x7f, '\u{97f}'),
        (7, 0x24, '\u{ca1}'),
        (7, 0x00, ' '),
        (8, 0x7f, '\u{d79}'),
        (9, 0x60, '\u{b56}'),
        (10, 0x7b, '\u{a70}'),
        (11, 0x2f, '\u{ba8}'),
        (12, 0x60, '\u{c55}'),
        (13, 0x00, '\u{627}'),
        (13, 0x0f, '\u{67c}'),
        (13, 0x1a, '\u{62f}'),
        (13, 0x1f, '\u{68a}'),
        (13, 0x2f, '\u{698}'),
        (13, 0x4f, '\u{646}'),
        (13, 0x5f, '\u{657}'),
        (13, 0x60, '\u{654}'),
        (13, 0x7b, '\u{655}'),
        (13, 0x7f, '\u{670}'),
    ] {
        assert_eq!(locking(language, septet), sign, "{language} {septet:#x}");
    }
    for (language, septet, sign) in [
        (1, 0x73, 'ş'),
        (2, 0x09, 'ç'),
        (2, 0x75, 'ú'),
        (3, 0x7f, 'â'),
        (4, 0x19, '\u{9e6}'),
        (4, 0x34, '\u{9fa}'),
        (5, 0x19, '\u{964}'),
        (5, 0x25, '\u{aef}'),
        (6, 0x3a, '\u{971}'),
        (7, 0x2a, '\u{cf2}'),
        (8, 0x34, '\u{d7f}'),
        (9, 0x2c, '\u{b71}'),
        (10, 0x2d, '\u{a75}'),
        (11, 0x24, '\u{bee}'),
        (11, 0x2e, '\u{bfa}'),
        (12, 0x22, '\u{c6c}'),
        (12, 0x32, '\u{c7f}'),
        (13, 0x3b, '\u{6cd}'),
        (13, 0x3f, '\u{6d4}'),
        (13, 0x65, '€'),
        (4, 0x5a, 'Z'),
        (4, 0x17, '#'),
        (4, 0x28, '{'),
    ] {
        assert_eq!(single(language, septet), Some(sign), "{language} {septet:#x}");
    }
}

#[test]
fn what_a_shift_table_lacks_is_read_in_the_locking_one() {
    assert_eq!(text(&[ESCAPE, 0x60], Languages(1, 2)), "ç");
    assert_eq!(text(&[ESCAPE, 0x60], Languages(0, 1)), "¿");
    assert_eq!(text(&[ESCAPE, 0x0d], Languages(6, 6)), "\r");
    assert_eq!(text(&[b'a', ESCAPE], Languages(6, 6)), "a ");
}

proptest! {
    #[test]
    fn a_text_in_any_language_goes_there_and_back(
        lock in LANGUAGES, shift in LANGUAGES, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..160),
    ) {
        let languages = Languages(lock, shift);
        let all: Vec<_> = written(languages).into_iter().collect();
        let picked: Vec<_> = picks.iter().map(|pick| pick.get(&all)).collect();
        let septets: Vec<u8> = picked.iter().flat_map(|(_, septets)| septets.iter().copied()).collect();
        prop_assert_eq!(text(&septets, languages), picked.iter().map(|(sign, _)| *sign).collect::<String>());
    }

    #[test]
    fn an_unknown_language_is_the_default(octets in prop::collection::vec(any::<u8>(), 0..160), lock in 14_u8.., shift in 14_u8..) {
        prop_assert_eq!(text(&octets, Languages(lock, shift)), gsm::text(&octets));
        prop_assert_eq!(text(&octets, Languages::default()), gsm::text(&octets));
    }

    #[test]
    fn no_octets_are_too_odd(octets in prop::collection::vec(any::<u8>(), 0..160), lock: u8, shift: u8) {
        prop_assert!(text(&octets, Languages(lock, shift)).chars().count() <= octets.len());
    }
}
