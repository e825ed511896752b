//! `tls.passthrough`: connections that are passed on without being decrypted.

use schemars::JsonSchema;
use serde::Deserialize;

use super::shape::OneOrMany;
use super::spanned::Text;

/// Connections of some names, and who gets them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passthrough {
    /// The names that clients ask for by SNI: exact, `*.example.com` for every name below, `*` for all that are not listed
    /// and for clients that ask for none; one or a list.
    pub sni: OneOrMany<String>,
    /// The upstream that the connections are passed on to, without `tls`: what the client encrypts, its endpoints decrypt.
    pub to: Text,
}
