//! The model described: a JSON Schema for editors, and from it the reference page for people, so that neither can drift
//! from what is read.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::access_log::AccessLog;
use super::admin::Admin;
use super::gateway::Gateway;
use super::listeners::Listener;
use super::routes::Route;
use super::shape::{Entries, Name};
use super::upstreams::Upstream;

/// The model is far less deep; a schema that refers to itself would end here.
const DEPTH_MAX: usize = 8;

/// The configuration of Tidegate.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a file as a whole; files are typed object by object")]
struct Document {
    /// What holds for the whole process, and what listeners, upstreams and routes inherit.
    gateway: Option<Gateway>,
    /// Where clients connect, by name.
    listeners: Option<Entries<Name, Listener>>,
    /// Where requests go, by name.
    upstreams: Option<Entries<Name, Upstream>>,
    /// Which requests, and what happens to them. Where several routes match, the most specific one is taken, whatever
    /// their order.
    routes: Option<Vec<Route>>,
    /// The API for operators: an address, `off`, or a map.
    admin: Option<Admin>,
    /// One line per exchange: `stdout`, `stderr`, `off`, or a map.
    access_log: Option<AccessLog>,
}

/// The order of the sections of the reference page.
const SECTIONS: [&str; 6] = ["gateway", "listeners", "upstreams", "routes", "admin", "access_log"];

/// The JSON Schema of a configuration file.
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with_transform(without_null);
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// A key that may be absent may still not be empty.
fn without_null(schema: &mut Schema) {
    transform_subschemas(&mut without_null, schema);
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    let Some(Value::Array(forms)) = schema.get_mut("anyOf") else { return };
    forms.retain(|form| form.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = forms.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            // The key's own description says more than that of its type.
            if schema.get(&key).is_none() {
                schema.insert(key, value);
            }
        }
    }
}

const INTRODUCTION: &str = "\
# Configuration

Made from the model by the test that compares this page with it; edit the doc comments in `src/config/` instead.

A configuration is one YAML file, or a folder whose `*.yaml` and `*.yml` files are merged by top-level key in the order of
their names. Unknown keys, empty keys, duplicate names, anchors, aliases and tags are errors. `tidegate check` reports every
mistake at once; `tidegate schema` prints the JSON Schema of this page for editors.

## Values

- A time has a unit: `250ms`, `5s`, `2m`, `1h`, `7d`. A size has a unit: `512B`, `16KiB`, `10MiB`, `1GiB`, or decimal `kB`,
  `MB`, `GB`. A rate is a size per second: `1KiB/s`. `unlimited` is never a default: it must be written.
- Text that looks like a number or a boolean needs quotes; numbers and booleans must not have them. Booleans are `true` and
  `false`.
- `${VAR}` is an environment variable, `${VAR:-default}` has a default for an unset or empty one, and `${file:path}` is the
  content of a file beside the configuration, less its last line break. They work in every value, plain or quoted; `$${` is a
  literal `${`. What they hold is never printed.
- A key stands only where it can act. A route inherits `limits` and `timeouts` from the listener its request came through, a
  listener and an upstream from the gateway.
- Names have up to 128 letters, digits and `-_./:`.
";

/// The reference page, `docs/configuration.md`.
pub fn reference() -> String {
    let schema = schema();
    let mut page = Page { definitions: schema.get("$defs"), text: INTRODUCTION.to_owned() };
    for section in SECTIONS {
        if let Some(described) = schema.pointer(&format!("/properties/{section}")) {
            page.section(section, described);
        }
    }
    page.text
}

struct Page<'s> {
    definitions: Option<&'s Value>,
    text: String,
}

impl<'s> Page<'s> {
    fn section(&mut self, name: &str, schema: &'s Value) {
        let description = description(schema);
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\n## `{name}`\n\n{description}\n\n| Key | Value | Meaning |\n|---|---|---|\n");
        self.rows(name, schema, DEPTH_MAX);
    }

    /// A row for every key below `path`.
    fn rows(&mut self, path: &str, schema: &'s Value, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let schema = self.resolved(schema);
        // One or many has the same keys in both forms.
        let shown = if is_one_or_many(schema) { 1 } else { usize::MAX };
        for form in forms(schema).take(shown) {
            self.rows(path, form, depth);
        }
        if let Some(item) = schema.get("items").filter(|item| self.has_keys(item, depth)) {
            let path = if path.ends_with("[]") { path.to_owned() } else { format!("{path}[]") };
            self.rows(&path, item, depth);
        }
        if let Some(value) = schema.get("additionalProperties").filter(|value| value.is_object()) {
            let key = if schema.pointer("/propertyNames/pattern").is_some() { "status" } else { "name" };
            self.rows(&format!("{path}.<{key}>"), value, depth);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, value) in properties.into_iter().flatten() {
            // A map of one key, as `{ file: path }`, is described as a whole.
            let meaning = [value, schema].map(description).into_iter().find(|text| !text.is_empty());
            let required = is_required(schema, key);
            self.row(&format!("{path}.{key}"), value, &meaning.unwrap_or_default(), required);
            self.rows(&format!("{path}.{key}"), value, depth);
        }
    }

