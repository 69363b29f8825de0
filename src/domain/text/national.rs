//! The national language tables of 3GPP TS 23.038, annex A: what septets mean where a header names a language. A locking table stands in
//! for the default alphabet, a single shift table for its extension. Only read: what is sent is in the default alphabet.
//!
//! Nine Indic tables share one layout, as their scripts do in Unicode: a place holds the same sign of each script's block. What a
//! script lacks there, and places that nothing is defined for, read as a space. Misprints of the specification (a digit of Tamil and two
//! of Telugu, a letter of Kannada) are read as what the sign beside them follows from.
use serde::{Deserialize, Serialize};

use super::gsm::{self, ESCAPE};

/// The languages that a header names for one SMS, by their numbers in the specification: of the locking table, and of the single shift
/// table. 0 and whatever is not known: the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Languages(pub u8, pub u8);

impl Languages {
    /// The default alphabet and its extension.
    #[must_use]
    pub fn are_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Turkish, locking: what differs from the default alphabet.
const TURKISH: &[(u8, char)] =
    &[(0x04, '€'), (0x07, 'ı'), (0x0b, 'Ğ'), (0x0c, 'ğ'), (0x1c, 'Ş'), (0x1d, 'ş'), (0x40, 'İ'), (0x60, 'ç')];
/// Portuguese, locking.
const PORTUGUESE: &[(u8, char)] = &[
    (0x04, 'ê'),
    (0x06, 'ú'),
    (0x07, 'í'),
    (0x08, 'ó'),
    (0x09, 'ç'),
    (0x0b, 'Ô'),
    (0x0c, 'ô'),
    (0x0e, 'Á'),
    (0x0f, 'á'),
    (0x12, 'ª'),
    (0x13, 'Ç'),
    (0x14, 'À'),
    (0x15, '∞'),
    (0x16, '^'),
    (0x17, '\\'),
    (0x18, '€'),
    (0x19, 'Ó'),
    (0x1a, '|'),
    (0x1c, 'Â'),
    (0x1d, 'â'),
    (0x1e, 'Ê'),
    (0x24, 'º'),
    (0x40, 'Í'),
    (0x5b, 'Ã'),
    (0x5c, 'Õ'),
    (0x5d, 'Ú'),
    (0x60, '~'),
    (0x7b, 'ã'),
    (0x7c, 'õ'),
    (0x7d, '`'),
];
/// Single shift: what there is beside the default extension.
const TURKISH_SHIFT: &[(u8, char)] =
    &[(0x47, 'Ğ'), (0x49, 'İ'), (0x53, 'Ş'), (0x63, 'ç'), (0x67, 'ğ'), (0x69, 'ı'), (0x73, 'ş')];
const SPANISH_SHIFT: &[(u8, char)] = &[
    (0x09, 'ç'),
    (0x41, 'Á'),
    (0x49, 'Í'),
    (0x4f, 'Ó'),
    (0x55, 'Ú'),
    (0x61, 'á'),
    (0x69, 'í'),
    (0x6f, 'ó'),
    (0x75, 'ú'),
];
const PORTUGUESE_SHIFT: &[(u8, char)] = &[
    (0x05, 'ê'),
    (0x09, 'ç'),
    (0x0b, 'Ô'),
    (0x0c, 'ô'),
    (0x0e, 'Á'),
    (0x0f, 'á'),
    (0x12, 'Φ'),
    (0x13, 'Γ'),
    (0x15, 'Ω'),
    (0x16, 'Π'),
    (0x17, 'Ψ'),
    (0x18, 'Σ'),
    (0x19, 'Θ'),
    (0x1f, 'Ê'),
    (0x41, 'À'),
    (0x49, 'Í'),
    (0x4f, 'Ó'),
    (0x55, 'Ú'),
    (0x5b, 'Ã'),
    (0x5c, 'Õ'),
    (0x61, 'Â'),
    (0x69, 'í'),
    (0x6f, 'ó'),
    (0x75, 'ú'),
    (0x7b, 'ã'),
    (0x7c, 'õ'),
    (0x7f, 'â'),
];

/// The layout of the Indic locking tables: ASCII below 0x80, else the place in the script's block above 0x80. The last of the alphabet and
/// the five at the end are each script's own.
const INDIC: [u8; 96] = [
    0x81, 0x82, 0x83, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, b'\n', 0x8c, 0x8d, b'\r', 0x8e, 0x8f, //
    0x90, 0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, ESCAPE, 0x9b, 0x9c, 0x9d, 0x9e, //
    b' ', b'!', 0x9f, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, b')', b'(', 0xa5, 0xa6, b',', 0xa7, b'.', 0xa8, //
    b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'7', b'8', b'9', b':', b';', 0xa9, 0xaa, 0xab, b'?', //
    0xac, 0xad, 0xae, 0xaf, 0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xbc, 0xbd, //
    0xbe, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd,
];

/// An Indic script.
struct Script {
    /// Where its block begins.
    block: u32,
    /// What it lacks of the layout.
    absent: &'static [u8],
    /// What stands at 0x60, and at 0x7b to 0x7f.
    last: [u8; 6],
    /// What is in the free places of its single shift table ([`free`]). 0: nothing; above 0x80: a
    /// place in the block of Devanagari, where the dandas of all of them stand.
    shift: &'static [u8],
}

/// Languages 4 to 12: Bengali, Gujarati, Hindi, Kannada, Malayalam, Oriya, Punjabi, Tamil, Telugu.
const SCRIPTS: [Script; 9] = [
    Script {
        block: 0x0980,
        absent: &[0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x33, 0x34, 0x35, 0x45, 0x46, 0x49, 0x4a],
        last: [0x4e, 0x57, 0x5c, 0x5d, 0x70, 0x71],
        shift: &[
            0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x72, 0x73, 0x74,
            0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
        ],
    },
    Script {
        block: 0x0a80,
        absent: &[0x0e, 0x12, 0x29, 0x31, 0x34, 0x46, 0x4a],
        last: [0x50, 0x60, 0x61, 0x62, 0x63, 0x71],
        shift: &[0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
    },
    Script {
        block: 0x0900,
        absent: &[],
        last: [0x50, 0x72, 0x7b, 0x7c, 0x7e, 0x7f],
        shift: &[
            0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x51, 0x52, 0x53, 0x54, 0x58, 0x59,
            0x5a, 0x5b, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x62, 0x63, 0x70, 0x71,
        ],
    },
    Script {
        block: 0x0c80,
        absent: &[0x01, 0x0d, 0x11, 0x29, 0x34, 0x45, 0x49],
        last: [0x55, 0x56, 0x60, 0x61, 0x62, 0x63],
        shift: &[0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x5e, 0x71, 0x72],
    },
    Script {
        block: 0x0d00,
        absent: &[0x01, 0x0d, 0x11, 0x29, 0x3c, 0x45, 0x49],
        last: [0x57, 0x60, 0x61, 0x62, 0x63, 0x79],
        shift: &[
            0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75,
            0x7a, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f,
        ],
    },
    Script {
        block: 0x0b00,
        absent: &[0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x34, 0x45, 0x46, 0x49, 0x4a],
        last: [0x56, 0x57, 0x60, 0x61, 0x62, 0x63],
        shift: &[0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x5c, 0x5d, 0x5f, 0x70, 0x71],
    },
    Script {
        block: 0x0a00,
        absent: &[0x0b, 0x0c, 0x0d, 0x0e, 0x11, 0x12, 0x29, 0x31, 0x34, 0x37, 0x3d, 0x43, 0x44, 0x45, 0x46, 0x49, 0x4a],
        last: [0x51, 0x70, 0x71, 0x72, 0x73, 0x74],
        shift: &[
            0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x59, 0x5a, 0x5b, 0x5c, 0x5e, 0x75,
        ],
    },
    Script {
        block: 0x0b80,
        absent: &[
            0x01, 0x0b, 0x0c, 0x0d, 0x11, 0x16, 0x17, 0x18, 0x1b, 0x1d, 0x20, 0x21, 0x22, 0x25, 0x26, 0x27, 0x2b, 0x2c,
            0x2d, 0x3c, 0x3d, 0x43, 0x44, 0x45, 0x49,
        ],
        last: [0x50, 0x57, 0x70, 0x71, 0x72, 0x79],
        shift: &[
            0xe4, 0xe5, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
            0x7a,
        ],
    },
    Script {
        block: 0x0c00,
        absent: &[0x0d, 0x11, 0x29, 0x34, 0x3c, 0x45, 0x49],
        last: [0x55, 0x56, 0x60, 0x61, 0x62, 0x63],
        shift: &[
            0, 0, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f, 0x58, 0x59, 0x78, 0x79, 0x7a, 0x7b, 0x7c,
            0x7d, 0x7e, 0x7f,
        ],
    },
];

/// Urdu, language 13: its letters in the places of the Indic layout, in their order, and the last six.
const URDU: [u16; 80] = [
    0x0627, 0x0622, 0x0628, 0x067b, 0x0680, 0x067e, 0x06a6, 0x062a, 0x06c2, 0x067f, 0x0679, 0x067d, 0x067a, 0x067c,
    0x062b, 0x062c, //
    0x0681, 0x0684, 0x0683, 0x0685, 0x0686, 0x0687, 0x062d, 0x062e, 0x062f, 0x068c, 0x0688, 0x0689, 0x068a, 0x068f,
    0x068d, 0x0630, //
    0x0631, 0x0691, 0x0693, 0x0699, 0x0632, 0x0696, 0x0698, 0x069a, 0x0633, 0x0634, 0x0635, 0x0636, 0x0637, 0x0638,
    0x0639, 0x0641, //
    0x0642, 0x06a9, 0x06aa, 0x06ab, 0x06af, 0x06b3, 0x06b1, 0x0644, 0x0645, 0x0646, 0x06ba, 0x06bb, 0x06bc, 0x0648,
    0x06c4, 0x06d5, //
    0x06c1, 0x06be, 0x0621, 0x06cc, 0x06d0, 0x06d2, 0x064d, 0x0650, 0x064f, 0x0657, 0x0654, 0x0655, 0x0651, 0x0653,
    0x0656, 0x0670, //
];
/// What is in the free places of Urdu's single shift table.
const URDU_SHIFT: [u16; 31] = [
    0x0600, 0x0601, 0x06f0, 0x06f1, 0x06f2, 0x06f3, 0x06f4, 0x06f5, 0x06f6, 0x06f7, 0x06f8, 0x06f9, 0x060c,
    0x060d, //
    0x060e, 0x060f, 0x0610, 0x0611, 0x0612, 0x0613, 0x0614, 0x061b, 0x061f, 0x0640, 0x0652, 0x0658, 0x066b,
    0x066c, //
    0x0672, 0x0673, 0x06cd,
];
/// What follows the brackets in Urdu's single shift table.
const URDU_STOP: char = '\u{6d4}';

/// What all Indic single shift tables and Urdu's begin with.
const SHIFT_BEGIN: [char; 25] = [
    '@', '£', '$', '¥', '¿', '"', '¤', '%', '&', '\'', '\u{c}', '*', '+', ' ', '-', '/', '<', '=', '>', '¡', '^', '¡',
    '_', '#', '*',
];

/// The place of a septet among those that each Indic script fills in its single shift table itself.
fn free(septet: u8) -> Option<usize> {
    let place = match septet {
        0x19 | 0x1a => septet - 0x19,
        0x1c..=0x27 => septet - 0x1c + 2,
        0x2a..=0x2e => septet - 0x2a + 14,
        0x30..=0x3b => septet - 0x30 + 19,
        _ => return None,
    };
    Some(usize::from(place))
}

fn of(pairs: &[(u8, char)], septet: u8) -> Option<char> {
    pairs.iter().find(|(other, _)| *other == septet).map(|(_, sign)| *sign)
}

/// A language's Indic script.
fn script(language: u8) -> Option<&'static Script> {
    SCRIPTS.get(usize::from(language.checked_sub(4)?))
}

/// Where a script's own sign stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At this place of its block.
    OfBlock(u8),
    /// Among its last six, from 0.
    Last(usize),
}

