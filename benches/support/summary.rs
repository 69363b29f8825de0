//! `bench/summary.json` under the target directory: what every bench has measured last.
use serde_json::{Map, Value};

/// Enters these; what others have entered stays.
pub(crate) fn merge(values: &Map<String, Value>) {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let directory = std::path::Path::new(&target).join("bench");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("summary.json");
    let present = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
    let mut summary: Map<String, Value> = present.unwrap_or_default();
    summary.extend(values.clone());
    std::fs::write(file, format!("{:#}\n", Value::Object(summary))).expect("the summary");
}
