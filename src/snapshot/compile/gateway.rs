//! `gateway`: what holds for the whole process.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::World;
use crate::config::{self, ForwardedRead, ForwardedWrite, Gateway, Object, Via};
use crate::http::forwarded::Family;
use crate::http::header::HeaderName;
use crate::http::via::{PSEUDONYM_BYTES_MAX, Pseudonym};
use crate::snapshot::{ErrorBodies, ErrorBody, ForwardedPlan, GatewayPlan, ServerField};

const _: () = assert!(config::VIA_NAME_BYTES_MAX <= PSEUDONYM_BYTES_MAX, "a name in Via that was accepted is used");

pub(super) fn compile(object: &Object<Gateway>, world: &World<'_>) -> GatewayPlan {
    let default = Gateway::default();
    let model = object.value.as_ref().unwrap_or(&default);
    let (via, via_hops) = match &model.via {
        Via::Off => (None, 0),
        Via::Random => (Some(Pseudonym::of_random(world.via_seed)), 0),
        Via::Named(named) => (Pseudonym::named(named.name.as_str()), named.hops.get()),
    };
    GatewayPlan {
        via,
        via_hops,
        request_id: HeaderName::parse(model.request_id.header.as_str()),
        request_id_from_trusted: model.request_id.from_trusted,
        forwarded: forwarded(&model.forwarded),
        server: match &model.server {
            config::ServerField::Pass => ServerField::Pass,
            config::ServerField::Remove => ServerField::Remove,
            config::ServerField::Set(value) => ServerField::Set(value.as_str().into()),
        },
        errors: errors(&model.errors),
        drain_delay: model.drain.delay.get(),
        drain_deadline: model.drain.deadline.get(),
    }
}

fn forwarded(model: &config::Forwarded) -> ForwardedPlan {
    ForwardedPlan {
        read: match model.read {
            ForwardedRead::XForwarded => Family::XForwardedFor,
            ForwardedRead::Forwarded => Family::Forwarded,
        },
        write_forwarded: matches!(model.write, ForwardedWrite::Forwarded | ForwardedWrite::Both),
        write_x_forwarded: matches!(model.write, ForwardedWrite::XForwarded | ForwardedWrite::Both),
    }
}

/// Overridden bodies of local replies.
pub(super) fn errors(model: &config::ErrorBodies) -> ErrorBodies {
    if model.is_empty() {
        return ErrorBodies::default();
    }
    let text = |text: &Option<config::Text>| text.as_ref().map(|text| Arc::from(text.as_bytes()));
    let bodies: BTreeMap<u16, ErrorBody> = model
        .iter()
        .map(|(status, body)| (status.get(), ErrorBody { json: text(&body.json), html: text(&body.html) }))
        .collect();
    ErrorBodies(Some(Arc::new(bodies)))
}
