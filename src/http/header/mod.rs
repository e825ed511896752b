//! Header fields as spans over the receive buffer, with integers for the names we know.

mod fields;
mod name;

pub use fields::{Field, Fields};
pub(crate) use name::is_token;
pub use name::{HeaderName, KnownName};
