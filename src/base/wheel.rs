//! A coarse timer wheel for deadlines that are moved far more often than they pass.
//!
//! An entry lives as long as what it guards (a connection) and is looked at when the tick it stands in has come; who
//! owns the deadline then says whether it has passed or when to look again. Moving a deadline later therefore costs
//! nothing here, and moving it earlier relinks one entry. Knows no clock: time is told.

use std::time::Duration;

use super::time::Timestamp;

/// How coarse it is: an entry is looked at up to this much after its deadline, never before.
pub const WHEEL_TICK: Duration = Duration::from_millis(50);
/// Ticks of one turn. A deadline further away is looked at once a turn and put back.
const WHEEL_SLOTS: usize = 2048;

const TICK_NANOS: u64 = WHEEL_TICK.as_nanos() as u64;
/// No entry: the end of a list.
const NONE: u32 = u32::MAX;
/// The tick of an entry that stands in no slot.
const UNARMED: u64 = u64::MAX;

const _: () = assert!(WHEEL_SLOTS.is_power_of_two(), "a tick finds its slot with a mask");

/// An entry of one wheel, valid until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerId(u32);

/// The entries of one shard, linked into the slots of their ticks.
pub struct Wheel<T> {
    slots: Box<[u32]>,
    entries: Vec<Entry<T>>,
    /// The first free entry; free entries are linked by `next`.
    free: u32,
    /// The last tick that was handled.
    tick: u64,
}

struct Entry<T> {
    next: u32,
    previous: u32,
    tick: u64,
    /// Absent while the entry is free.
    value: Option<T>,
}

impl<T> Wheel<T> {
    /// An empty wheel that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        let slots = vec![NONE; WHEEL_SLOTS].into_boxed_slice();
        Self { slots, entries: Vec::new(), free: NONE, tick: tick_before(now) }
    }

    /// Adds an entry that stands in no slot yet.
    pub fn insert(&mut self, value: T) -> TimerId {
        let entry = Entry { next: NONE, previous: NONE, tick: UNARMED, value: Some(value) };
        if self.free != NONE {
            let id = self.free;
            self.free = self.entries[id as usize].next;
            self.entries[id as usize] = entry;
            return TimerId(id);
        }
        let id = u32::try_from(self.entries.len()).expect("descriptors are bounded far below u32::MAX");
        self.entries.push(entry);
        TimerId(id)
    }

    /// Takes an entry out and ends its id.
    pub fn remove(&mut self, id: TimerId) -> Option<T> {
        self.unlink(id.0);
        let entry = &mut self.entries[id.0 as usize];
        let value = entry.value.take()?;
        entry.next = self.free;
        self.free = id.0;
        Some(value)
    }

    /// The value of an entry that was not removed.
    #[inline]
    pub fn value(&self, id: TimerId) -> Option<&T> {
        self.entries[id.0 as usize].value.as_ref()
    }

    /// The value of an entry that was not removed.
    #[inline]
    pub fn value_mut(&mut self, id: TimerId) -> Option<&mut T> {
        self.entries[id.0 as usize].value.as_mut()
    }

    /// Has the entry looked at once `deadline` has passed, or earlier.
    #[inline]
    pub fn arm(&mut self, id: TimerId, deadline: Timestamp) {
        if deadline != Timestamp::NEVER && tick_after(deadline) < self.entries[id.0 as usize].tick {
            self.link(id.0, deadline);
        }
    }

    /// Handles all ticks up to `now`: `look` judges every entry that is due and returns its next deadline, if it has one.
    pub fn advance(&mut self, now: Timestamp, mut look: impl FnMut(&mut T) -> Option<Timestamp>) {
        let target = tick_before(now);
        // One turn visits every slot, however long nobody called.
        let first = (self.tick + 1).max(target.saturating_sub(WHEEL_SLOTS as u64 - 1));
        self.tick = self.tick.max(target);
        for tick in first..=target {
            let mut id = std::mem::replace(&mut self.slots[slot(tick)], NONE);
            while id != NONE {
                let entry = &mut self.entries[id as usize];
                let next = entry.next;
                entry.tick = UNARMED;
                let deadline = entry.value.as_mut().and_then(&mut look);
                if let Some(deadline) = deadline.filter(|deadline| *deadline != Timestamp::NEVER) {
                    self.link(id, deadline);
                }
                id = next;
            }
        }
    }

    fn link(&mut self, id: u32, deadline: Timestamp) {
        self.unlink(id);
        // Within the coming turn, so that a slot holds entries of one tick only.
        let tick = tick_after(deadline).clamp(self.tick + 1, self.tick + WHEEL_SLOTS as u64 - 1);
        let head = std::mem::replace(&mut self.slots[slot(tick)], id);
        if head != NONE {
            self.entries[head as usize].previous = id;
        }
        let entry = &mut self.entries[id as usize];
        (entry.next, entry.previous, entry.tick) = (head, NONE, tick);
    }

    fn unlink(&mut self, id: u32) {
        let entry = &mut self.entries[id as usize];
        let (next, previous, tick) = (entry.next, entry.previous, entry.tick);
        if tick == UNARMED {
            return;
        }
        entry.tick = UNARMED;
        match previous {
            NONE => self.slots[slot(tick)] = next,
            previous => self.entries[previous as usize].next = next,
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
    }
}

