//! Where the time of an exchange went, from the points it passed.

use crate::base::Timestamp;

/// The points in time of one exchange; a point that was not reached is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// The first octet of the request was seen.
    pub started: Timestamp,
    /// The request head was complete and parsed.
    pub parsed: Option<Timestamp>,
    /// Route and policies were decided.
    pub routed: Option<Timestamp>,
    /// The last attempt had its upstream connection, fresh or reused.
    pub connected: Option<Timestamp>,
    /// The final response head had come.
    pub first_byte: Option<Timestamp>,
}

/// The same as lengths, in microseconds; a part that was not completed is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub parse: Option<u64>,
    pub route: Option<u64>,
    pub connect: Option<u64>,
    pub first_byte: Option<u64>,
    pub total: u64,
}

impl Timing {
    /// The lengths of an exchange that ends at `finished`.
    pub fn times(&self, finished: Timestamp) -> Times {
        Times {
            parse: between(Some(self.started), self.parsed),
            route: between(self.parsed, self.routed),
            connect: between(self.routed, self.connected),
            first_byte: between(self.connected, self.first_byte),
            total: micros(self.started, finished),
        }
    }
}

#[inline]
fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<u64> {
    Some(micros(from?, to?))
}

#[inline]
fn micros(from: Timestamp, to: Timestamp) -> u64 {
    to.as_nanos().saturating_sub(from.as_nanos()) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * 1_000)
    }

    #[test]
    fn the_parts_lie_between_the_points() {
        let timing = Timing {
            started: at(10),
            parsed: Some(at(12)),
            routed: Some(at(15)),
            connected: Some(at(19)),
            first_byte: Some(at(30)),
        };
        let times = timing.times(at(50));
        assert_eq!((times.parse, times.route), (Some(2), Some(3)));
        assert_eq!((times.connect, times.first_byte, times.total), (Some(4), Some(11), 40));
    }

    #[test]
    fn a_point_that_was_not_reached_gives_no_length() {
        let timing = Timing { started: at(10), parsed: Some(at(12)), ..Timing::default() };
        let times = timing.times(at(13));
        assert_eq!((times.route, times.connect, times.first_byte, times.total), (None, None, None, 3));
    }
}
