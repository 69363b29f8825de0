//! What is said to each recipient: the text with its places filled, in the letters and parts that were asked for.
use super::{EncodingChoice, SendRequest, TooLong};
use crate::api::problem::Problem;
use crate::domain::template::{Parameters, Template};
use crate::domain::{Encoding, Parts, Personal, text};
use crate::store::credentials::Account;

/// Characters of a filled text that are looked at for each part: it has 160 at most, and marks that stand by themselves may
/// go when letters are transliterated.
const CHARACTERS: usize = 4 * 160;

/// A text as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Worded {
    pub(super) text: Personal<String>,
    pub(super) encoding: Encoding,
    pub(super) parts: Parts,
}

/// Why a text cannot be sent.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) detail: String,
}

/// The words of a call.
pub(super) enum Wording<'a> {
    /// The same for everybody.
    Same(Worded),
    /// With places that each recipient fills.
    Each(Template<'a>, Style),
}

/// How a text is made fit.
#[derive(Clone, Copy)]
pub(super) struct Style {
    encoding: EncodingChoice,
    transliterate: bool,
    too_long: TooLong,
    /// The most parts.
    most: u8,
}

impl<'a> Wording<'a> {
    /// Reads a call's text; one that is the same for everybody is worded once.
    pub(super) fn of(request: &'a SendRequest, account: &Account) -> Result<Self, Problem> {
        let most = most_parts(request, account)?;
        let (encoding, transliterate, too_long) = (request.encoding, request.transliterate, request.too_long);
        let style = Style { encoding, transliterate, too_long, most };
        if request.to.as_slice().iter().any(|wanted| wanted.parameters.is_some()) {
            return Ok(Self::Each(Template::read(request.text.reveal()), style));
        }
        let worded = style.word(request.text.clone());
        worded.map(Self::Same).map_err(|refusal| Problem::Invalid {
            path: "text",
            code: refusal.code,
            detail: refusal.detail,
        })
    }

    /// The text of one recipient.
    pub(super) fn to(&self, parameters: Option<&Parameters>) -> Result<Worded, Refusal> {
        match self {
            Self::Same(worded) => Ok(worded.clone()),
            Self::Each(template, style) => {
                let none = Parameters::new();
                let most = usize::from(style.most) * CHARACTERS;
                let filled = template.fill(parameters.unwrap_or(&none), most);
                let (text, whole) =
                    filled.map_err(|refusal| Refusal { code: refusal.code(), detail: refusal.to_string() })?;
                if !whole && style.too_long == TooLong::Refuse {
                    return Err(style.too_many_parts());
                }
                style.word(text)
            }
        }
    }
}

fn most_parts(request: &SendRequest, account: &Account) -> Result<u8, Problem> {
    let most = request.max_parts.unwrap_or(account.max_parts);
    if most == 0 || most > account.max_parts {
        let detail = format!("between 1 and {}", account.max_parts);
        return Err(Problem::Invalid { path: "maxParts", code: "max_parts_out_of_range", detail });
    }
    Ok(most)
}

impl Style {
    fn word(self, mut text: Personal<String>) -> Result<Worded, Refusal> {
        if self.transliterate && self.encoding != EncodingChoice::Ucs2 {
            text = text::transliterate(text.reveal());
        }
        let encoding = match self.encoding {
            EncodingChoice::Auto => Encoding::of(text.reveal()),
            EncodingChoice::Gsm => Encoding::Gsm,
            EncodingChoice::Ucs2 => Encoding::Ucs2,
        };
        let unfit = |refusal: text::TextRefusal| Refusal { code: refusal.code(), detail: refusal.to_string() };
        if self.too_long == TooLong::Truncate {
            let (short, parts) = text::truncate(text.reveal(), encoding, self.most).map_err(unfit)?;
            return Ok(Worded { text: Personal::new(short.to_owned()), encoding, parts });
        }
        let parts = text::parts(text.reveal(), encoding).map_err(unfit)?;
        if parts.get() > self.most {
            return Err(self.too_many_parts());
        }
        Ok(Worded { text, encoding, parts })
    }

    fn too_many_parts(self) -> Refusal {
        let most = self.most;
        let detail = format!("the text takes more than {most} parts: shorten it, or write `tooLong` as truncate");
        Refusal { code: "too_many_parts", detail }
    }
}
