//! An SMS that came in for a tenant, as it is sealed. The names are short because they are stored with every message. `whole` puts
//! the parts of a longer one together.
mod whole;

use serde::{Deserialize, Serialize};

use super::Personal;
use super::text::{Encoding, decode, decode_national};

pub use super::text::Languages;
pub use whole::Received;

/// One SMS from a handset, or one part of a longer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// Who wrote it, as the upstream says.
    #[serde(rename = "f")]
    pub from: Personal<String>,
    /// The number that was written to.
    #[serde(rename = "t")]
    pub to: Personal<String>,
    /// What was written.
    #[serde(flatten)]
    pub content: Content,
    /// Which part of a longer text it is. Parts may come in any order and by several connectors, which cannot open what they
    /// have sealed: so they are stored as they come, and put together where they are opened.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// SMPP data coding of a part, whose octets are kept as they came: handsets cut where it suits them, in the middle of a
    /// character too, so they are read together.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub coding: Option<u8>,
    /// The languages that a part's header names.
    #[serde(rename = "l", default, skip_serializing_if = "Languages::are_default")]
    pub languages: Languages,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Text.
    #[serde(rename = "x")]
    Text(Personal<String>),
    /// Octets that are no text, or in an alphabet that is not known.
    #[serde(rename = "o")]
    Octets(Personal<Vec<u8>>),
}

/// Which part of a longer text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// What the parts of one text have in common, besides who wrote to whom.
    #[serde(rename = "r")]
    pub reference: u16,
    /// This part, from 1.
    #[serde(rename = "n")]
    pub number: u8,
    /// Of so many.
    #[serde(rename = "c")]
    pub count: u8,
}

impl Content {
    /// Reads octets by their data coding (GSM 03.38; septets unpacked, one an octet), and by the languages that their header names.
    #[must_use]
    pub fn read(octets: &[u8], coding: u8, languages: Languages) -> Self {
        match coding {
            0x01 | 0x03 => Self::Text(Personal::new(octets.iter().copied().map(char::from).collect())),
            // By the general group and the class group: the alphabet stands in bits 2 and 3.
            0x00..0x40 | 0xF0.. => match (coding >> 2) & 0b11 {
                0b00 if coding & 0b11 == 0 || coding >= 0x10 => Self::Text(decode_national(octets, languages)),
                0b10 if coding < 0xF0 => Self::Text(decode(octets, Encoding::Ucs2)),
                _ => Self::Octets(Personal::new(octets.to_vec())),
            },
            _ => Self::Octets(Personal::new(octets.to_vec())),
        }
    }

    /// The text; `None` for octets.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.reveal()),
            Self::Octets(_) => None,
        }
    }
}

/// What a user data header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// Which part of a longer text it is.
    pub segment: Option<Segment>,
    /// In which languages' tables the text is written (3GPP TS 23.038).
    pub languages: Languages,
}

/// Splits a user data header off: what it tells, and what follows it. A header that cannot be read is left where it is; elements
/// other than concatenation and languages are passed over.
#[must_use]
pub fn split_header(octets: &[u8]) -> (Header, &[u8]) {
    let mut told = Header::default();
    let Some((length, rest)) = octets.split_first() else { return (told, octets) };
    let Some((mut header, content)) = rest.split_at_checked(usize::from(*length)) else { return (told, octets) };
    while let [element, length, rest @ ..] = header {
        let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { break };
        match (element, value) {
            (0x00, [reference, count, number]) => {
                told.segment = Segment::checked(u16::from(*reference), *number, *count);
            }
            (0x08, [high, low, count, number]) => {
                told.segment = Segment::checked(u16::from_be_bytes([*high, *low]), *number, *count);
            }
            (0x24, [single]) => told.languages.1 = *single,
            (0x25, [locking]) => told.languages.0 = *locking,
            _ => {}
        }
        header = rest;
    }
    (told, content)
}

