//! Which products and convolutions a library does: those that it does faster, as measured here, and that come out the same.
//!
//! Both ways run on noise in the buffers of the plan. What was found is kept, by the GPU, its driver, the library and the
//! launch; the next run compares it once, and does the same.

use super::device::Device;
use super::driver::{Address, CudaError, Launch, Operands};
use fgc_program::BufferId;
use fgc_program::cuda::{Choice, Precision, Start};
use rustc_hash::FxHashMap;
use std::path::PathBuf;

/// Bytes of a result that are compared, at its start and at its end.
const COMPARED: usize = 1 << 20;
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

/// How a launch is carried out: by the library in this way, or by our own functions.
type Way = Option<usize>;

impl Device {
    /// Decides for all that the library may do; the memory they use is zero before and after.
    pub(super) fn choose(&mut self, library: &Library) -> Result<(), CudaError> {
        let ways = self.driver.prepare(&self.module.tasks)?;
        let mut known: FxHashMap<String, Way> = FxHashMap::default();
        for (n, choice) in self.module.choices.clone().iter().enumerate() {
            // Of two for a launch the first does more.
            if self.chosen.contains_key(&(choice.plan, choice.launch)) {
                continue;
            }
            // Perhaps only today: nothing to keep.
            if ways[choice.task] == 0 {
                continue;
            }
            let key = self.key(choice, library);
            let way = match known.get(&key) {
                Some(way) => *way,
                None => {
                    let file = library.kept.as_ref().map(|folder| folder.join(&key));
                    let kept = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
                    let way = match kept.and_then(|text| read(&text)) {
                        Some(None) => None,
                        // What the library numbers so today must come out the same, too.
                        Some(Some(way)) if way < ways[choice.task] && self.comes_out_the_same(choice, way)? => {
                            Some(way)
                        }
                        _ => self.measured(choice, ways[choice.task])?,
                    };
                    if let Some(file) = file {
                        // What is not kept is measured again.
                        _ = file.parent().map(std::fs::create_dir_all);
                        _ = std::fs::write(file, way.map_or("own\n".to_owned(), |way| format!("library {way}\n")));
                    }
                    known.insert(key, way);
                    way
                }
            };
            if let Some(way) = way {
                self.chosen.insert((choice.plan, choice.launch), (n, way));
            }
        }
        Ok(())
    }

    /// What tells launches apart whose times may differ.
    fn key(&self, choice: &Choice, library: &Library) -> String {
        let mut hash = blake3::Hasher::new();
        let task = format!("{:?}", self.module.tasks[choice.task]);
        let places = format!(
            "{:?} {:?} {:?}",
            choice.starts.map(is_scratch),
            choice.added.map(is_scratch),
            choice.lent.is_some()
        );
        for text in [env!("CARGO_PKG_VERSION").into(), self.driver.name(), library.name.clone(), task, places] {
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
        let operands = Operands { left, right, result, added: choice.added.map(at) };
        let lent = choice.lent.map(|(buffer, byte)| (buffer, self.scratch.plus(byte)));
        let before = choice.before.iter().map(|call| self.launch(call));
        let after = choice.after.iter().map(|call| Launch::Function(self.call(call, lent)));
        before.chain([Launch::Library { task: choice.task, way, operands }]).chain(after).collect()
    }

    /// The fastest way.
    fn measured(&mut self, choice: &Choice, ways: usize) -> Result<Way, CudaError> {
        let mut same = Vec::new();
        for way in 0..ways {
            if self.comes_out_the_same(choice, way)? {
                same.push(way);
            }
        }
        self.make_noise(choice)?;
        let own = self.own_launches(choice);
        let mut best = (self.driver.seconds(&own)? * FASTER, None);
        for way in same {
            let seconds = self.driver.seconds(&self.library_launches(choice, way))?;
            if seconds < best.0 {
                best = (seconds, Some(way));
            }
        }
        self.clear(choice)?;
        Ok(best.1)
    }

    fn own_launches(&self, choice: &Choice) -> Vec<Launch> {
        self.module.plans[choice.plan][choice.launch].iter().map(|call| self.launch(call)).collect()
    }

    /// What is read is noise, what is only written is zero.
    fn make_noise(&mut self, choice: &Choice) -> Result<(), CudaError> {
        self.clear(choice)?;
        for (seed, &buffer) in (1..).zip(&choice.reads) {
            self.fill(buffer, &noise(self.is_narrow(buffer), seed))?;
        }
        Ok(())
    }

    fn clear(&mut self, choice: &Choice) -> Result<(), CudaError> {
        choice.reads.iter().chain(&choice.writes).try_for_each(|buffer| self.fill(*buffer, &ZEROS))
    }

    /// Whether the library does what our own functions do, on noise. What it refuses it does not.
    fn comes_out_the_same(&mut self, choice: &Choice, way: usize) -> Result<bool, CudaError> {
        self.make_noise(choice)?;
        self.run_all(&self.own_launches(choice))?;
        let wanted = self.compared(choice)?;
        self.make_noise(choice)?;
        // What another way has left there.
        self.fill_at(self.scratch, choice.scratch, &ZEROS)?;
        let ran = self.run_all(&self.library_launches(choice, way)).is_ok();
        let found = self.compared(choice)?;
        self.clear(choice)?;
        let allowed = match self.module.tasks[choice.task].precision() {
            Precision::F32 => 1e-5,
            // Rounded here, perhaps cut off there.
            Precision::Tf32 => 2e-3,
            Precision::Bf16 => 1e-2,
        };
        let alike = |(a, b): (&Vec<f32>, &Vec<f32>)| distance(a, b).is_some_and(|off| off <= allowed);
        Ok(ran && !found.is_empty() && found.iter().zip(&wanted).all(alike))
    }

    fn is_narrow(&self, buffer: BufferId) -> bool {
        self.program().buffers[buffer.0 as usize].narrow
    }

    fn run_all(&mut self, launches: &[Launch]) -> Result<(), CudaError> {
        launches.iter().try_for_each(|launch| self.driver.run(launch))
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

/// Numbers in [−1, 1) as they are stored; as many as do not repeat along a row.
fn noise(narrow: bool, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let numbers = (0..16411).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
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

fn read(text: &str) -> Option<Way> {
    let text = text.trim();
    if text == "own" {
        return Some(None);
    }
    text.strip_prefix("library ").and_then(|way| way.parse().ok()).map(Some)
}
