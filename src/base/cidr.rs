//! A set of networks that answers quickly whether it contains an address.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// A set of IPv4 and IPv6 networks, kept as sorted, disjoint ranges: a look-up is one binary search.
///
/// IPv4-mapped IPv6 addresses and networks (`::ffff:0:0/96`) count as IPv4, whichever way they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    v4: Box<[Range<u32>]>,
    v6: Box<[Range<u128>]>,
}

/// First and last address.
type Range<A> = (A, A);

impl CidrSet {
    /// Whether there are no networks.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether one of the networks contains `address`.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => in_ranges(&self.v4, address.to_bits()),
            IpAddr::V6(address) => in_ranges(&self.v6, address.to_bits()),
        }
    }
}

impl FromIterator<IpNet> for CidrSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match unmapped(network) {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
            }
        }
        Self { v4: disjoint(v4), v6: disjoint(v6) }
    }
}

/// Bits in front of the IPv4 address in an IPv4-mapped one (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// The IPv4 network that an IPv4-mapped network stands for.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let mapped: Option<std::net::Ipv4Addr> = Ipv6Addr::to_ipv4_mapped(&v6.network());
    match (mapped, v6.prefix_len().checked_sub(MAPPED_PREFIX_BITS)) {
        (Some(address), Some(bits)) => Ipv4Net::new(address, bits).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// Sorts the ranges and joins those that overlap.
fn disjoint<A: Copy + Ord>(mut ranges: Vec<Range<A>>) -> Box<[Range<A>]> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlaps = next.0 <= kept.1;
        if overlaps {
            kept.1 = kept.1.max(next.1);
        }
        overlaps
    });
    ranges.into_boxed_slice()
}

#[inline]
fn in_ranges<A: Copy + Ord>(ranges: &[Range<A>], address: A) -> bool {
    let after = ranges.partition_point(|range| range.0 <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(networks: &[&str]) -> CidrSet {
        networks.iter().map(|text| text.parse::<IpNet>().unwrap()).collect()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_contains_its_first_and_last_address_and_no_neighbour() {
        let set = set(&["10.1.0.0/16", "2001:db8::/32"]);
        assert!(set.contains(address("10.1.0.0")) && set.contains(address("10.1.255.255")));
        assert!(!set.contains(address("10.0.255.255")) && !set.contains(address("10.2.0.0")));
        assert!(set.contains(address("2001:db8:ffff::1")) && !set.contains(address("2001:db9::")));
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4_and_so_does_a_mapped_network() {
        assert!(set(&["10.0.0.0/8"]).contains(address("::ffff:10.1.2.3")));
        assert!(set(&["::ffff:10.0.0.0/104"]).contains(address("10.1.2.3")));
    }

    #[test]
    fn every_ipv6_network_together_contains_no_ipv4_address() {
        assert!(!set(&["::/0"]).contains(address("192.0.2.1")));
        assert!(set(&["0.0.0.0/0"]).contains(address("255.255.255.255")));
    }

    #[test]
    fn an_empty_set_contains_nothing() {
        assert!(CidrSet::default().is_empty() && !CidrSet::default().contains(address("::1")));
    }

    proptest! {
        #[test]
        fn membership_is_that_of_any_single_network(
            networks in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..20),
            probe in any::<u32>(),
        ) {
            let networks: Vec<Ipv4Net> =
                networks.into_iter().map(|(bits, prefix)| Ipv4Net::new(bits.into(), prefix).unwrap()).collect();
            let set: CidrSet = networks.iter().map(|&network| IpNet::V4(network)).collect();
            let probe = std::net::Ipv4Addr::from(probe);
            let expected = networks.iter().any(|network| network.contains(&probe));
            prop_assert_eq!(set.contains(IpAddr::V4(probe)), expected);
        }
    }
}
