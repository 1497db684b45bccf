//! Which products and convolutions a library does: those that it does faster, as measured here, and that come out the same.
//!
//! Both ways run on noise in the buffers of the plan. What was found is kept, by the GPU, its driver, the library and the
//! launch; the next run compares it once, and does the same.

use super::device::Device;
use super::driver::{Address, CudaError, Launch, Operands};
use super::nvrtc;
use fgc_program::BufferId;
use fgc_program::cuda::{Choice, Precision, Start, Task};
use rustc_hash::FxHashMap;
use std::fmt;
use std::path::PathBuf;

/// Bytes of a result that are compared, at its start and at its end.
const COMPARED: usize = 1 << 20;
/// How it is measured: what was found otherwise is none of this.
const MEASURED: &str = "2";
/// What the library must take at most of our time: less is no gain that is worth other code.
const FASTER: f64 = 0.97;

/// The libraries for products and convolutions.
#[derive(Clone, Debug)]
pub struct Library {
    /// With their versions.
    pub name: String,
    /// Where what was measured is kept, if anywhere.
    pub kept: Option<PathBuf>,
}

/// What was found out about a task of a plan.
#[derive(Clone, Debug)]
pub struct Note {
    pub plan: usize,
    pub task: Task,
    /// For people: how fast the library does it and how fast fgc, or why the library is not asked to.
    pub why: String,
}

/// What was found out about a launch that the library may do.
#[derive(Clone, Debug)]
struct Verdict {
    /// The library's way, by its name, and how many seconds it takes; None: our own functions.
    way: Option<(String, f64)>,
    /// Why, for people.
    why: String,
}

/// Why a way of the library is not taken.
#[derive(Clone, Debug)]
enum Unlike {
    /// Results that are others than ours.
    Off(String),
    /// An error, which another day may not have.
    Failed(String),
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Unlike::Off(why) | Unlike::Failed(why) => f.write_str(why),
        }
    }
}

impl Device {
    /// Decides for all that the library may do; the memory they use is zero before and after.
    pub(super) fn choose(&mut self, library: &Library) -> Result<(), CudaError> {
        let offers = self.driver.prepare(&self.module.tasks)?;
        let mut known: FxHashMap<String, Verdict> = FxHashMap::default();
        // Of a launch's choices the fastest.
        let mut fastest: FxHashMap<(usize, usize), f64> = FxHashMap::default();
        for (n, choice) in self.module.choices.clone().iter().enumerate() {
            let offered = match &offers[choice.task] {
                Ok(ways) if !ways.is_empty() => ways,
                // Perhaps only today: nothing to keep.
                Ok(_) => {
                    self.note(choice, "the library knows no way that fits");
                    continue;
                }
                Err(why) => {
                    self.note(choice, &format!("the library does not do it: {why}"));
                    continue;
                }
            };
            let key = self.key(choice, library);
            let verdict = match known.get(&key) {
                Some(verdict) => verdict.clone(),
                None => {
                    let file = library.kept.as_ref().map(|folder| folder.join(&key));
                    let kept = file.as_ref().and_then(|file| Verdict::read(&std::fs::read_to_string(file).ok()?));
                    let verdict = match kept {
                        Some(kept) if self.holds(&kept, choice, offered)? => kept,
                        _ => {
                            let (verdict, lasts) = self.measured(choice, offered)?;
                            // What is not kept is measured again.
                            _ = file.filter(|_| lasts).map(|file| nvrtc::keep(&file, verdict.written().as_bytes()));
                            verdict
                        }
                    };
                    known.insert(key, verdict.clone());
                    verdict
                }
            };
            self.note(choice, &verdict.why);
            let Some((way, seconds)) = verdict.way else { continue };
            let (launch, way) = ((choice.plan, choice.launch), offered.iter().position(|offer| *offer == way));
            if let Some(way) = way.filter(|_| fastest.get(&launch).is_none_or(|other| seconds < *other)) {
                fastest.insert(launch, seconds);
                self.chosen.insert(launch, (n, way));
            }
        }
        Ok(())
    }

    fn note(&mut self, choice: &Choice, why: &str) {
        self.notes.push(Note { plan: choice.plan, task: self.module.tasks[choice.task].clone(), why: why.into() });
    }

    /// Whether what was kept of another day is true today: the way must be offered, and come out the same.
    fn holds(&mut self, kept: &Verdict, choice: &Choice, offered: &[String]) -> Result<bool, CudaError> {
        let Some((way, _)) = &kept.way else { return Ok(true) };
        let Some(way) = offered.iter().position(|offer| offer == way) else { return Ok(false) };
        Ok(self.comes_out_the_same(choice, way)?.is_ok())
    }

