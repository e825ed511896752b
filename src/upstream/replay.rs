//! Whether a failed attempt is made again, and on whose account.
//!
//! Two reasons. A *replay* needs no configuration: once per request, at once, when the server provably did not process
//! it, or when it is idempotent, has no body and no octet of a response came. A *retry* is what `retry: { attempts }`
//! asks for, for idempotent requests whose body is still at hand. Both count as tries and both are charged to the
//! upstream's budget when they are scheduled. RFC 9110, section 9.2.2: a proxy must not retry what is not idempotent.

use crate::base::Timestamp;
use crate::http::{Body, Method};

/// The largest number of tries of one request, the first included.
pub const ATTEMPTS_MAX: u8 = 8;
/// Tries of a request whose route has no `retry`: the first, and one replay.
const ATTEMPTS_UNCONFIGURED: u8 = 2;

const _: () = assert!(ATTEMPTS_MAX as usize <= super::balance::TRIED_MAX, "every tried endpoint is remembered");

/// What a route says under `retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPlan {
    /// Every try counts, the first included: 1 means that nothing is made again, from 1 to [`ATTEMPTS_MAX`].
    pub attempts: u8,
    /// Retries requests that are not idempotent too, at the operator's risk.
    pub non_idempotent: bool,
}

/// How far an attempt got that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptFailure {
    /// No connection was established: refused, unreachable, timed out.
    Connect,
    /// The connection ended before an octet of the request was given to it, or the server said that it did not process
    /// the request.
    Unsent,
    /// The connection ended after octets of the request may have left and before any octet of a response came.
    BeforeResponse,
    /// Anything else: a response had begun or made no sense, or was too long in coming.
    Final,
}

/// What of a request matters for making it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// Whether doing it twice has the effect of doing it once.
    pub idempotent: bool,
    /// Whether no body belongs to it.
    pub bodyless: bool,
    /// Whether the whole body read so far is still in memory.
    pub body_at_hand: bool,
}

impl Repeatable {
    /// The facts of a request none of whose body was given away yet.
    pub fn of(method: Method, body: Body) -> Self {
        let bodyless = matches!(body, Body::Empty | Body::Length(0));
        Self { idempotent: method.is_idempotent(), bodyless, body_at_hand: true }
    }
}

/// Why a failed attempt is not made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// It might do twice what was asked for once, or its body is gone.
    Unsafe,
    /// All tries were made.
    Attempts,
    /// The exchange is out of time.
    Deadline,
    /// Every endpoint was tried.
    Endpoints,
    /// Too many requests of this upstream are made again already.
    Budget,
}

/// The tries of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    made: u8,
    replayed: bool,
    is_replay: bool,
}

impl Tries {
    /// Counts a try that begins now.
    #[inline]
    pub fn begin(&mut self) {
        self.made = self.made.saturating_add(1);
    }

    /// How many began.
    #[inline]
    pub fn made(&self) -> u8 {
        self.made
    }

    /// Whether the try that was allowed last is the one replay, and no configured retry.
    #[inline]
    pub fn is_replay(&self) -> bool {
        self.is_replay
    }

