//! The verdict without a server: JSON Schema with formats, strict fields, list keys, then CEL, in the server's order and
//! in the server's words, so that one table serves both.
use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use kube_cel::{CompiledSchema, compile_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Manifest;

/// The four definitions, ready to judge.
pub(super) struct Judge {
    kinds: BTreeMap<String, Kind>,
}

struct Kind {
    schema: Value,
    strict: jsonschema::Validator,
    rules: CompiledSchema,
}

impl Judge {
    pub(super) fn new() -> Self {
        let text = budstikke::crd::yaml().unwrap();
        let kinds = serde_yaml_ng::Deserializer::from_str(&text).map(|document| {
            let definition = Value::deserialize(document).unwrap();
            let schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
            let mut strict = schema.clone();
            for (field, below) in strict["properties"].as_object_mut().unwrap() {
                if field == "spec" {
                    allow_no_other_fields(below);
                }
            }
            let strict = jsonschema::options().should_validate_formats(true).build(&strict).unwrap();
            let rules = compile_schema(&with_timestamps(&schema));
            (definition["spec"]["names"]["kind"].as_str().unwrap().to_owned(), Kind { schema, strict, rules })
        });
        Self { kinds: kinds.collect() }
    }

    pub(super) fn verdict(&self, manifest: &Manifest) -> Result<(), String> {
        let Kind { schema, strict, rules } = &self.kinds[manifest.new["kind"].as_str().unwrap()];
        // The server takes a null for a field that was left out.
        let new = without_nulls(&manifest.new);
        let mut messages: Vec<String> = strict.iter_errors(&new).map(|error| told(&error)).collect();
        duplicates(schema, &new, "", &mut messages);
        if messages.is_empty() {
            let old = manifest.old.as_ref().map(|old| timestamps(schema, old));
            let errors = kube_cel::Validator::new().validate_compiled(rules, &timestamps(schema, &new), old.as_ref());
            messages.extend(errors.err().into_iter().flatten().map(|error| error.to_string()));
        }
        if messages.is_empty() { Ok(()) } else { Err(messages.join("; ")) }
    }
}

fn allow_no_other_fields(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(allow_no_other_fields);
        schema["additionalProperties"] = json!(false);
    }
    if let Some(items) = schema.get_mut("items") {
        allow_no_other_fields(items);
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), without_nulls(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// In CEL a `format: date` is a timestamp; this library knows that of `date-time` only.
fn with_timestamps(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) if fields.get("format") == Some(&json!("date")) => {
            json!({ "type": "string", "format": "date-time" })
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), with_timestamps(value))).collect(),
        other => other.clone(),
    }
}

fn timestamps(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), timestamps(&schema["properties"][key], value))).collect()
        }
        Value::Array(items) => items.iter().map(|item| timestamps(&schema["items"], item)).collect(),
        Value::String(day) if schema["format"] == "date" => json!(format!("{day}T00:00:00Z")),
        other => other.clone(),
    }
}

/// Lists of type `set` and `map` hold nothing twice.
fn duplicates(schema: &Value, value: &Value, path: &str, messages: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                duplicates(&schema["properties"][key], value, &format!("{path}.{key}"), messages);
            }
        }
        Value::Array(items) => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            let key = |item: &Value| match (schema["x-kubernetes-list-type"].as_str(), keys) {
                (Some("set"), _) => Some(item.clone()),
                (Some("map"), Some(keys)) => {
                    Some(keys.iter().map(|key| item[key.as_str().unwrap_or_default()].clone()).collect())
                }
                _ => None,
            };
            for (number, item) in items.iter().enumerate() {
                duplicates(&schema["items"], item, &format!("{path}[{number}]"), messages);
                if key(item)
                    .is_some_and(|this| items[..number].iter().any(|earlier| key(earlier).as_ref() == Some(&this)))
                {
                    messages.push(format!("{}[{number}]: Duplicate value: {item}", path.trim_start_matches('.')));
                }
            }
        }
        _ => {}
    }
}

/// A schema error in the server's words.
fn told(error: &jsonschema::ValidationError<'_>) -> String {
    let mut path = String::new();
    for part in error.instance_path().as_str().split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(number) => path.push_str(&format!("[{number}]")),
            Err(_) if path.is_empty() => path.push_str(part),
            Err(_) => path.push_str(&format!(".{part}")),
        }
    }
    let words = match error.kind() {
        ValidationErrorKind::Required { property } => {
            return format!("{path}.{}: Required value", property.as_str().unwrap());
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            return format!("strict decoding error: unknown field \"{path}.{}\"", unexpected[0]);
        }
        ValidationErrorKind::Maximum { limit } => format!("should be less than or equal to {limit}"),
        ValidationErrorKind::Minimum { limit } => format!("should be greater than or equal to {limit}"),
        ValidationErrorKind::MaxLength { limit } => format!("Too long: may not be more than {limit} bytes"),
        ValidationErrorKind::MinLength { limit } => format!("should be at least {limit} chars long"),
        ValidationErrorKind::MaxItems { limit } => format!("Too many: must have at most {limit} items"),
        ValidationErrorKind::MinItems { limit } => format!("should have at least {limit} items"),
        ValidationErrorKind::Format { format } => format!("must be of type {format}"),
        ValidationErrorKind::Type { kind } => format!("must be of type {}", type_name(kind)),
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(Value::to_string).collect();
            format!("supported values: {}", options.join(", "))
        }
        other => panic!("{path}: a refusal of a kind that has no words here: {other:?}"),
    };
    format!("{path}: {words}")
}

fn type_name(kind: &jsonschema::error::TypeKind) -> String {
    match kind {
        jsonschema::error::TypeKind::Single(name) => name.to_string(),
        jsonschema::error::TypeKind::Multiple(names) => format!("{names:?}"),
    }
}
