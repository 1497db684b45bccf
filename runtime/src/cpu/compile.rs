//! Kernels as native code: printed as C, compiled by the system's compiler, cached by content, loaded.

use crate::cpu::flags::{self, Levels};
use fgc_program::{Kernel, c};
use libloading::Library;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ffi::{OsStr, c_void};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// A compiled kernel: its buffers' addresses, first and last (exclusive) iteration.
pub type Entry = unsafe extern "C" fn(*const *mut c_void, i64, i64);

/// What code that is compiled quickly, as scalar code, may take of a plan's time, all of it together.
const LITTLE: f64 = 0.001;

/// Bytes of one unit at least: the compiler's start and the prelude are paid once a unit.
const UNIT: usize = 16 << 10;

/// Units for each core, where there is as much to compile: they take unlike times.
const SHARES: usize = 4;

#[derive(Debug, Error)]
pub enum CompileError {
    #[error("there is no C compiler `{command}` ({source}); install one or set CC")]
    NoCompiler { command: String, source: std::io::Error },
    #[error("`{command}` failed on {path}:\n{stderr}", path = path.display())]
    Failed { command: String, path: PathBuf, stderr: String },
    #[error("cannot write compiled kernels to {path}: {source}", path = path.display())]
    Cache { path: PathBuf, source: std::io::Error },
    #[error("cannot load compiled kernels: {0}")]
    Load(#[from] libloading::Error),
    #[error("this system has no cache directory; set FGC_CACHE_DIR")]
    NoCacheDir,
}

/// How kernels are compiled, and where the results are kept.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The compiler and arguments that come first: `ccache gcc`.
    command: Vec<String>,
    flags: Vec<&'static str>,
    cache: PathBuf,
}

/// Native code for a list of kernels, in its order.
pub struct Compiled {
    pub entries: Vec<Entry>,
    /// Files that were compiled rather than found in the cache.
    pub built: usize,
    /// Keeps the code of `entries`.
    _library: Option<Library>,
}

