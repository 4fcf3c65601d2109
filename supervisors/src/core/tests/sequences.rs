//! Random sequences that a seed determines.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The variable for a seed that a failed test has printed: only the sequence of that seed is run.
const SEED: &str = "SUPERVISORS_SEED";

/// The variable for the number of sequences of each test, in place of its own number.
const COUNT: &str = "SUPERVISORS_SEQUENCES";

/// Runs this many sequences on all processors, each with a seed of its own.
pub(super) fn sequences(count: u64, run: impl Fn(&mut StdRng) + Sync) {
    if let Ok(seed) = std::env::var(SEED) {
        one(seed.parse().expect("a seed is a number"), &run);
        return;
    }
    let count = std::env::var(COUNT).map_or(count, |count| count.parse().expect("a count is a number"));
    let first: u64 = rand::random();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        let part = |core: u64| -> Range<u64> { core * count / cores..(core + 1) * count / cores };
        for part in (0..cores).map(part) {
            let run = &run;
            scope.spawn(move || part.for_each(|n| one(first.wrapping_add(n), run)));
        }
    });
}

fn one(seed: u64, run: &impl Fn(&mut StdRng)) {
    let failed = PrintSeed(seed);
    run(&mut StdRng::seed_from_u64(seed));
    std::mem::forget(failed);
}

struct PrintSeed(u64);

impl Drop for PrintSeed {
    fn drop(&mut self) {
        eprintln!("run it again with {SEED}={}", self.0);
    }
}

/// Picks one of these at random.
pub(super) fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}