    /// Whether a try that failed like this may be followed by another; where, [`super::UpstreamState::pick_again`]
    /// says, which also charges the budget.
    pub fn again(
        &mut self,
        failure: AttemptFailure,
        request: Repeatable,
        retry: Option<&RetryPlan>,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Result<(), GiveUp> {
        let attempts = retry.map_or(ATTEMPTS_UNCONFIGURED, |plan| plan.attempts.min(ATTEMPTS_MAX));
        let replay = may_replay(failure, request);
        let retry = retry.is_some_and(|plan| may_retry(failure, request, plan));
        if !replay && !retry {
            return Err(GiveUp::Unsafe);
        }
        if self.made >= attempts {
            return Err(GiveUp::Attempts);
        }
        // The one replay was spent, and what remains is only for what may be retried.
        if self.replayed && !retry {
            return Err(GiveUp::Unsafe);
        }
        if now >= deadline {
            return Err(GiveUp::Deadline);
        }
        self.is_replay = replay && !self.replayed;
        self.replayed |= replay;
        Ok(())
    }
}

/// Whether the one replay that needs no configuration is safe.
pub fn may_replay(failure: AttemptFailure, request: Repeatable) -> bool {
    match failure {
        AttemptFailure::Connect | AttemptFailure::Unsent => request.bodyless || request.body_at_hand,
        AttemptFailure::BeforeResponse => request.idempotent && request.bodyless,
        AttemptFailure::Final => false,
    }
}

/// Whether a retry that the operator asked for is safe.
fn may_retry(failure: AttemptFailure, request: Repeatable, plan: &RetryPlan) -> bool {
    failure != AttemptFailure::Final
        && (request.idempotent || plan.non_idempotent)
        && (request.bodyless || request.body_at_hand)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AttemptFailure::{BeforeResponse, Connect, Final, Unsent};

    const NOW: Timestamp = Timestamp::from_nanos(5);
    const LATER: Timestamp = Timestamp::from_nanos(9);

    fn get() -> Repeatable {
        Repeatable::of(Method::Get, Body::Empty)
    }

    fn post() -> Repeatable {
        Repeatable::of(Method::Post, Body::Length(3))
    }

    fn tries(made: u8) -> Tries {
        Tries { made, ..Tries::default() }
    }

    fn retry(attempts: u8) -> RetryPlan {
        RetryPlan { attempts, non_idempotent: false }
    }

    #[test]
    fn without_configuration_a_safe_request_is_replayed_once() {
        let mut tries = tries(1);
        assert_eq!(tries.again(BeforeResponse, get(), None, NOW, LATER), Ok(()));
        tries.begin();
        assert_eq!(tries.again(BeforeResponse, get(), None, NOW, LATER), Err(GiveUp::Attempts));
    }

    #[test]
    fn any_request_of_which_nothing_was_sent_is_replayed() {
        for failure in [Connect, Unsent] {
            assert_eq!(tries(1).again(failure, post(), None, NOW, LATER), Ok(()));
        }
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_not_replayed_unless_idempotent_and_bodyless() {
        let put = Repeatable::of(Method::Put, Body::Chunked);
        let bare_post = Repeatable::of(Method::Post, Body::Empty);
        for request in [post(), put, bare_post] {
            assert_eq!(tries(1).again(BeforeResponse, request, None, NOW, LATER), Err(GiveUp::Unsafe));
        }
    }

    #[test]
    fn nothing_is_made_again_after_a_response_began() {
        assert_eq!(tries(1).again(Final, get(), Some(&retry(5)), NOW, LATER), Err(GiveUp::Unsafe));
    }

    #[test]
    fn a_body_that_is_gone_cannot_be_sent_again() {
        let gone = Repeatable { body_at_hand: false, ..post() };
        assert_eq!(tries(1).again(Unsent, gone, None, NOW, LATER), Err(GiveUp::Unsafe));
    }

    #[test]
    fn every_try_counts_the_first_and_the_replay_included() {
        let mut tries = Tries::default();
        let mut made = 0;
        loop {
            tries.begin();
            made += 1;
            if tries.again(BeforeResponse, get(), Some(&retry(3)), NOW, LATER).is_err() {
                break;
            }
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn one_attempt_means_that_nothing_is_made_again() {
        assert_eq!(tries(1).again(Connect, get(), Some(&retry(1)), NOW, LATER), Err(GiveUp::Attempts));
    }

    #[test]
    fn a_retry_of_what_is_not_idempotent_must_be_asked_for() {
        let risky = RetryPlan { attempts: 5, non_idempotent: true };
        let mut careful = tries(1);
        assert_eq!(careful.again(BeforeResponse, post(), Some(&retry(5)), NOW, LATER), Err(GiveUp::Unsafe));
        assert_eq!(careful.again(BeforeResponse, post(), Some(&risky), NOW, LATER), Ok(()));
    }

    #[test]
    fn what_is_not_idempotent_is_replayed_but_not_retried_beyond() {
        let mut tries = tries(1);
        assert_eq!(tries.again(Connect, post(), Some(&retry(5)), NOW, LATER), Ok(()));
        tries.begin();
        assert_eq!(tries.again(Connect, post(), Some(&retry(5)), NOW, LATER), Err(GiveUp::Unsafe));
    }

    #[test]
    fn nothing_is_made_again_after_the_deadline() {
        assert_eq!(tries(1).again(Connect, get(), None, LATER, LATER), Err(GiveUp::Deadline));
    }

    #[test]
    fn more_attempts_than_the_bound_are_never_made() {
        let many = RetryPlan { attempts: u8::MAX, non_idempotent: false };
        assert_eq!(tries(ATTEMPTS_MAX).again(Connect, get(), Some(&many), NOW, LATER), Err(GiveUp::Attempts));
    }
}