    fn row(&mut self, path: &str, schema: &'s Value, meaning: &str, required: bool) {
        let value = self.words(schema, DEPTH_MAX).replace('|', "\\|");
        let meaning = meaning.replace('|', "\\|");
        let required = if required { " Required." } else { "" };
        let _ = writeln!(self.text, "| `{path}` | {value} | {meaning}{required} |");
    }

    fn has_keys(&self, schema: &'s Value, depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else { return false };
        let schema = self.resolved(schema);
        let own =
            schema.get("properties").is_some() || schema.get("additionalProperties").is_some_and(Value::is_object);
        own || forms(schema).any(|form| self.has_keys(form, depth))
    }

    /// What may be written, in words.
    fn words(&self, schema: &'s Value, depth: usize) -> String {
        let Some(depth) = depth.checked_sub(1) else { return String::new() };
        let schema = self.resolved(schema);
        if forms(schema).next().is_some() {
            if is_one_or_many(schema) {
                let one = forms(schema).next().map(|form| self.words(form, depth));
                return format!("{}, or a list of these", one.unwrap_or_default());
            }
            let mut words: Vec<String> = forms(schema).map(|form| self.words(form, depth)).collect();
            words.retain(|word| !word.is_empty());
            words.dedup();
            return words.join(" or ");
        }
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            return format!("`{word}`");
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<String> =
                words.iter().map(|word| format!("`{}`", word.to_string().trim_matches('"'))).collect();
            return words.join(" or ");
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("array") => {
                format!("list of {}", schema.get("items").map_or(String::new(), |item| self.words(item, depth)))
            }
            Some("object") => match schema.get("additionalProperties").filter(|value| value.is_object()) {
                Some(value) => format!("map of {}", self.words(value, depth)).replace("of map", "of maps"),
                None => map_words(schema),
            },
            Some("integer") => number_words(schema),
            Some("boolean") => "`true` or `false`".into(),
            Some("string") => string_words(schema),
            _ => "text".into(),
        }
    }

    fn resolved(&self, schema: &'s Value) -> &'s Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.rsplit('/').next());
        name.and_then(|name| self.definitions?.get(name)).unwrap_or(schema)
    }
}

/// The alternatives of a schema.
fn forms(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array());
    lists.flatten()
}

fn is_one_or_many(schema: &Value) -> bool {
    let mut forms = forms(schema);
    matches!((forms.next(), forms.next()), (Some(one), Some(list)) if list.get("items") == Some(one))
}

fn is_required(schema: &Value, key: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    let only = schema.get("properties").and_then(Value::as_object).is_some_and(|keys| keys.len() == 1);
    !only && required.is_some_and(|required| required.iter().any(|name| name == key))
}

fn map_words(schema: &Value) -> String {
    match schema.get("properties").and_then(Value::as_object) {
        Some(keys) if keys.len() == 1 => keys.keys().map(|key| format!("`{{ {key}: … }}`")).collect(),
        _ => "map".into(),
    }
}

fn number_words(schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(min), Some(max)) => format!("number from {min} to {max}"),
        _ => "number".into(),
    }
}

fn string_words(schema: &Value) -> String {
    let is_reference = schema.get("pattern").is_some_and(|pattern| pattern == super::value::REFERENCE_PATTERN);
    match schema.get("format").and_then(Value::as_str) {
        _ if is_reference => String::new(),
        Some(format) => format.to_owned(),
        None => "text".into(),
    }
}

/// The description on one line.
fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_section_and_refuses_others() {
        let schema = schema();
        let keys = schema["properties"].as_object().unwrap();
        assert_eq!(keys.len(), SECTIONS.len());
        assert!(SECTIONS.iter().all(|section| keys.contains_key(*section)));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn the_schema_knows_no_null() {
        assert!(!schema().to_string().contains("\"null\""));
    }

    #[test]
    fn the_schema_accepts_shorthands() {
        let schema = schema();
        let admin = schema["properties"]["admin"]["anyOf"].as_array().unwrap();
        assert_eq!(admin[0]["type"], "string");
        let to = schema["$defs"]["Route"]["properties"]["to"]["anyOf"].as_array().unwrap();
        assert_eq!((to[0]["type"].as_str(), to[1]["$ref"].as_str()), (Some("string"), Some("#/$defs/ToFull")));
    }

    #[test]
    fn the_schema_knows_what_is_required() {
        let schema = schema();
        assert_eq!(schema["$defs"]["Listener"]["required"], serde_json::json!(["bind"]));
        assert_eq!(schema["$defs"]["Upstream"]["required"], serde_json::json!(["endpoints"]));
        assert_eq!(schema["$defs"]["Route"]["required"], serde_json::json!(["match"]));
    }

    #[test]
    fn every_key_of_the_reference_has_a_meaning() {
        let page = reference();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() > 100, "{page}");
        let silent: Vec<_> = rows.iter().filter(|row| row.ends_with("|  |") || row.contains("|  |")).collect();
        assert!(silent.is_empty(), "{silent:#?}");
        assert!(page.contains("| `gateway.limits.head` | size | "), "{page}");
        assert!(page.contains("| `routes[].match.path.prefix` | text | "), "{page}");
        assert!(page.contains("| `upstreams.<name>.endpoints.weight` | number from 1 to 1000 | "), "{page}");
    }
}