impl Segment {
    /// A part that can be: of several, and one of them.
    #[must_use]
    pub fn checked(reference: u16, number: u8, count: u8) -> Option<Self> {
        (count > 1 && (1..=count).contains(&number)).then_some(Self { reference, number, count })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_alphabet_follows_from_the_coding() {
        let read =
            |octets: &[u8], coding| Content::read(octets, coding, Languages::default()).text().map(str::to_owned);
        assert_eq!(read(&[0x48, 0x65, 0x6A, 0x0E], 0x00).as_deref(), Some("Hejå".replace('å', "Å").as_str()));
        assert_eq!(read(b"Hej", 0x01).as_deref(), Some("Hej"));
        assert_eq!(read(b"Hej \xE5", 0x03).as_deref(), Some("Hej å"));
        assert_eq!(read(&[0x00, 0x48, 0xD8, 0x3D, 0xDE, 0x00], 0x08).as_deref(), Some("H😀"));
        assert_eq!(read(b"Hej", 0x10).as_deref(), Some("Hej"), "with a message class");
        assert_eq!(read(b"Hej", 0xF0).as_deref(), Some("Hej"), "flash");
        assert_eq!(read(&[0, 0x48], 0x18).as_deref(), Some("H"), "with a message class");
        for binary in [0x02, 0x04, 0x06, 0xF5, 0x0D, 0xC0] {
            assert_eq!(read(b"Hej", binary), None, "{binary:#x}");
        }
    }

    #[test]
    fn the_header_is_split_off_with_other_elements_in_it() {
        let split = |octets: &[u8]| {
            let (header, rest) = split_header(octets);
            (header.segment, rest.to_vec())
        };
        let segment = |reference, number, count| Some(Segment { reference, number, count });
        assert_eq!(split(&[5, 0, 3, 7, 2, 1, b'H']), (segment(7, 1, 2), b"H".to_vec()));
        assert_eq!(split(&[6, 8, 4, 1, 7, 3, 3, b'H']), (segment(0x107, 3, 3), b"H".to_vec()));
        assert_eq!(split(&[9, 5, 2, 1, 2, 0, 3, 7, 2, 2, b'H']), (segment(7, 2, 2), b"H".to_vec()));
        assert_eq!(split(&[3, 0x24, 1, 1, b'H']), (None, b"H".to_vec()), "a language shift");
        assert_eq!(split(&[5, 0, 3, 7, 2, 3, b'H']), (None, b"H".to_vec()), "part 3 of 2");
        // Ports, both languages, something that nobody knows, and at last what matters.
        let crowded = [22, 5, 4, 0x23, 0xF4, 0, 0, 0x24, 1, 1, 0x25, 1, 2, 0x70, 1, 9, 8, 4, 1, 7, 2, 2, 0, b'H'];
        assert_eq!(split(&crowded[..23]), (segment(0x107, 2, 2), vec![]));
        assert_eq!(split(&crowded), (segment(0x107, 2, 2), b"H".to_vec()), "an octet too many in the header");
        assert_eq!(split(&[8, 0, 3, 7, 2, 1, 0x24, 9, 1, b'H']), (segment(7, 1, 2), b"H".to_vec()), "cut short");
        assert_eq!(split(&[9, 0, 3]), (None, [9, 0, 3].to_vec()), "longer than there is");
        assert_eq!(split(&[]), (None, vec![]));
    }

    #[test]
    fn a_text_is_read_in_the_languages_that_its_header_names() {
        let read = |octets: &[u8]| {
            let (header, rest) = split_header(octets);
            Content::read(rest, 0, header.languages).text().map(str::to_owned)
        };
        let text = [0x1c, 0x07, 0x1b, 0x73, 0x1b, 0x65];
        assert_eq!(read(&[&[6, 0x24, 1, 1, 0x25, 1, 1][..], &text].concat()).as_deref(), Some("Şış€"));
        assert_eq!(read(&[&[3, 0x24, 1, 1][..], &text].concat()).as_deref(), Some("Æìş€"));
        assert_eq!(read(&[&[3, 0x25, 1, 1][..], &text].concat()).as_deref(), Some("Şıs€"));
        assert_eq!(read(&[&[3, 0x25, 1, 99][..], &text].concat()).as_deref(), Some("Æìs€"), "a language nobody knows");
        assert_eq!(read(&[&[4, 0x25, 2, 1, 1][..], &text].concat()).as_deref(), Some("Æìs€"), "no language at all");
    }

    #[test]
    fn the_only_part_of_one_is_a_whole() {
        let (header, rest) = split_header(&[5, 0, 3, 7, 1, 1, b'S', b'T', b'O', b'P']);
        assert_eq!((header.segment, rest), (None, &b"STOP"[..]));
    }

    #[test]
    fn it_goes_there_and_back_and_debug_shows_nothing() {
        let inbound = Inbound {
            from: Personal::new("4520123456".into()),
            to: Personal::new("1204".into()),
            content: Content::Text(Personal::new("hemmelig".into())),
            segment: Segment::checked(7, 1, 2),
            coding: Some(0),
            languages: Languages(1, 13),
        };
        let bytes = super::super::content::to_bytes(&inbound).expect("bytes");
        assert_eq!(super::super::content::from_bytes::<Inbound>(bytes.reveal()).expect("an inbound"), inbound);
        let shown = format!("{inbound:?}");
        assert!(!shown.contains("hemmelig") && !shown.contains("20123456"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_header_takes_more_than_itself(octets in prop::collection::vec(any::<u8>(), 0..200), coding: u8) {
            let (Header { segment, languages }, content) = split_header(&octets);
            prop_assert!(octets.ends_with(content));
            if let Some(Segment { number, count, .. }) = segment {
                prop_assert!(count > 1 && (1..=count).contains(&number));
            }
            let _ = Content::read(content, coding, languages);
        }

        #[test]
        fn concatenation_is_found_among_other_elements(
            before in prop::collection::vec((1_u8..0x80, prop::collection::vec(any::<u8>(), 0..6)), 0..4),
            reference: u16, wide: bool, count in 2_u8.., number in 1_u8.., text in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assume!(number <= count && before.iter().all(|(element, _)| *element != 0x08));
            let mut header = Vec::new();
            for (element, value) in &before {
                header.extend([*element, value.len() as u8]);
                header.extend(value);
            }
            let [high, low] = reference.to_be_bytes();
            if wide { header.extend([8, 4, high, low, count, number]) } else { header.extend([0, 3, low, count, number]) }
            let octets = [&[header.len() as u8][..], &header, &text].concat();
            let reference = if wide { reference } else { low.into() };
            let (header, rest) = split_header(&octets);
            prop_assert_eq!((header.segment, rest), (Some(Segment { reference, number, count }), &text[..]));
        }
    }
}