/// `FGC_CACHE_DIR`, else fgc's part of the user's cache directory.
pub fn cache_dir() -> Option<PathBuf> {
    let own = std::env::var_os("FGC_CACHE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    own.or_else(|| Some(dirs::cache_dir()?.join("fgc")))
}

impl Compiler {
    /// `CC` (`cc` if unset), and `FGC_CACHE_DIR` (the user's cache directory if unset).
    pub fn from_env() -> Result<Compiler, CompileError> {
        let command = std::env::var("CC").unwrap_or_default();
        let cache = cache_dir().ok_or(CompileError::NoCacheDir)?;
        Ok(Compiler::new(if command.trim().is_empty() { "cc" } else { &command }, &cache))
    }

    /// Compiles with `command` and keeps results in `cache`/kernels.
    pub fn new(command: &str, cache: &Path) -> Compiler {
        let mut flags = flags::ALWAYS.to_vec();
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // Compilers default to half-width vectors here, 1.5 times slower on exponentials.
            flags.push("-mprefer-vector-width=512");
        }
        let command = command.split_whitespace().map(String::from).collect();
        Compiler { command, flags, cache: cache.join("kernels") }
    }

    /// Native code for `kernels`. Equal kernels share code, and loops that several have in common are compiled once. What is
    /// found in the cache is not compiled. `shares`: [`fgc_program::cost::scalar_shares`].
    pub fn compile(&self, kernels: &[Kernel], shares: &[f64]) -> Result<Compiled, CompileError> {
        if kernels.is_empty() {
            return Ok(Compiled { entries: Vec::new(), built: 0, _library: None });
        }
        let version = self.version()?;
        let levels = flags::levels(&version);
        let Code { units, places } = Code::new(kernels, shares);
        let path = self.cache.join(format!("{}.so", self.hash(&units, &levels, &version)));
        std::fs::create_dir_all(&self.cache).map_err(|source| self.cache_error(source))?;
        let mut built = 0;
        if !path.exists() {
            built = units.len();
            self.build(&units, &levels, &path)?;
        }
        // SAFETY: the file is code this compiler made, from a directory of the user's own; it has no initialisers.
        let library = match unsafe { Library::new(&path) } {
            Ok(library) => library,
            // A damaged file, perhaps of a machine that lost power: once more.
            Err(_) => {
                self.build(&units, &levels, &path)?;
                // SAFETY: as above.
                unsafe { Library::new(&path)? }
            }
        };
        let entry = |place| {
            // SAFETY: the units define this name with this signature.
            unsafe { library.get::<Entry>(format!("k{place}").as_bytes()).map(|entry| *entry) }
        };
        let entries = places.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Compiled { entries, built, _library: Some(library) })
    }

    /// Of all that decides the machine code.
    fn hash(&self, units: &[Unit], levels: &Levels, version: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        let flags = [&self.flags[..], levels.vector, levels.quick].map(|flags| flags.join(" "));
        let (command, cpu) = (self.command.join(" "), cpu());
        let others = [c::PRELUDE, &command, version, &cpu].into_iter().chain(flags.iter().map(String::as_str));
        let texts = units.iter().flat_map(|unit| [if unit.quick { "quick" } else { "vector" }, &unit.text]);
        for part in others.chain(texts) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_string()
    }

    fn cache_error(&self, source: std::io::Error) -> CompileError {
        CompileError::Cache { path: self.cache.clone(), source }
    }

    fn run(&self, args: &[&OsStr]) -> Result<std::process::Output, CompileError> {
        let program = self.command.first().map_or("cc", |c| c);
        let output = Command::new(program).args(self.command.iter().skip(1)).args(args).stdin(Stdio::null()).output();
        output.map_err(|source| CompileError::NoCompiler { command: program.into(), source })
    }

    fn version(&self) -> Result<String, CompileError> {
        let output = self.run(&["--version".as_ref()])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Compiles units on all cores and makes one library of them, in a directory of its own; then it is renamed: a reader
    /// never sees half a file. Where compiling fails the directory stays, for people to look into.
    fn build(&self, units: &[Unit], levels: &Levels, path: &Path) -> Result<(), CompileError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let own = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = path.with_extension(own);
        std::fs::create_dir_all(&dir).map_err(|e| self.cache_error(e))?;
        let library = dir.join("all.so");
        let vector = self.known(levels.vector)?;
        let translate = |i: usize, kind, to: &Path| {
            let flags = if units[i].quick { levels.quick } else { &vector };
            self.translate(&units[i].text, flags, &dir.join(format!("{i}.c")), kind, to)
        };
        if units.len() == 1 {
            translate(0, "-shared", &library)?;
        } else {
            let objects: Vec<PathBuf> = (0..units.len()).map(|i| dir.join(format!("{i}.o"))).collect();
            in_parallel(units.len(), &|i| translate(i, "-c", &objects[i]))?;
            let inputs = objects.iter().map(|object| object.as_os_str());
            let args = ["-shared", "-o"].map(OsStr::new).into_iter().chain([library.as_os_str()]);
            self.succeed(args.chain(inputs).chain([OsStr::new("-lm")]), &dir)?;
        }
        std::fs::rename(&library, path).map_err(|e| self.cache_error(e))?;
        std::fs::remove_dir_all(&dir).map_err(|e| self.cache_error(e))
    }

    /// These flags but for those that this version of the compiler does not know, which it names when it refuses them.
    fn known(&self, flags: &[&'static str]) -> Result<Vec<&'static str>, CompileError> {
        let mut known = flags.to_vec();
        loop {
            let all = self.flags.iter().chain(&known).chain(&["-fsyntax-only", "-x", "c", "/dev/null"]);
            let output = self.run(&all.map(OsStr::new).collect::<Vec<_>>())?;
            let (said, before) = (String::from_utf8_lossy(&output.stderr), known.len());
            // Behind the name may be what else could have been meant.
            let refused = |flag: &str| said.lines().any(|line| line.split(';').next().unwrap_or(line).contains(flag));
            if !output.status.success() {
                known.retain(|flag| !refused(flags::name(flag)));
            }
            // What else is wrong shows when there is something to compile.
            if known.len() == before {
                return Ok(known);
            }
        }
    }

    /// Writes a unit to `source` and compiles it.
    fn translate(&self, text: &str, flags: &[&str], source: &Path, kind: &str, to: &Path) -> Result<(), CompileError> {
        std::fs::write(source, [c::PRELUDE, text].concat()).map_err(|e| self.cache_error(e))?;
        let flags = self.flags.iter().chain(flags).map(|flag| OsStr::new(*flag));
        let rest = [OsStr::new(kind), "-o".as_ref(), to.as_os_str(), source.as_os_str(), "-lm".as_ref()];
        self.succeed(flags.chain(rest), source)
    }

    /// Runs the compiler on `about`.
    fn succeed<'a>(&self, args: impl Iterator<Item = &'a OsStr>, about: &Path) -> Result<(), CompileError> {
        let output = self.run(&args.collect::<Vec<_>>())?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(CompileError::Failed { command: self.command.join(" "), path: about.into(), stderr })
    }
}

