//! A fixed set of threads that share one job at a time.
//!
//! Steps launch hundreds of kernels of some microseconds each, so a job must cost almost nothing to start: threads that
//! wait spin for a moment before they sleep, and no job waits for a thread that is still asleep.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle thread looks for work before it sleeps. Waking it takes about as long.
const SPIN: Duration = Duration::from_micros(60);

const OPEN: u64 = 1 << 31;
const ACTIVE: u64 = OPEN - 1;

/// Threads that run jobs together with the caller.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Clone, Copy)]
struct Job {
    run: *const (dyn Fn(usize) + Sync),
    tasks: usize,
}

/// On a cache line of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

struct Shared {
    /// The job's number (32 bits), whether threads may still join it (1), how many have joined and not left (31).
    state: AtomicU64,
    /// Written only while no thread is active and none may join.
    job: UnsafeCell<Job>,
    /// Each thread's next task of its own share.
    next: Vec<Next>,
    stop: AtomicBool,
    panicked: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written by the pool's owner while `state` is closed with nobody active, and read by threads that
// joined through `state`; its closure is Sync.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is only followed while the closure lives.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs the tasks of this thread's share, then what is left of the others'.
    ///
    /// Shares are the same runs of tasks in every job: what a thread wrote in one job lies in its cache when it reads the
    /// same rows in the next.
    fn work(&self, job: Job, thread: usize) {
        // SAFETY: the owner keeps the closure alive until all who joined have left.
        let run = unsafe { &*job.run };
        let threads = self.next.len();
        for share in (thread..threads).chain(0..thread) {
            let end = (share + 1) * job.tasks / threads;
            loop {
                let task = self.next[share].0.fetch_add(1, Relaxed);
                if task >= end {
                    break;
                }
                run(task);
            }
        }
    }

    /// What each worker does, until the pool is dropped.
    fn serve(&self, thread: usize) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen) {
            seen = state >> 32;
            if state & OPEN == 0 {
                continue;
            }
            let join = |s: u64| (s >> 32 == seen && s & OPEN != 0).then_some(s + 1);
            if self.state.fetch_update(SeqCst, SeqCst, join).is_ok() {
                // SAFETY: joined, so the job is not written until this thread leaves.
                let job = unsafe { *self.job.get() };
                if catch_unwind(AssertUnwindSafe(|| self.work(job, thread))).is_err() {
                    self.panicked.store(true, SeqCst);
                }
                self.state.fetch_sub(1, SeqCst);
            }
        }
    }

    /// Waits for a job other than `seen`; None when the pool ends.
    fn wait(&self, seen: u64) -> Option<u64> {
        let fresh = || Some(self.state.load(SeqCst)).filter(|s| s >> 32 != seen);
        let begun = Instant::now();
        while begun.elapsed() < SPIN {
            for _ in 0..32 {
                if let Some(state) = fresh() {
                    return Some(state);
                }
                spin_loop();
            }
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, SeqCst);
        let state = loop {
            // Looked at after `sleepers` is raised: a job opened since then sees a sleeper and takes the lock to wake it.
            if self.stop.load(SeqCst) {
                break None;
            }
            if let Some(state) = fresh() {
                break Some(state);
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, SeqCst);
        state
    }

    fn wake_all(&self) {
        let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_all();
    }
}

/// Ends a job, also when a task panics: nobody may join any more, and all who did have left.
struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_and(!OPEN, SeqCst);
        let mut rounds = 0u32;
        while self.0.state.load(SeqCst) & ACTIVE != 0 {
            rounds += 1;
            if rounds < 2000 { spin_loop() } else { std::thread::yield_now() }
        }
    }
}

impl Pool {
    /// With `threads` threads, the caller's included (at least that one). Fewer if the system gives no more.
    pub fn new(threads: usize) -> Pool {
        let idle: &'static (dyn Fn(usize) + Sync) = &|_| {};
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { run: idle, tasks: 0 }),
            next: (0..threads.max(1)).map(|_| Next(AtomicUsize::new(0))).collect(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let spawn = |i: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("fgc-{i}")).spawn(move || shared.serve(i)).ok()
        };
        let workers = (1..threads).map_while(spawn).collect();
        Pool { shared, workers }
    }

    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(i)` for every i in 0..tasks, in any order, on any thread; returns when all are done.
    ///
    /// # Panics
    /// If a task does.
    pub fn run(&mut self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || self.workers.is_empty() {
            return (0..tasks).for_each(task);
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Close` makes sure that nobody follows the pointer after this call.
        let run = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(task) };
        let job = Job { run, tasks };
        // SAFETY: the last job is closed and all have left it, and `&mut self` allows no second caller.
        unsafe { *shared.job.get() = job };
        let threads = shared.next.len();
        for (share, next) in shared.next.iter().enumerate() {
            next.0.store(share * tasks / threads, SeqCst);
        }
        let number = ((shared.state.load(SeqCst) >> 32) + 1) & 0xffff_ffff;
        shared.state.store(number << 32 | OPEN, SeqCst);
        let close = Close(shared);
        if shared.sleepers.load(SeqCst) > 0 {
            shared.wake_all();
        }
        shared.work(job, 0);
        drop(close);
        if shared.panicked.swap(false, SeqCst) {
            panic!("a task panicked on another thread");
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.shared.wake_all();
        for worker in self.workers.drain(..) {
            // A worker catches its tasks' panics and has none of its own.
            _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_threads() {
        for threads in [1, 2, 5] {
            let mut pool = Pool::new(threads);
            for round in 0..200 {
                let tasks = round % 17;
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, &|i| _ = counts[i].fetch_add(1, SeqCst));
                assert!(counts.iter().all(|c| c.load(SeqCst) == 1), "{threads} threads, {tasks} tasks");
                if round % 50 == 0 {
                    // Long enough for the workers to fall asleep.
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = Pool::new(3);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|i| assert_ne!(i, 5))));
        assert!(result.is_err());
        let done = AtomicUsize::new(0);
        pool.run(8, &|_| _ = done.fetch_add(1, SeqCst));
        assert_eq!(done.load(SeqCst), 8);
    }
}