/// The sign of a septet in the Indic layout; `own` gives a script's.
fn indic(septet: u8, own: impl Fn(Place) -> Option<char>) -> char {
    let sign = match (INDIC.get(usize::from(septet)), septet) {
        (Some(place @ 0x80..), _) => own(Place::OfBlock(place & 0x7f)),
        (Some(ascii), _) => Some(char::from(*ascii)),
        (None, 0x60) => own(Place::Last(0)),
        (None, 0x7b..) => own(Place::Last(usize::from(septet.saturating_sub(0x7a)))),
        (None, letter) => Some(char::from(letter)),
    };
    sign.unwrap_or(' ')
}

/// Urdu's sign in a place of the layout: its letters are in no block's order, so they are counted.
fn urdu(place: Place) -> Option<char> {
    let nth = match place {
        Place::OfBlock(place) => INDIC.iter().filter(|other| (0x80..place | 0x80).contains(*other)).count(),
        Place::Last(nth) => LETTERS + nth,
    };
    char::from_u32((*URDU.get(nth)?).into())
}

/// Places of the Indic layout that hold a script's own sign.
const LETTERS: usize = 74;

/// A septet's sign in a language's locking table.
fn locking(language: u8, septet: u8) -> char {
    match language {
        1 => of(TURKISH, septet).unwrap_or_else(|| gsm::basic(septet)),
        3 => of(PORTUGUESE, septet).unwrap_or_else(|| gsm::basic(septet)),
        13 => indic(septet, urdu),
        _ => match script(language) {
            None => gsm::basic(septet),
            Some(script) => indic(septet, |place| match place {
                Place::OfBlock(place) if script.absent.contains(&place) => None,
                Place::OfBlock(place) => char::from_u32(script.block + u32::from(place)),
                Place::Last(nth) => char::from_u32(script.block + u32::from(*script.last.get(nth)?)),
            }),
        },
    }
}

