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

/// Lower case, no leading zeros, no hyphens in a UUID.
fn plain(id: &str) -> String {
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
}