    /// What tells launches apart whose times may differ.
    fn key(&self, choice: &Choice, library: &Library) -> String {
        let mut hash = blake3::Hasher::new();
        let task = format!("{:?}", self.module.tasks[choice.task]);
        let places = format!(
            "{:?} {:?} {:?}",
            choice.starts.map(is_scratch),
            [choice.matrix, choice.bias].map(|added| added.map(is_scratch)),
            choice.lent.is_some()
        );
        for text in
            [env!("CARGO_PKG_VERSION").into(), MEASURED.into(), self.driver.name(), library.name.clone(), task, places]
        {
            hash.update(text.as_bytes()).update(&[0]);
        }
        for call in self.module.plans[choice.plan][choice.launch].iter().chain(&choice.before).chain(&choice.after) {
            hash.update(self.module.functions[call.function].text.as_bytes()).update(&call.blocks.to_le_bytes());
        }
        format!("library-{}", &hash.finalize().to_hex()[..32])
    }

    /// The launches that do what a choice is about, by the library.
    pub(super) fn library_launches(&self, choice: &Choice, way: usize) -> Vec<Launch> {
        let at = |start: Start| match start {
            Start::Within(buffer, byte) => self.at[buffer.0 as usize].plus(byte),
            Start::Scratch(byte) => self.scratch.plus(byte),
        };
        let [left, right, result] = choice.starts.map(at);
        let operands = Operands { left, right, result, matrix: choice.matrix.map(at), bias: choice.bias.map(at) };
        let lent = choice.lent.map(|(buffer, byte)| (buffer, self.scratch.plus(byte)));
        let before = choice.before.iter().map(|call| self.launch(call));
        let after = choice.after.iter().map(|call| Launch::Function(self.call(call, lent)));
        before.chain([Launch::Library { task: choice.task, way, operands }]).chain(after).collect()
    }

    /// The fastest way; and whether another day will find the same.
    fn measured(&mut self, choice: &Choice, offered: &[String]) -> Result<(Verdict, bool), CudaError> {
        let (mut same, mut unlike) = (Vec::new(), Vec::new());
        for way in 0..offered.len() {
            match self.comes_out_the_same(choice, way)? {
                Ok(()) => same.push(way),
                Err(why) => unlike.push(why),
            }
        }
        self.make_noise(choice)?;
        let own = self.driver.seconds(&self.own_launches(choice))?;
        let mut best: Option<(f64, usize)> = None;
        for way in same {
            match self.driver.seconds(&self.library_launches(choice, way)) {
                Ok(seconds) if best.is_none_or(|best| seconds < best.0) => best = Some((seconds, way)),
                Ok(_) => {}
                Err(error) => unlike.push(Unlike::Failed(error.to_string())),
            }
        }
        self.clear(choice)?;
        let Some((library, way)) = best else {
            let lasts = unlike.iter().all(|why| matches!(why, Unlike::Off(_)));
            let mut why: Vec<String> = unlike.iter().map(Unlike::to_string).collect();
            why.dedup();
            let why = format!("no way of the library will do: {}", why.join("; "));
            return Ok((Verdict { way: None, why }, lasts));
        };
        let wins = library < own * FASTER;
        let why = format!("the library takes {:.1} µs, fgc's own {:.1} µs", library * 1e6, own * 1e6);
        Ok((Verdict { way: wins.then(|| (offered[way].clone(), library)), why }, true))
    }

    fn own_launches(&self, choice: &Choice) -> Vec<Launch> {
        self.module.plans[choice.plan][choice.launch].iter().map(|call| self.launch(call)).collect()
    }

    /// What is read is noise, what is only written is zero.
    fn make_noise(&mut self, choice: &Choice) -> Result<(), CudaError> {
        self.clear(choice)?;
        // Products are to be about as large as what is added to them, and what is done to them is to show.
        let task = &self.module.tasks[choice.task];
        let product = task.terms() as f32 / 9.0 * task.finish().scale.get().powi(2);
        let factor = product.powf(-0.25);
        for (seed, &buffer) in (1..).zip(&choice.reads) {
            let size = if choice.operands.contains(&buffer) && factor.is_normal() { factor } else { 1.0 };
            self.fill(buffer, &noise(self.is_narrow(buffer), seed, size))?;
        }
        Ok(())
    }

    fn clear(&mut self, choice: &Choice) -> Result<(), CudaError> {
        choice.reads.iter().chain(&choice.writes).try_for_each(|buffer| self.fill(*buffer, &ZEROS))
    }

