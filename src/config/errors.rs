//! `errors`: the bodies of responses that the gateway itself makes.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::check::{Check, Report};
use super::shape::{Entries, ruled_text};
use super::spanned::Text;

/// A page is read into memory once per snapshot.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// Bodies by status. The status itself is never changed.
pub type ErrorBodies = Entries<ErrorStatus, ErrorBody>;

/// A status that the gateway itself may answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorStatus(u16);

impl ErrorStatus {
    pub fn get(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for ErrorStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ruled_text(deserializer, "a status", |text| {
            let status = error_status(text).map(Self);
            status.ok_or_else(|| "this is not the status of an error\nwrite a number from 400 to 599".into())
        })
    }
}

fn error_status(text: &str) -> Option<u16> {
    let three_digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|status| three_digits && (400..600).contains(status))
}

impl JsonSchema for ErrorStatus {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ErrorStatus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[45][0-9][0-9]$" })
    }
}

/// The bodies for one status. Which one is sent follows the request's `Accept`; an absent one is the built-in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorBody {
    /// Sent as `application/problem+json`.
    pub json: Option<Text>,
    /// Sent as `text/html`, where `Accept` prefers it.
    pub html: Option<Text>,
}

impl Check for ErrorBodies {
    fn check(&self, report: &mut Report<'_>) {
        for (status, body) in self {
            let mut report = report.below(&status.get().to_string());
            if let Some(json) = &body.json
                && serde_json::from_str::<serde::de::IgnoredAny>(json).is_err()
            {
                report.error("bad-value", json.span, "json", "this is not JSON", "check quotes, commas and braces");
            }
            for (key, text) in [("json", &body.json), ("html", &body.html)] {
                if let Some(text) = text.as_ref().filter(|text| text.len() > BODY_BYTES_MAX) {
                    let hint = format!("the most is {} KiB", BODY_BYTES_MAX / 1024);
                    report.error("too-large", text.span, key, "the body is too large", hint);
                }
            }
        }
    }
}
