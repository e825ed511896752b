//! Whole exchanges in the simulated world: one file per behaviour.

mod world;

mod keep_alive;

#[global_allocator]
static ALLOCATOR: world::count::Counting = world::count::Counting;
