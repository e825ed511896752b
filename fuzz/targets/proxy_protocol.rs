//! PROXY headers: what is accepted means the same written anew and read again, however it is cut; what is refused stays so.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tidegate::http::proxy_protocol::{BLOCK_BYTES_MAX, Endpoints, Header, Progress, UNIQUE_ID_BYTES_MAX, Version, parse, write};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for cut in (0..bytes.len()).take(300) {
        let part = parse(&bytes[..cut]);
        assert!(part == Ok(Progress::Partial) || part == whole, "{cut} octets decide otherwise than all");
    }
    match &whole {
        Ok(Progress::Complete(header)) => assert_is_safe(bytes, header),
        Ok(Progress::Partial) => assert!(bytes.len() < 16 + BLOCK_BYTES_MAX, "nothing longer may be waited for"),
        Err(_) => {}
    }
});

fn assert_is_safe(bytes: &[u8], header: &Header<'_>) {
    assert!((15..=16 + BLOCK_BYTES_MAX).contains(&header.length) && header.length <= bytes.len());
    assert_eq!(parse(&bytes[..header.length]), Ok(Progress::Complete(header.clone())), "what follows changes nothing");
    assert!(header.claims.unique_id.is_none_or(|id| id.len() <= UNIQUE_ID_BYTES_MAX));
    assert!(header.claims.authority.is_none_or(|name| name.len() <= 255));
    let Endpoints::Inet { source, destination } = &header.endpoints else { return };
    for version in [Version::V1, Version::V2] {
        let written = write(version, &header.endpoints);
        let Ok(Progress::Complete(again)) = parse(&written) else { panic!("our own header is refused") };
        let Endpoints::Inet { source: from, destination: to } = again.endpoints else { panic!("it lost its addresses") };
        assert_eq!(again.length, written.len());
        assert_eq!([canonical(from), canonical(to)], [canonical(*source), canonical(*destination)]);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
