//! Kernels as native code: printed as C, compiled by the system's compiler, cached by content, loaded.

use fgc_program::{Kernel, c};
use libloading::Library;
use rustc_hash::FxHashMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;

/// A compiled kernel: its buffers' addresses, first and last (exclusive) iteration.
pub type Entry = unsafe extern "C" fn(*const *mut c_void, i64, i64);

/// NaN and infinity keep their meaning; sums may be regrouped, which vector code needs.
const FLAGS: &[&str] = &[
    // What -O3 adds takes as long again to compile and gains nothing measurable, but for this cost model; -O1 compiles in
    // half the time, and kernels take a third longer.
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-march=native",
    "-std=gnu99",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-shared",
    "-fPIC",
    "-w",
];

/// Kernels in one unit: the compiler's start and the prelude are paid once a unit, and units compile in parallel.
const UNIT: usize = 12;

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
    /// Units that were not in the cache.
    pub built: usize,
    /// Keeps the code of `entries`.
    _libraries: Vec<Library>,
}

struct Unit {
    source: String,
    /// blake3 of all that decides the machine code.
    hash: String,
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
        let mut flags = FLAGS.to_vec();
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // Compilers default to half-width vectors here, 1.5 times slower on exponentials.
            flags.push("-mprefer-vector-width=512");
        }
        let command = command.split_whitespace().map(String::from).collect();
        Compiler { command, flags, cache: cache.join("kernels") }
    }

    /// Native code for `kernels`. Equal kernels share code; units found in the cache are not compiled.
    pub fn compile(&self, kernels: &[Kernel]) -> Result<Compiled, CompileError> {
        if kernels.is_empty() {
            return Ok(Compiled { entries: Vec::new(), built: 0, _libraries: Vec::new() });
        }
        let version = self.version()?;
        let (texts, places) = distinct(kernels);
        let units: Vec<Unit> = texts.chunks(UNIT).map(|texts| self.unit(texts, &version)).collect();
        std::fs::create_dir_all(&self.cache).map_err(|source| self.cache_error(source))?;
        let missing: Vec<&Unit> = units.iter().filter(|unit| !self.path(unit, "so").exists()).collect();
        self.build(&missing)?;
        let mut libraries = Vec::new();
        for unit in &units {
            libraries.push(match self.load(unit) {
                Ok(library) => library,
                // A damaged file, perhaps of a machine that lost power: once more.
                Err(_) => {
                    self.build(&[unit])?;
                    self.load(unit)?
                }
            });
        }
        let mut entries = Vec::new();
        for place in places {
            let name = format!("k{}", place % UNIT);
            // SAFETY: the unit defines this name with this signature.
            entries.push(unsafe { *libraries[place / UNIT].get::<Entry>(name.as_bytes())? });
        }
        Ok(Compiled { entries, built: missing.len(), _libraries: libraries })
    }

    fn unit(&self, texts: &[String], version: &str) -> Unit {
        let mut source = String::from(c::PRELUDE);
        for (i, text) in texts.iter().enumerate() {
            source += "\n";
            source += &text.replacen(PLACEHOLDER, &format!("k{i}"), 1);
        }
        let mut hasher = blake3::Hasher::new();
        for part in [&source, &self.command.join(" "), &self.flags.join(" "), version, &cpu()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Unit { source, hash: hasher.finalize().to_hex()[..32].to_string() }
    }

    fn path(&self, unit: &Unit, extension: &str) -> PathBuf {
        self.cache.join(format!("{}.{extension}", unit.hash))
    }

    fn cache_error(&self, source: std::io::Error) -> CompileError {
        CompileError::Cache { path: self.cache.clone(), source }
    }

    fn load(&self, unit: &Unit) -> Result<Library, libloading::Error> {
        // SAFETY: the file is code this compiler made, from a directory of the user's own; it has no initialisers.
        unsafe { Library::new(self.path(unit, "so")) }
    }

    fn run(&self, args: &[&std::ffi::OsStr]) -> Result<std::process::Output, CompileError> {
        let program = self.command.first().map_or("cc", |c| c);
        let output = Command::new(program).args(self.command.iter().skip(1)).args(args).stdin(Stdio::null()).output();
        output.map_err(|source| CompileError::NoCompiler { command: program.into(), source })
    }

    fn version(&self) -> Result<String, CompileError> {
        let output = self.run(&["--version".as_ref()])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Compiles units on all cores.
    fn build(&self, units: &[&Unit]) -> Result<(), CompileError> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(units.len());
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.build_one(unit)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut result = work();
            for other in others {
                result = result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            result
        })
    }

    /// Written under a name of its own, then renamed: a reader never sees half a file.
    fn build_one(&self, unit: &Unit) -> Result<(), CompileError> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let own = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (source, object) = (self.path(unit, &format!("{own}.c")), self.path(unit, &format!("{own}.so")));
        std::fs::write(&source, &unit.source).map_err(|e| self.cache_error(e))?;
        let mut args: Vec<&std::ffi::OsStr> = self.flags.iter().map(|flag| flag.as_ref()).collect();
        args.extend(["-o".as_ref(), object.as_os_str(), source.as_os_str(), "-lm".as_ref()]);
        let output = self.run(&args)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(CompileError::Failed { command: self.command.join(" "), path: source, stderr });
        }
        std::fs::rename(&source, self.path(unit, "c")).map_err(|e| self.cache_error(e))?;
        std::fs::rename(&object, self.path(unit, "so")).map_err(|e| self.cache_error(e))
    }
}

/// Stands for the function's name until the unit gives it one; comments cannot contain it.
const PLACEHOLDER: &str = "@name@";

/// The distinct texts among `kernels`, and which of them each kernel is. What a kernel is called does not count.
fn distinct(kernels: &[Kernel]) -> (Vec<String>, Vec<usize>) {
    let mut seen: FxHashMap<String, usize> = FxHashMap::default();
    let mut texts = Vec::new();
    let places = kernels.iter().map(|kernel| {
        let text = c::kernel(kernel, PLACEHOLDER);
        let code = text.split_once('\n').map_or("", |(_comment, code)| code).to_string();
        *seen.entry(code).or_insert_with(|| {
            texts.push(text);
            texts.len() - 1
        })
    });
    let places = places.collect();
    (texts, places)
}

/// What `-march=native` depends on.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = |key: &str| info.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_string();
    [std::env::consts::ARCH.into(), line("model name"), line("flags"), line("Features")].join("\n")
}