/// Does `work` for 0..count on all cores.
fn in_parallel<E: Send>(count: usize, work: &(impl Fn(usize) -> Result<(), E> + Sync)) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(count);
    let next = AtomicUsize::new(0);
    let take = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return Ok(());
            }
            work(i)?;
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut result = take();
        for other in others {
            result = result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        result
    })
}

/// Stands for the function's name until it has one; comments cannot contain it.
const PLACEHOLDER: &str = "@name@";

/// A file to compile, but for the prelude.
struct Unit {
    text: String,
    quick: bool,
}

/// Kernels as text to compile.
struct Code {
    /// Files of one library.
    units: Vec<Unit>,
    /// Which function `k0`, `k1`, … each kernel is.
    places: Vec<usize>,
}

impl Code {
    /// Each distinct text once. What a kernel is called does not count.
    fn new(kernels: &[Kernel], shares: &[f64]) -> Code {
        assert_eq!(kernels.len(), shares.len(), "a share for each kernel");
        let mut functions = c::Functions::default();
        let mut seen: FxHashMap<String, usize> = FxHashMap::default();
        let (mut own, mut nests) = (Vec::new(), Vec::new());
        let places = kernels.iter().zip(shares).map(|(kernel, share)| {
            let (text, called) = functions.kernel(kernel, PLACEHOLDER);
            nests.resize(functions.nests.len(), 0.0);
            called.iter().for_each(|nest| nests[*nest] += share);
            let code = text.split_once('\n').map_or("", |(_comment, code)| code).to_string();
            let place = *seen.entry(code).or_insert_with(|| {
                let text = text.replacen(PLACEHOLDER, &format!("k{}", own.len()), 1);
                own.push(Text { text, called, share: 0.0, only_calls: c::only_calls(kernel) });
                own.len() - 1
            });
            own[place].share += share;
            place
        });
        let places = places.collect();
        // What takes longest first.
        let nests = functions.nests.iter().cloned().zip(nests);
        let nest = |(text, share)| Text { text, called: Vec::new(), share, only_calls: false };
        let mut texts: Vec<Text> = nests.map(nest).collect();
        texts.extend(own);
        let quick = quick(&texts);
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let size = UNIT.max(texts.iter().map(|text| text.text.len()).sum::<usize>() / (cores * SHARES));
        let of = |wanted: bool| texts.iter().zip(&quick).filter(move |pair| *pair.1 == wanted).map(|pair| pair.0);
        let units = [false, true].map(|quick| divide(of(quick), &functions, size, quick));
        Code { units: units.into_iter().flatten().collect(), places }
    }
}

/// A function, or several.
struct Text {
    text: String,
    /// The nests that it calls.
    called: Vec<usize>,
    /// Of a plan's time, if this were scalar code.
    share: f64,
    only_calls: bool,
}

/// What is to be compiled quickly: what does nothing but call others; of the rest what takes least time, as long as all of
/// it together takes little.
fn quick(texts: &[Text]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by(|a, b| texts[*a].share.total_cmp(&texts[*b].share));
    let mut quick = vec![false; texts.len()];
    let mut all = 0.0;
    for i in order {
        all += if texts[i].only_calls { 0.0 } else { texts[i].share };
        quick[i] = texts[i].only_calls || all <= LITTLE;
    }
    quick
}

/// Units of at least so many bytes, but for the last. Each declares the nests that it calls once.
fn divide<'a>(texts: impl Iterator<Item = &'a Text>, functions: &c::Functions, size: usize, quick: bool) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut declared: FxHashSet<usize> = FxHashSet::default();
    for Text { text, called, .. } in texts {
        if units.last().is_none_or(|unit| unit.text.len() >= size) {
            units.push(Unit { text: String::new(), quick });
            declared.clear();
        }
        let Some(unit) = units.last_mut() else { continue };
        let new = called.iter().filter(|nest| declared.insert(**nest));
        unit.text.extend(new.map(|nest| functions.declaration(*nest)));
        unit.text.extend([text, "\n"]);
    }
    units
}

/// What `-march=native` depends on.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |key: &str| info.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_string();
    [std::env::consts::ARCH.into(), line("model name"), line("flags"), line("Features")].join("\n")
}