#[inline]
fn slot(tick: u64) -> usize {
    tick as usize & (WHEEL_SLOTS - 1)
}

/// The last tick that is not after `time`.
#[inline]
fn tick_before(time: Timestamp) -> u64 {
    time.as_nanos() / TICK_NANOS
}

/// The first tick that is not before `time`.
#[inline]
fn tick_after(time: Timestamp) -> u64 {
    time.as_nanos().div_ceil(TICK_NANOS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn due(wheel: &mut Wheel<u32>, now: Timestamp) -> Vec<u32> {
        let mut seen = Vec::new();
        wheel.advance(now, |value| {
            seen.push(*value);
            None
        });
        seen
    }

    #[test]
    fn an_entry_is_looked_at_after_its_deadline_and_once() {
        let mut wheel = Wheel::new(at(0));
        let id = wheel.insert(7);
        wheel.arm(id, at(120));
        assert!(due(&mut wheel, at(119)).is_empty());
        assert_eq!(due(&mut wheel, at(150)), [7]);
        assert!(due(&mut wheel, at(10_000)).is_empty());
    }

    #[test]
    fn an_entry_that_names_a_later_deadline_is_looked_at_again() {
        let mut wheel = Wheel::new(at(0));
        let id = wheel.insert(7);
        wheel.arm(id, at(100));
        wheel.advance(at(100), |_| Some(at(300)));
        assert!(due(&mut wheel, at(250)).is_empty());
        assert_eq!(due(&mut wheel, at(300)), [7]);
    }

    #[test]
    fn a_past_deadline_is_looked_at_on_the_next_tick() {
        let mut wheel = Wheel::new(at(1000));
        let id = wheel.insert(7);
        wheel.arm(id, at(10));
        assert_eq!(due(&mut wheel, at(1050)), [7]);
    }

    #[test]
    fn a_removed_entry_is_never_looked_at_and_its_place_is_used_again() {
        let mut wheel = Wheel::new(at(0));
        let first = wheel.insert(1);
        let second = wheel.insert(2);
        wheel.arm(first, at(100));
        wheel.arm(second, at(100));
        assert_eq!(wheel.remove(first), Some(1));
        assert_eq!(wheel.insert(3), first);
        assert_eq!(due(&mut wheel, at(100)), [2]);
    }

    #[test]
    fn after_a_long_silence_everything_due_is_looked_at() {
        let mut wheel = Wheel::new(at(0));
        for value in 0..10 {
            let id = wheel.insert(value);
            wheel.arm(id, at(u64::from(value) * 7_000));
        }
        assert_eq!(due(&mut wheel, at(3_600_000)).len(), 10);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert,
        Remove(usize),
        Arm(usize, u64),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Insert),
            (0..64usize).prop_map(Step::Remove),
            (0..64usize, 0..400_000u64).prop_map(|(index, millis)| Step::Arm(index, millis)),
            prop_oneof![0..200u64, 0..200_000u64].prop_map(Step::Advance),
        ]
    }

    /// What the wheel promises, kept in a plain list: every entry has at most one deadline.
    #[derive(Default)]
    struct Model {
        live: Vec<(TimerId, u64, Option<u64>)>,
    }

    impl Model {
        fn expire(&mut self, now: u64, looked_at: &[u64]) {
            for (_, name, deadline) in &mut self.live {
                let Some(millis) = *deadline else { continue };
                let fired = looked_at.contains(name);
                assert!(!fired || millis <= now, "entry {name} fired before its deadline");
                assert!(fired || millis + 50 > now, "entry {name} is overdue");
                if fired {
                    *deadline = None;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_deadlines(steps in proptest::collection::vec(step(), 1..200)) {
            let mut wheel: Wheel<(u64, Timestamp)> = Wheel::new(at(0));
            let mut model = Model::default();
            let (mut now, mut names) = (0u64, 0u64);
            for step in steps {
                match step {
                    Step::Insert => {
                        model.live.push((wheel.insert((names, Timestamp::NEVER)), names, None));
                        names += 1;
                    }
                    Step::Remove(index) if index < model.live.len() => {
                        let (id, name, _) = model.live.swap_remove(index);
                        prop_assert_eq!(wheel.remove(id).map(|value| value.0), Some(name));
                    }
                    Step::Arm(index, millis) if index < model.live.len() => {
                        let (id, _, deadline) = &mut model.live[index];
                        let deadline_at = now + millis;
                        *deadline = Some(deadline_at);
                        wheel.value_mut(*id).unwrap().1 = at(deadline_at);
                        wheel.arm(*id, at(deadline_at));
                    }
                    Step::Advance(millis) => {
                        now += millis;
                        let mut looked_at = Vec::new();
                        wheel.advance(at(now), |(name, deadline)| {
                            if *deadline <= at(now) {
                                looked_at.push(*name);
                                *deadline = Timestamp::NEVER;
                            }
                            Some(*deadline)
                        });
                        model.expire(now, &looked_at);
                    }
                    Step::Remove(_) | Step::Arm(..) => {}
                }
            }
        }
    }
}
