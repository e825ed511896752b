//! The binary: an allocator and an exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// SAFETY: declared as mimalloc does. The call works on what is free, and on the calling thread's part of it alone, so it
// may be made at any time by any thread.
unsafe extern "C" {
    safe fn mi_collect(force: bool);
}

fn main() -> ExitCode {
    // Unasked, the allocator gives a burst's memory back only on later frees, and after a burst there may be none.
    tidegate::cli::main(|| mi_collect(false))
}
