//! Tasks and virtual time: one thread, one queue; when nothing can run, time jumps to the next timer.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::count;
use super::link::{Link, Side};

/// Room for timers and tasks, so that a steady state allocates nothing.
const PLACES: usize = 1 << 16;

/// Whose task it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The shard's: a panic in it is counted, its allocations too.
    Shard,
    /// A scripted peer's, or the test itself: a panic in it fails the test.
    Script,
}

#[derive(Debug, Default)]
struct Queue {
    ready: Mutex<VecDeque<usize>>,
}

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
    queue: Arc<Queue>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.queue.ready.lock().unwrap().push_back(self.task);
        }
    }
}

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct Place {
    task: Option<(Kind, BoxedTask)>,
    state: Arc<TaskWaker>,
    waker: Waker,
}

/// Who waits for a point in time.
#[derive(Clone)]
enum Sleeper {
    Task(Waker),
    Link(Rc<Link>, Side, Half),
}

/// Which half of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Reading,
    Writing,
}

struct Timer {
    at: u64,
    number: u64,
    sleeper: Sleeper,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Runs tasks.
pub struct Executor {
    places: RefCell<Vec<Place>>,
    vacant: RefCell<Vec<usize>>,
    queue: Arc<Queue>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    now: Cell<u64>,
    timer_number: Cell<u64>,
    /// Counts every poll of a task.
    turn: Cell<u64>,
    /// Panics of the shard's tasks that nobody caught.
    pub panics: Cell<u64>,
    /// Runs ready tasks in random order.
    shuffle: Option<RefCell<fastrand::Rng>>,
}

impl Executor {
    pub fn new(start: u64, shuffle: Option<u64>) -> Self {
        Self {
            places: RefCell::default(),
            vacant: RefCell::default(),
            queue: Arc::default(),
            timers: RefCell::new(BinaryHeap::with_capacity(PLACES)),
            now: Cell::new(start),
            timer_number: Cell::new(0),
            turn: Cell::new(0),
            panics: Cell::new(0),
            shuffle: shuffle.map(|seed| RefCell::new(fastrand::Rng::with_seed(seed))),
        }
    }

    pub fn now(&self) -> u64 {
        self.now.get()
    }

    pub fn turn(&self) -> u64 {
        self.turn.get()
    }

    pub fn spawn(&self, kind: Kind, task: impl Future<Output = ()> + 'static) {
        let task: (Kind, BoxedTask) = (kind, Box::pin(task));
        let vacant = self.vacant.borrow_mut().pop();
        let mut places = self.places.borrow_mut();
        let place = vacant.unwrap_or(places.len());
        if place == places.len() {
            let queued = AtomicBool::new(false);
            let state = Arc::new(TaskWaker { task: place, queued, queue: self.queue.clone() });
            places.push(Place { task: None, waker: Waker::from(state.clone()), state });
        }
        places[place].task = Some(task);
        places[place].waker.wake_by_ref();
    }

    /// Wakes `waker` at `at`.
    pub fn wake_at(&self, at: u64, waker: &Waker) {
        self.push(at, Sleeper::Task(waker.clone()));
    }

    /// Looks at one half of an end at `at`.
    pub fn look_at(&self, at: u64, link: &Rc<Link>, side: Side, half: Half) {
        self.push(at, Sleeper::Link(link.clone(), side, half));
    }

    fn push(&self, at: u64, sleeper: Sleeper) {
        if at == u64::MAX {
            return;
        }
        let number = self.timer_number.get();
        self.timer_number.set(number + 1);
        self.timers.borrow_mut().push(Reverse(Timer { at, number, sleeper }));
    }

    /// Polls one ready task; `false` if there is none.
    pub fn step(&self) -> bool {
        let Some(number) = self.next_ready() else { return false };
        self.turn.set(self.turn.get() + 1);
        let (taken, waker) = {
            let mut places = self.places.borrow_mut();
            let place = &mut places[number];
            place.state.queued.store(false, Ordering::Relaxed);
            (place.task.take(), place.waker.clone())
        };
        let Some((kind, mut task)) = taken else { return true };
        let mut cx = Context::from_waker(&waker);
        let poll = match kind {
            Kind::Script => task.as_mut().poll(&mut cx),
            Kind::Shard => {
                count::enter();
                let outcome = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(&mut cx)));
                count::leave();
                outcome.unwrap_or_else(|_| {
                    self.panics.set(self.panics.get() + 1);
                    Poll::Ready(())
                })
            }
        };
        if poll.is_pending() {
            self.places.borrow_mut()[number].task = Some((kind, task));
        } else {
            drop(task);
            self.vacant.borrow_mut().push(number);
        }
        true
    }

    fn next_ready(&self) -> Option<usize> {
        let mut ready = self.queue.ready.lock().unwrap();
        match &self.shuffle {
            Some(random) if !ready.is_empty() => {
                let at = random.borrow_mut().usize(..ready.len());
                ready.remove(at)
            }
            _ => ready.pop_front(),
        }
    }

    /// Jumps to the next timer and wakes whoever waits for it; `false` if nobody waits for anything.
    pub fn advance(&self) -> bool {
        let Some(Reverse(first)) = self.timers.borrow_mut().pop() else { return false };
        self.now.set(self.now.get().max(first.at));
        self.fire(first.sleeper);
        loop {
            let due = self.timers.borrow().peek().is_some_and(|Reverse(timer)| timer.at <= self.now.get());
            if !due {
                return true;
            }
            let Some(Reverse(timer)) = self.timers.borrow_mut().pop() else { return true };
            self.fire(timer.sleeper);
        }
    }

    fn fire(&self, sleeper: Sleeper) {
        match sleeper {
            Sleeper::Task(waker) => waker.wake(),
            Sleeper::Link(link, side, half) => link.timer_fired(side, half),
        }
    }

    /// Drops every task.
    pub fn clear(&self) {
        loop {
            let taken: Vec<_> = self.places.borrow_mut().iter_mut().filter_map(|place| place.task.take()).collect();
            if taken.is_empty() {
                return;
            }
            // The shard's destructors may panic as badly as its tasks.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(taken)));
        }
    }
}
