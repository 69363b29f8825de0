//! The files made from the definitions hold what the code holds, and every field keeps the rules of the house.
use std::{fs, path::PathBuf};

use serde_json::Value;

/// `(file, what it must hold)`: one definition a file in `crds/`, and the chart's copy of all of them.
fn files() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut chart = String::from("{{- if .Values.crds.enabled }}\n");
    let mut files = Vec::new();
    for definition in super::definition::all().unwrap() {
        let plural = definition["spec"]["names"]["plural"].as_str().unwrap();
        let text = serde_yaml_ng::to_string(&definition).unwrap();
        assert!(!text.contains("{{"), "the chart would take it for a template");
        let name = format!("metadata:\n  name: {plural}.budstikke.dev\n");
        let kept = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n";
        assert!(text.contains(&name));
        chart.push_str("---\n");
        chart.push_str(&text.replace(&name, &format!("{name}{kept}")));
        files.push((root.join(format!("crds/{plural}.yaml")), text));
    }
    chart.push_str("{{- end }}\n");
    files.push((root.join("charts/budstikke/templates/crds.yaml"), chart));
    files
}

#[test]
fn generated_files_are_up_to_date() {
    for (path, text) in files() {
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&path).is_ok_and(|found| found == text),
            "{} is not what src/crd makes: run `UPDATE=1 cargo test --features simulate --lib crd::` and commit the result",
            path.display(),
        );
    }
}

#[test]
fn the_text_is_the_same_every_time_and_small() {
    assert_eq!(super::yaml().unwrap(), super::yaml().unwrap());
    for definition in super::definition::all().unwrap() {
        let size = serde_json::to_string(&definition).unwrap().len();
        assert!(size < 200 * 1024, "{}: {size} bytes", definition["metadata"]["name"]);
        assert_eq!(definition["metadata"].as_object().unwrap().len(), 1, "a name and nothing else");
    }
}

/// Every field of every kind, with its path.
fn fields() -> Vec<(String, Value)> {
    fn collect(path: &str, schema: &Value, fields: &mut Vec<(String, Value)>) {
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            fields.push((path.clone(), below.clone()));
            collect(&path, below, fields);
        }
        if let Some(items) = schema.get("items") {
            fields.push((format!("{path}[]"), items.clone()));
            collect(&format!("{path}[]"), items, fields);
        }
    }
    let mut fields = Vec::new();
    for definition in super::definition::all().unwrap() {
        let kind = definition["spec"]["names"]["kind"].as_str().unwrap();
        collect(kind, &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut fields);
    }
    assert!(fields.len() > 300, "{}", fields.len());
    fields
}

#[test]
fn every_text_and_list_is_bounded_and_every_number_too() {
    for (path, field) in fields() {
        let bounded = match field["type"].as_str().unwrap() {
            "string" => field.get("enum").is_some() || field.get("maxLength").is_some(),
            "array" => field.get("maxItems").is_some(),
            "integer" if path.contains(".spec.") => field.get("maximum").is_some(),
            "number" => false,
            _ => true,
        };
        assert!(bounded, "{path} needs a bound (a float is never right): {field}");
    }
}

#[test]
fn every_list_says_how_it_is_merged() {
    for (path, field) in fields() {
        // The lines of an address are one text.
        if field["type"] == "array" && !path.ends_with("address.lines") {
            assert!(field.get("x-kubernetes-list-type").is_some(), "{path} needs `transform = set` or `keyed`");
        }
    }
}

#[test]
fn every_field_is_documented() {
    for (path, field) in fields() {
        let documented = field["description"].as_str().is_some_and(|text| text.ends_with('.'));
        assert!(
            documented || path.ends_with("[]") || path.matches('.').count() == 1,
            "{path} needs a sentence: {field}"
        );
    }
}

#[test]
fn nothing_has_a_default_but_the_status() {
    for (path, field) in fields() {
        if let Some(default) = field.get("default") {
            assert!(
                path.ends_with(".status") && path.matches('.').count() == 1,
                "{path} would make GitOps tools drift"
            );
            assert_eq!(default, &serde_json::json!({ "observedGeneration": -1 }));
        }
    }
}

#[test]
fn every_rule_tells_what_to_write() {
    for (path, field) in fields() {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(rule["message"].as_str().is_some_and(|message| message.len() > 15), "{path}: {rule}");
        }
    }
}