/// The sign of a septet after the escape in a language's single shift table, if there is one.
fn single(language: u8, septet: u8) -> Option<char> {
    let latin = |pairs| of(pairs, septet).or_else(|| gsm::extension(septet));
    let own = match language {
        1 => return latin(TURKISH_SHIFT),
        2 => return latin(SPANISH_SHIFT),
        3 => return latin(PORTUGUESE_SHIFT),
        13 if septet == 0x3f => Some(URDU_STOP),
        13 => free(septet).and_then(|place| char::from_u32((*URDU_SHIFT.get(place)?).into())),
        _ => match script(language) {
            None => return gsm::extension(septet),
            Some(script) => free(septet).and_then(|place| match *script.shift.get(place)? {
                0 => None,
                common @ 0x80.. => char::from_u32(0x0900 + u32::from(common & 0x7f)),
                own => char::from_u32(script.block + u32::from(own)),
            }),
        },
    };
    own.or_else(|| match septet {
        // Another line end by another name: the locking table's is shown.
        0x0d => None,
        b'A'..=b'Z' => Some(char::from(septet)),
        _ => SHIFT_BEGIN.get(usize::from(septet)).copied().or_else(|| gsm::extension(septet)),
    })
}

/// The text of unpacked septets in these languages. Broken escapes read as in the default alphabet; one before a septet that the single
/// shift table lacks shows that septet of the locking table.
pub(super) fn text(septets: &[u8], Languages(lock, shift): Languages) -> String {
    gsm::read(septets, |septet| locking(lock, septet), |septet| single(shift, septet))
}

#[cfg(test)]
mod tests;
