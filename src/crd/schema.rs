//! The vocabulary in which the kinds state their rules: one CEL rule with the sentence its writer reads, list types,
//! and text types that carry their own rule. `crd/definition.rs` turns what the derives make into what is shipped.
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// One entry of `x-kubernetes-validations`: what must hold, and what to write instead when it does not.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// Adds a rule to those that a type has already: `#[schemars(transform = also(…))]`, where `extend` would replace them.
pub(super) fn also(rule: &str, message: &str) -> impl FnMut(&mut Schema) {
    let added = self::rule(rule, message);
    move |schema: &mut Schema| {
        let rules = schema.ensure_object().entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(added.clone());
        }
    }
}

/// The CEL expression that `until` is a calendar month after `since`, or later: on the same day of the month, or on the
/// last one of a month that is too short (A6, A7).
pub(super) fn a_month_after(since: &str, until: &str) -> String {
    format!(
        "({until}.getFullYear() - {since}.getFullYear()) * 12 + {until}.getMonth() - {since}.getMonth() \
         - ({until}.getDate() < {since}.getDate() && ({until} + duration('24h')).getDate() != 1 ? 1 : 0) >= 1"
    )
}

/// A list whose items nobody writes twice.
pub(super) fn set(schema: &mut Schema) {
    schema.insert("x-kubernetes-list-type".into(), "set".into());
}

/// A list of objects that these fields tell apart: writers of different items do not overwrite one another.
pub(super) fn keyed(keys: &'static [&'static str]) -> impl FnMut(&mut Schema) {
    move |schema: &mut Schema| {
        schema.insert("x-kubernetes-list-type".into(), "map".into());
        schema.insert("x-kubernetes-list-map-keys".into(), json!(keys));
    }
}

/// The schema of a list of conditions: the upstream type has neither bounds nor a list key.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 20,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": { "type": "string", "maxLength": 60, "description": "What is spoken of, in CamelCase." },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                "reason": { "type": "string", "minLength": 1, "maxLength": 60, "description": "Why, as one CamelCase word for programs." },
                "message": { "type": "string", "maxLength": 2000, "description": "Why, as a sentence for people: what to do, where something is to be done." },
                "lastTransitionTime": { "type": "string", "format": "date-time", "maxLength": 40, "description": "When `status` last changed." },
                "observedGeneration": { "type": "integer", "format": "int64", "description": "The generation of the spec that this condition speaks of." },
            },
        },
    })
}

/// A text with a rule of its own, and its schema: a bound for the server's sake (characters), what must hold, what to
/// write. The bound is looser than the rule: "too long" tells nobody what to write instead.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $max:literal, $($rule:expr => $message:expr),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::ops::Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "maxLength": $max,
                    "x-kubernetes-validations": [$($crate::crd::schema::rule($rule, $message)),+],
                })
            }
        }
    };
}
pub(super) use text;