    /// Whether the library does what our own functions do, on noise; why not, if it does not.
    fn comes_out_the_same(&mut self, choice: &Choice, way: usize) -> Result<Result<(), Unlike>, CudaError> {
        self.make_noise(choice)?;
        self.run_all(&self.own_launches(choice))?;
        let wanted = self.compared(choice)?;
        let launches = self.library_launches(choice, way);
        self.make_noise(choice)?;
        // Once as it is: what a library loads when it is first called may not be loaded while launches are recorded.
        let mut ran = self.run_all(&launches);
        // Then recorded, as it would be in a step. Some of what is read may be written, too.
        self.make_noise(choice)?;
        // What another way has left there.
        self.fill_at(self.scratch, choice.scratch, &ZEROS)?;
        if ran.is_ok() {
            ran = self.run_recorded(launches);
        }
        let found = self.compared(choice)?;
        self.clear(choice)?;
        if let Err(error) = ran {
            return Ok(Err(Unlike::Failed(error.to_string())));
        }
        let allowed = match self.module.tasks[choice.task].precision() {
            // Sums of a hundred thousand numbers one after the other.
            Precision::F32 => 1e-4,
            // Rounded here, perhaps cut off there.
            Precision::Tf32 => 2e-3,
            Precision::Bf16 => 1e-2,
        };
        let mut off: f64 = 0.0;
        for (found, wanted) in found.iter().zip(&wanted) {
            match distance(found, wanted) {
                Some(distance) => off = off.max(distance),
                None => return Ok(Err(Unlike::Off("results that cannot be compared".into()))),
            }
        }
        Ok(match off <= allowed && !found.is_empty() {
            true => Ok(()),
            false => Err(Unlike::Off(format!("results that are {off:.1e} off, more than {allowed:.0e}"))),
        })
    }

    fn run_recorded(&mut self, launches: Vec<Launch>) -> Result<(), CudaError> {
        let recorded = self.driver.record(launches)?;
        let ran = self.driver.replay(recorded);
        self.driver.forget(recorded)?;
        ran
    }

    fn run_all(&mut self, launches: &[Launch]) -> Result<(), CudaError> {
        launches.iter().try_for_each(|launch| self.driver.run(launch))
    }

    fn is_narrow(&self, buffer: BufferId) -> bool {
        self.program().buffers[buffer.0 as usize].narrow
    }

    /// Repeats a pattern all over a buffer.
    fn fill(&mut self, buffer: BufferId, pattern: &[u8]) -> Result<(), CudaError> {
        let (at, bytes) = (self.at[buffer.0 as usize], self.program().buffers[buffer.0 as usize].bytes());
        self.fill_at(at, bytes, pattern)
    }

    fn fill_at(&mut self, at: Address, bytes: usize, pattern: &[u8]) -> Result<(), CudaError> {
        let mut done = bytes.min(pattern.len());
        self.driver.upload(at, &pattern[..done])?;
        while done < bytes {
            let more = done.min(bytes - done);
            self.driver.copy(at, at.plus(done), more)?;
            done += more;
        }
        Ok(())
    }

    /// What was written, of each buffer.
    fn compared(&self, choice: &Choice) -> Result<Vec<Vec<f32>>, CudaError> {
        choice.writes.iter().map(|buffer| self.ends(*buffer)).collect()
    }

    /// The elements at a buffer's start and end.
    fn ends(&self, buffer: BufferId) -> Result<Vec<f32>, CudaError> {
        let (at, bytes) = (self.at[buffer.0 as usize], self.program().buffers[buffer.0 as usize].bytes());
        let some = bytes.min(COMPARED);
        let mut values = Vec::new();
        for start in [0, (bytes - some) / 4 * 4] {
            let mut raw = vec![0; some];
            self.driver.download(Address(at.0 + start as u64), &mut raw)?;
            if self.is_narrow(buffer) {
                values.extend(raw.chunks_exact(2).map(|b| f32::from_bits(u32::from_le_bytes([0, 0, b[0], b[1]]))));
            } else {
                values.extend(raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            }
        }
        Ok(values)
    }
}

fn is_scratch(start: Start) -> bool {
    matches!(start, Start::Scratch(_))
}

static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// Numbers in [−size, size) as they are stored; as many as do not repeat along a row.
fn noise(narrow: bool, seed: u64, size: f32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let numbers = (0..16411).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        size * ((state >> 40) as f32 / (1u32 << 23) as f32 - 1.0)
    });
    if narrow {
        numbers.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect()
    } else {
        numbers.flat_map(f32::to_le_bytes).collect()
    }
}

/// ‖a − b‖ / ‖b‖; None if that is no number, or there is nothing to compare.
fn distance(a: &[f32], b: &[f32]) -> Option<f64> {
    let square = |x: f64| x * x;
    let off: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let size: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (off.is_finite() && size > 0.0).then(|| (off / size).sqrt())
}

impl Verdict {
    fn written(&self) -> String {
        match &self.way {
            Some((way, seconds)) => format!("library {way} {seconds:e}\n{}\n", self.why),
            None => format!("own\n{}\n", self.why),
        }
    }

    /// None if the text is none.
    fn read(text: &str) -> Option<Verdict> {
        let (way, why) = text.split_once('\n')?;
        let way = match way {
            "own" => None,
            way => {
                let (way, seconds) = way.strip_prefix("library ")?.rsplit_once(' ')?;
                Some((way.to_owned(), seconds.parse().ok()?))
            }
        };
        Some(Verdict { way, why: why.trim_end().to_owned() })
    }
}
