//! One spelling for the upstream's message ids. What an upstream answers to a submit and what it later writes into the
//! receipt are often not the same text: other case, leading zeros lost or added, a UUID without its hyphens, the same
//! number in hexadecimal here and in decimal there. Ids are brought to one form before they are stored or looked up.
use crate::config::connector::IdFormat;

/// The one form of an id found in a submit's answer.
#[must_use]
pub(super) fn from_answer(id: &str, format: IdFormat) -> String {
    match format {
        IdFormat::Same | IdFormat::DecimalThenHex => plain(id),
        IdFormat::HexThenDecimal => number(id, 16).unwrap_or_else(|| plain(id)),
    }
}

/// The one form of an id found in a receipt.
#[must_use]
pub(super) fn from_receipt(id: &str, format: IdFormat) -> String {
    match format {
        IdFormat::Same | IdFormat::HexThenDecimal => plain(id),
        IdFormat::DecimalThenHex => number(id, 16).unwrap_or_else(|| plain(id)),
    }
}

/// Lower case, no leading zeros, no hyphens in a UUID. What is left once may be shorter the next time, as where blanks or a whole UUID come
/// after a zero: a form is its own.
fn plain(id: &str) -> String {
    let mut form = shorter(id);
    loop {
        let next = shorter(&form);
        if next == form {
            return form;
        }
        form = next;
    }
}

fn shorter(id: &str) -> String {
    let mut id = id.trim().to_ascii_lowercase();
    let bare: String = id.chars().filter(|c| *c != '-').collect();
    if bare.len() == 32 && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
        id = bare;
    }
    match id.trim_start_matches('0') {
        "" if !id.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    }
}

/// The number in decimal.
fn number(id: &str, radix: u32) -> Option<String> {
    let id = id.trim();
    let digits = id.strip_prefix("0x").or_else(|| id.strip_prefix("0X")).unwrap_or(id);
    // from_str_radix would take a sign.
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(digits, radix).ok().map(|number| number.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn meet(format: IdFormat, answer: &str, receipt: &str) {
        assert_eq!(from_answer(answer, format), from_receipt(receipt, format), "{answer} and {receipt}");
    }

    #[test]
    fn the_same_id_in_another_spelling_meets() {
        meet(IdFormat::Same, "ab12", "AB12");
        meet(IdFormat::Same, "0000012345", "12345");
        meet(IdFormat::Same, "12345", "0000012345");
        meet(IdFormat::Same, "0190A6E0-5B1C-7C3D-8E4F-001122334455", "0190a6e05b1c7c3d8e4f001122334455");
        meet(IdFormat::Same, "000", "0");
        meet(IdFormat::Same, " 77 ", "77");
        meet(IdFormat::Same, "0\t\0", "\0");
        meet(IdFormat::Same, "0a190a6e0-5b1c-7c3d-8e4f-001122334455", "a190a6e05b1c7c3d8e4f001122334455");
    }

    #[test]
    fn hexadecimal_and_decimal_meet() {
        meet(IdFormat::HexThenDecimal, "75BCD15", "123456789");
        meet(IdFormat::HexThenDecimal, "075bcd15", "00123456789");
        meet(IdFormat::HexThenDecimal, "0x75BCD15", "123456789");
        meet(IdFormat::DecimalThenHex, "123456789", "075BCD15");
        meet(IdFormat::DecimalThenHex, "0123456789", "75bcd15");
    }

    #[test]
    fn an_id_that_is_no_number_is_compared_as_text() {
        meet(IdFormat::HexThenDecimal, "msg-xyz", "MSG-XYZ");
        meet(IdFormat::HexThenDecimal, "+12", "+12");
    }

    #[test]
    fn different_ids_stay_different() {
        for format in [IdFormat::Same, IdFormat::HexThenDecimal, IdFormat::DecimalThenHex] {
            assert_ne!(from_answer("1234", format), from_receipt("1235", format));
        }
        assert_ne!(from_answer("10", IdFormat::HexThenDecimal), from_receipt("10", IdFormat::HexThenDecimal));
        assert_ne!(from_answer("100", IdFormat::Same), from_receipt("1", IdFormat::Same));
    }

    const FORMATS: [IdFormat; 3] = [IdFormat::Same, IdFormat::HexThenDecimal, IdFormat::DecimalThenHex];

    proptest! {
        #[test]
        fn any_number_meets_itself_in_every_spelling(number: u64, zeros in 0_usize..12, upper: bool) {
            let hex = if upper { format!("{number:X}") } else { format!("{number:x}") };
            let (padded, hex) = (format!("{}{number}", "0".repeat(zeros)), format!("{}{hex}", "0".repeat(zeros)));
            let plain = number.to_string();
            prop_assert_eq!(from_answer(&padded, IdFormat::Same), from_receipt(&plain, IdFormat::Same));
            prop_assert_eq!(from_answer(&hex, IdFormat::HexThenDecimal), from_receipt(&padded, IdFormat::HexThenDecimal));
            prop_assert_eq!(from_answer(&padded, IdFormat::DecimalThenHex), from_receipt(&hex, IdFormat::DecimalThenHex));
        }

        #[test]
        fn different_numbers_never_meet(one: u64, other: u64) {
            prop_assume!(one != other);
            let (plain, hex) = (other.to_string(), format!("{other:x}"));
            prop_assert_ne!(from_answer(&one.to_string(), IdFormat::Same), from_receipt(&plain, IdFormat::Same));
            prop_assert_ne!(from_answer(&format!("{one:x}"), IdFormat::HexThenDecimal), from_receipt(&plain, IdFormat::HexThenDecimal));
            prop_assert_ne!(from_answer(&one.to_string(), IdFormat::DecimalThenHex), from_receipt(&hex, IdFormat::DecimalThenHex));
        }

        #[test]
        fn any_uuid_meets_itself_with_and_without_hyphens(uuid: u128, upper: bool) {
            let uuid = uuid::Uuid::from_u128(uuid);
            let (with, without) = (uuid.hyphenated().to_string(), uuid.simple().to_string());
            let with = if upper { with.to_ascii_uppercase() } else { with };
            prop_assert_eq!(from_answer(&with, IdFormat::Same), from_receipt(&without, IdFormat::Same));
        }

        #[test]
        fn whatever_an_upstream_writes_has_one_form_and_that_is_its_own(id in ".{0,70}") {
            for format in FORMATS {
                let _ = (from_answer(&id, format), from_receipt(&id, format));
            }
            let form = from_answer(&id, IdFormat::Same);
            prop_assert_eq!(from_answer(&form, IdFormat::Same), form);
        }
    }
}
