//! The limits of parts, exactly, and that nothing is lost or torn between them.
use proptest::prelude::*;

use super::*;

fn count(text: &str, encoding: Encoding) -> u8 {
    parts(text, encoding).expect("can be sent").get()
}

fn lengths(text: &str, encoding: Encoding) -> Vec<usize> {
    split(text, encoding).expect("can be sent").iter().map(|part| part.reveal().len()).collect()
}

#[test]
fn gsm_holds_160_alone_and_153_in_company() {
    for (length, expected) in [(1, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4), (255 * 153, 255)] {
        assert_eq!(count(&"a".repeat(length), Encoding::Gsm), expected, "{length} septets");
    }
    assert_eq!(parts(&"a".repeat(255 * 153 + 1), Encoding::Gsm), Err(TextRefusal::TooLong));
}

#[test]
fn ucs2_holds_70_alone_and_67_in_company() {
    for (length, expected) in [(1, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4), (255 * 67, 255)] {
        assert_eq!(count(&"ж".repeat(length), Encoding::Ucs2), expected, "{length} units");
    }
    assert_eq!(parts(&"ж".repeat(255 * 67 + 1), Encoding::Ucs2), Err(TextRefusal::TooLong));
}

#[test]
fn extension_characters_count_twice() {
    assert_eq!(count(&"€".repeat(80), Encoding::Gsm), 1);
    assert_eq!(count(&"€".repeat(81), Encoding::Gsm), 2);
}

#[test]
fn an_escape_stays_with_its_septet() {
    // 152 septets and a euro: the escape would be the 153rd, its septet the first of the next part.
    let text = format!("{}€{}", "a".repeat(152), "b".repeat(20));
    assert_eq!(lengths(&text, Encoding::Gsm), [152, 22]);
    // So two full parts of euros hold 76 each, and 306 septets of them need three.
    assert_eq!(count(&"€".repeat(153), Encoding::Gsm), 3);
}

#[test]
fn a_surrogate_pair_stays_whole() {
    let text = format!("{}😀{}", "ж".repeat(66), "ж".repeat(10));
    assert_eq!(lengths(&text, Encoding::Ucs2), [66 * 2, 12 * 2]);
    assert_eq!(count(&"😀".repeat(35), Encoding::Ucs2), 1);
    assert_eq!(count(&"😀".repeat(66), Encoding::Ucs2), 2);
    assert_eq!(count(&"😀".repeat(67), Encoding::Ucs2), 3);
}

#[test]
fn the_cheapest_encoding_is_chosen() {
    assert_eq!(Encoding::of("Blåbærgrød til 12 € {i dag}"), Encoding::Gsm);
    assert_eq!(Encoding::of("façade"), Encoding::Ucs2, "the alphabet has Ç, not ç");
    assert_eq!(Encoding::of("„Hej“"), Encoding::Ucs2);
    assert_eq!(Encoding::of("\u{1b}"), Encoding::Ucs2, "an escape is no character");
}

#[test]
fn what_cannot_be_sent_says_why() {
    assert_eq!(parts("", Encoding::Gsm), Err(TextRefusal::Empty));
    assert_eq!(parts("ab😀", Encoding::Gsm), Err(TextRefusal::NotGsm { position: 3 }));
    assert_eq!(split("😀", Encoding::Gsm).map(|_| ()), Err(TextRefusal::NotGsm { position: 1 }));
}

#[test]
fn broken_utf_16_is_shown_not_lost() {
    assert_eq!(decode(&[0xd8, 0x3d, 0x00, b'a', 0x00], Encoding::Ucs2).reveal(), "\u{fffd}a");
}

proptest! {
    #[test]
    fn parts_reassemble_to_the_text(text in any_text(), forced in any::<bool>()) {
        let encoding = if forced { Encoding::Ucs2 } else { Encoding::of(&text) };
        let payloads = split(&text, encoding).expect("not empty, not too long");
        prop_assert_eq!(payloads.len(), usize::from(count(&text, encoding)));
        let per_unit = if encoding == Encoding::Ucs2 { 2 } else { 1 };
        let limit = if payloads.len() == 1 { encoding.single() } else { encoding.concatenated() };
        let mut whole = String::new();
        for payload in &payloads {
            prop_assert!(payload.reveal().len() <= limit * per_unit);
            // Each part reads by itself: nothing is torn.
            whole.push_str(decode(payload.reveal(), encoding).reveal());
        }
        prop_assert_eq!(whole, text);
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-ZæøåÆØÅ0-9 .,!?€{}\\[\\]~|^\n]{1,700}",
        "[a-zæøå😀🇩🇰жш€]{1,400}",
        proptest::collection::vec(any::<char>(), 1..300).prop_map(|signs| signs.into_iter().collect()),
    ]
}
