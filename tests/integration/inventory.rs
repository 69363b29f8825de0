//! The data inventory is complete (D12): `docs/inventory.md` has every column that the two instances store, each once,
//! and says of each what it is, until when, on what ground, and in which form.
use std::collections::{BTreeMap, BTreeSet};

use crate::support::postgres::Databases;

const INVENTORY: &str = include_str!("../../docs/inventory.md");

/// How a column is stored that nobody can read a number or text from: what its last cell begins with.
const CLOSED: &[&str] = &["ciphertext", "wrapped", "keyed hash", "hash", "public key"];
const OPEN: &str = "plain";

/// What stands under a heading, until the next one.
fn section(heading: &str) -> &'static str {
    let start = format!("\n## {heading}\n");
    let (_, rest) = INVENTORY.split_once(&start).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap_or_default()
}

/// The words that a list under a heading defines: `- **word**: what it means`.
fn words(heading: &str) -> BTreeSet<&'static str> {
    let defined = section(heading).lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**"));
    defined.map(|(word, _)| word).collect()
}

/// A row of the table: columns that share everything.
struct Row {
    instance: &'static str,
    table: &'static str,
    columns: Vec<&'static str>,
    class: &'static str,
    until: &'static str,
    ground: &'static str,
    form: &'static str,
}

impl Row {
    fn read(line: &'static str) -> Self {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [instance, table, columns, class, until, ground, form] = cells[..] else {
            panic!("not seven cells: {line}")
        };
        let columns = columns.split(',').map(|column| column.trim().trim_matches('`')).collect();
        Self { instance, table, columns, class, until, ground, form }
    }

    /// `instance.table.column` of each of its columns.
    fn names(&self) -> impl Iterator<Item = String> {
        let Self { instance, table, columns, .. } = self;
        columns.iter().map(move |column| format!("{instance}.{table}.{column}"))
    }

    fn is_closed(&self) -> bool {
        CLOSED.iter().any(|form| self.form.starts_with(*form))
    }
}

/// The table, without its head.
fn rows() -> impl Iterator<Item = Row> {
    section("Every column").lines().filter(|line| line.starts_with('|')).skip(2).map(Row::read)
}

/// Every column that is stored, `instance.table.column`, with its type: by the very question that the document asks.
async fn stored() -> BTreeMap<String, String> {
    let (_, rest) = section("How to check it").split_once("<<'SQL'\n").expect("a question");
    let (question, _) = rest.split_once("\nSQL\n").expect("the question's end");
    let databases = Databases::start().await;
    let mut stored = BTreeMap::new();
    let both = [("data", "budstikke", &databases.data), ("keyring", "keyring", &databases.keyring)];
    for (instance, home, database) in both {
        let owner = database.pool("budstikke_owner");
        let columns: Vec<(String, String, String, String)> =
            sqlx::query_as(question).fetch_all(&owner).await.expect("read the catalogue");
        owner.close().await;
        assert!(!columns.is_empty(), "the {instance} instance has tables");
        for (schema, table, column, kind) in columns {
            let table = if schema == home { table } else { format!("{schema}.{table}") };
            stored.insert(format!("{instance}.{table}.{column}"), kind);
        }
    }
    stored
}

#[tokio::test]
async fn every_stored_column_has_one_row_and_every_row_is_stored() {
    let stored = stored().await;
    let (mut listed, mut wrong) = (BTreeSet::new(), Vec::new());
    for name in rows().flat_map(|row| row.names().collect::<Vec<_>>()) {
        if !stored.contains_key(&name) {
            wrong.push(format!("{name} is listed, and not stored"));
        }
        if let Some(twice) = listed.replace(name) {
            wrong.push(format!("{twice} is listed twice"));
        }
    }
    let missing = stored.keys().filter(|name| !listed.contains(*name));
    wrong.extend(missing.map(|name| format!("{name} is stored, and not listed")));
    assert!(wrong.is_empty(), "docs/inventory.md and the schema differ:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn bytes_are_never_stored_plain() {
    let stored = stored().await;
    let mut wrong = Vec::new();
    for row in rows().filter(|row| !row.is_closed()) {
        wrong.extend(row.names().filter(|name| stored.get(name).is_some_and(|kind| kind == "bytea")));
    }
    assert!(wrong.is_empty(), "neither ciphertext, wrapped, hash nor public key:\n{}", wrong.join("\n"));
}

#[test]
fn every_row_has_a_class_an_end_a_ground_and_a_form() {
    let (classes, grounds) = (words("Classes"), words("Grounds"));
    let (mut used, mut wrong) = (BTreeSet::new(), Vec::new());
    for row in rows() {
        used.insert(row.class);
        let lacks = [
            ("a class of the list", classes.contains(row.class)),
            ("an end", !row.until.is_empty()),
            ("a ground of the list", grounds.iter().any(|ground| row.ground.starts_with(*ground))),
            ("a form", row.is_closed() || row.form.starts_with(OPEN)),
        ];
        for (what, _) in lacks.into_iter().filter(|(_, has)| !has) {
            wrong.extend(row.names().map(|name| format!("{name} has not {what}")));
        }
    }
    wrong.extend(classes.difference(&used).map(|class| format!("no column is of the class {class}")));
    assert!(wrong.is_empty(), "docs/inventory.md:\n{}", wrong.join("\n"));
}
