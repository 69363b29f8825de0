//! What is wrong with a call, without what was written in it: the readers' own words quote that, numbers and texts among it, and
//! as much of it as there is. Answers end up in callers' logs.
use serde_path_to_error::{Path, Segment};

/// The longest name of a field that is repeated, in octets: as long as the name of a place in a text.
const LONGEST_NAME: usize = 40;
/// The most digits in it: more may be a number with a letter before it.
const MOST_DIGITS: usize = 3;
/// How readers begin where they quote.
const QUOTING: [&str; 5] = ["invalid type", "invalid value", "invalid length", "unknown field", "unknown variant"];
/// Where all that they say may be quoted.
const NO_FORM: &str = "not of the form of this field";

/// What is wrong with a body, and where.
pub(super) fn of_body(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    // What is no JSON is told in fixed words.
    let said = if error.is_data() { unquoted(said) } else { said.to_owned() };
    if error.line() == 0 { said } else { said + &place }
}

/// What is wrong with parameters: `name: what`, behind the reader's own introduction.
pub(super) fn of_query(said: &str) -> String {
    let said = said.split_once(": ").map_or("", |(_, said)| said);
    match said.split_once(": ") {
        Some((name, said)) if is_name(name) => format!("{name}: {}", unquoted(said)),
        // A field that nobody knows stands before its own failure too.
        _ => unquoted(said.find("unknown field `").and_then(|at| said.get(at..)).unwrap_or(said)),
    }
}

/// The field, such as `to[3].reference`, as far as it is made of names.
pub(super) fn path(path: &Path) -> String {
    let mut shown = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => shown.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } if is_name(name) => {
                if !shown.is_empty() {
                    shown.push('.');
                }
                shown.push_str(name);
            }
            _ => break,
        }
    }
    shown
}

/// The same without the quotation. What was expected comes last, and is ours.
fn unquoted(said: &str) -> String {
    if said.starts_with("missing field `") || said.starts_with("duplicate field `") {
        return said.to_owned();
    }
    let Some(kind) = QUOTING.into_iter().find(|kind| said.starts_with(kind)) else { return NO_FORM.to_owned() };
    match said.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{kind}, expected {expected}"),
        None => kind.to_owned(),
    }
}

/// Fields have names; numbers, texts and addresses of people are none.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.bytes().filter(u8::is_ascii_digit).count() <= MOST_DIGITS
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.chars().all(|sign| sign.is_ascii_alphanumeric() || matches!(sign, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use axum::http::Uri;
    use serde::Deserialize;

    use super::super::{parameters, read};
    use crate::api::problem::Problem;
    use crate::api::send::SendRequest;

    fn refused(body: &str) -> (String, String) {
        match read::<SendRequest>(body.as_bytes()) {
            Err(Problem::Malformed { path, detail }) => (path, detail),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn what_was_written_is_not_told_back() {
        let number = "a number as a string, an object with a number, or a list of them";
        for (body, path, wrong) in [
            (r#"{"to": "1", "text": 20123456}"#, "text", "invalid type, expected a string"),
            (r#"{"to": 20123456, "text": "x"}"#, "to", &format!("invalid type, expected {number}")),
            (r#"{"to": "1", "maxParts": 20123456}"#, "maxParts", "invalid value, expected u8"),
            (r#"{"priority": "20123456, expected x"}"#, "priority", "unknown variant, expected `normal` or `high`"),
            (r#"{"sendAt": "20123456"}"#, "sendAt", "not of the form of this field"),
            (r#"{"to": {"parameters": {"20123456": 1}}}"#, "to.parameters", "invalid type, expected a string"),
            (r#"{"to": "1"}"#, "", "missing field `text`"),
            (r#"{"to": "20123456"#, "to", "EOF while parsing a string"),
        ] {
            let (at, said) = refused(body);
            assert_eq!((at.as_str(), said.split(" at line 1 column ").next()), (path, Some(wrong)), "{body}");
        }
        let (path, detail) = refused(r#"{"+4520123456": "1"}"#);
        assert_eq!(path, "");
        assert!(detail.starts_with("unknown field, expected one of `to`, `from`, `text`, "), "{detail}");
    }

    #[test]
    fn parameters_are_not_told_back_either() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Of {
            _limit: Option<u16>,
        }
        for (query, wrong) in [
            ("_limit=20123456x", "_limit: not of the form of this field"),
            ("+4520123456=1", "unknown field, expected `_limit`"),
            ("colour=20123456", "colour: unknown field, expected `_limit`"),
        ] {
            let uri: Uri = format!("/v1/messages?{query}").parse().expect("an address");
            match parameters::<Of>(&uri) {
                Err(Problem::Malformed { detail, .. }) => assert_eq!(detail, wrong, "{query}"),
                other => panic!("{query}: {other:?}"),
            }
        }
    }
}
