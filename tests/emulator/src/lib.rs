//! A [`Driver`] that runs generated CUDA C++ on the CPU.
//!
//! The functions are compiled by the system's C++ compiler with `emulate.h`, which says what CUDA's words mean. Memory is
//! the process's own, so wild accesses crash like any others; what the order of threads decides comes out differently
//! with another seed.

pub mod library;

use fgc_program::Language;
use fgc_program::cuda::{ALIGN, Function, Task, source};
use fgc_runtime::cuda::driver::{Launch, Ways};
use fgc_runtime::cuda::nvrtc::units;
use fgc_runtime::cuda::{Address, CudaError, Driver, Ticket};
use libloading::Library;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

const HEADER: &str = include_str!("emulate.h");
const FLAGS: &[&str] =
    &["-O1", "-std=gnu++17", "-shared", "-fPIC", "-w", "-fno-strict-aliasing", "-fno-math-errno", "-mfma"];

type Wrapper = unsafe extern "C" fn(*mut *mut c_void);
type Emulate = unsafe extern "C" fn(Wrapper, *mut *mut c_void, u32, u32, u32, u64);

/// A GPU that is none.
pub struct Emulator {
    /// Decides in which order threads run.
    seed: u64,
    /// Bytes of shared memory of a band's blocks.
    shared: usize,
    /// The library for products and convolutions, if there is one.
    library: Option<library::Library>,
    /// Where what was measured of it is kept.
    kept: Option<PathBuf>,
    tasks: Vec<Task>,
    blocks: Vec<(*mut u8, Layout)>,
    functions: Vec<Loaded>,
    recorded: Vec<Vec<Launch>>,
    /// Until they are collected.
    posted: Vec<Option<Vec<u8>>>,
    /// Keeps the code.
    libraries: Vec<Library>,
}

struct Loaded {
    wrapper: Wrapper,
    emulate: Emulate,
}

// SAFETY: the memory belongs to the emulator alone, and is used through `&mut` or read through `&`.
unsafe impl Send for Emulator {}

impl Emulator {
    /// Seed 0 runs threads in order, 1 the other way round, others shuffled.
    pub fn new(seed: u64) -> Emulator {
        Emulator::within(seed, fgc_program::cuda::SHARED)
    }

    /// As [`Emulator::new`], with so many bytes of shared memory for blocks of bands.
    pub fn within(seed: u64, shared: usize) -> Emulator {
        Emulator {
            seed,
            shared,
            library: None,
            kept: None,
            tasks: Vec::new(),
            blocks: Vec::new(),
            functions: Vec::new(),
            recorded: Vec::new(),
            posted: Vec::new(),
            libraries: Vec::new(),
        }
    }

    /// With a library for products and convolutions.
    pub fn with(mut self, library: library::Library) -> Emulator {
        self.library = Some(library);
        self
    }

    /// With a folder for what was measured of its library.
    pub fn keeping(mut self, folder: &Path) -> Emulator {
        self.kept = Some(folder.to_owned());
        self
    }

    fn launch(&self, launch: &Launch) {
        let launch = match launch {
            Launch::Function(launch) => launch,
            Launch::Library { task, way, operands } => {
                // SAFETY: the device gives places within its memory where the task's operands fit.
                return unsafe { library::run(&self.tasks[*task], self.library, *way, operands) };
            }
        };
        let loaded = &self.functions[launch.function];
        let mut arguments: Vec<*mut c_void> = launch.arguments.iter().map(|word| *word as *mut c_void).collect();
        // SAFETY: the wrapper takes as many words as the function has parameters, which are the launch's; what those that are
        // pointers point to is this emulator's.
        unsafe {
            let [blocks, threads, shared] = [launch.blocks, launch.threads, launch.shared].map(|number| number as u32);
            (loaded.emulate)(loaded.wrapper, arguments.as_mut_ptr(), blocks, threads, shared, self.seed);
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for (at, layout) in &self.blocks {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(*at, *layout) };
        }
        self.libraries.clear();
    }
}

fn failed(action: &'static str) -> impl Fn(std::io::Error) -> CudaError {
    move |e| CudaError::Failed { action, what: e.to_string() }
}

/// Where compiled functions are kept.
fn cache() -> PathBuf {
    let own = option_env!("CARGO_TARGET_TMPDIR").map(PathBuf::from);
    own.unwrap_or_else(std::env::temp_dir).join("fgc-emulated")
}

/// Compiles the functions of one unit; the library's path.
fn compile(functions: &[&Function]) -> Result<PathBuf, CudaError> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let outside = functions.first().and_then(|function| function.outside.as_ref());
    let mut text = match outside {
        Some(outside) if outside.code.language == Language::Ptx => {
            return Err(CudaError::Missing(format!("{} is PTX, which only a GPU runs", outside.code.name)));
        }
        Some(outside) => format!("{HEADER}\n{}", outside.code.text),
        None => format!("{HEADER}\n{}", source(functions.iter().copied())),
    };
    for function in functions {
        let name = &function.name;
        let entry = function.outside.as_ref().map_or(name, |outside| &outside.entry);
        text += &format!("\nextern \"C\" void call_{name}(void **a) {{ emulated::call({entry}, a); }}\n");
    }
    let hash = blake3::hash((text.clone() + &FLAGS.join(" ")).as_bytes()).to_hex()[..32].to_string();
    let path = cache().join(format!("{hash}.so"));
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(cache()).map_err(failed("make a directory"))?;
    let own = format!("{hash}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let (unit, object) = (cache().join(format!("{own}.cpp")), cache().join(format!("{own}.so")));
    std::fs::write(&unit, text).map_err(failed("write generated code"))?;
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
    let output = Command::new(compiler).args(FLAGS).arg("-o").arg(&object).arg(&unit).output();
    let output = output.map_err(failed("start the C++ compiler"))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr).lines().take(40).collect::<Vec<_>>().join("\n");
        return Err(CudaError::Compile { log: format!("{}\n{log}", unit.display()) });
    }
    _ = std::fs::remove_file(unit);
    std::fs::rename(object, &path).map_err(failed("keep compiled code"))?;
    Ok(path)
}

impl Driver for Emulator {
    fn name(&self) -> String {
        "emulated on the CPU".into()
    }

    fn shared(&self) -> usize {
        self.shared
    }

    fn library(&self) -> Option<fgc_runtime::cuda::Library> {
        Some(fgc_runtime::cuda::Library { name: self.library?.name(), kept: self.kept.clone() })
    }

    fn prepare(&mut self, tasks: &[Task]) -> Result<Vec<Ways>, CudaError> {
        self.tasks.extend(tasks.iter().cloned());
        let ways = self.library.map(library::ways).ok_or("there is none".to_owned());
        Ok(vec![ways; tasks.len()])
    }

    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Address, CudaError> {
        let error = |_| CudaError::Memory { bytes, what: what.into() };
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(error)?;
        // SAFETY: the layout's size is not zero.
        let at = unsafe { alloc_zeroed(layout) };
        if at.is_null() {
            handle_alloc_error(layout);
        }
        self.blocks.push((at, layout));
        Ok(Address(at as u64))
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), CudaError> {
        // SAFETY: the device asks for no more than it allocated.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.0 as *mut u8, bytes.len()) };
        Ok(())
    }

    fn post(&mut self, from: Address, bytes: usize) -> Result<Ticket, CudaError> {
        let mut posted = vec![0; bytes];
        self.download(from, &mut posted)?;
        self.posted.push(Some(posted));
        Ok(Ticket { number: self.posted.len() - 1, held: Default::default() })
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u8>, CudaError> {
        let missing = CudaError::Failed { action: "collect", what: "nothing was posted".into() };
        self.posted.get_mut(ticket.number).and_then(Option::take).ok_or(missing)
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError> {
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.0 as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError> {
        // SAFETY: as above.
        unsafe { std::ptr::copy(from.0 as *const u8, to.0 as *mut u8, bytes) };
        Ok(())
    }

    fn load(&mut self, functions: &[Function]) -> Result<(), CudaError> {
        let numbers = units(functions);
        let units: Vec<Vec<&Function>> =
            numbers.iter().map(|unit| unit.iter().map(|&i| &functions[i]).collect()).collect();
        let first = self.functions.len();
        let mut loaded: Vec<Option<Loaded>> = functions.iter().map(|_| None).collect();
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), CudaError> {
            while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                compile(unit)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(work);
            work().and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let load = |e: libloading::Error| CudaError::Failed { action: "load compiled code", what: e.to_string() };
        for (unit, numbers) in units.iter().zip(&numbers) {
            // SAFETY: code this emulator compiled; it has no initialisers but the mutex's.
            let library = unsafe { Library::new(compile(unit)?) }.map_err(load)?;
            for (function, &number) in unit.iter().zip(numbers) {
                // SAFETY: the unit defines these names with these types.
                unsafe {
                    let wrapper = *library.get(format!("call_{}", function.name).as_bytes()).map_err(load)?;
                    let emulate = *library.get(b"fgc_emulate").map_err(load)?;
                    loaded[number] = Some(Loaded { wrapper, emulate });
                }
            }
            self.libraries.push(library);
        }
        self.functions.extend(loaded.into_iter().flatten());
        debug_assert_eq!(self.functions.len(), first + functions.len(), "every function is in one unit");
        Ok(())
    }

    fn wait(&mut self) -> Result<(), CudaError> {
        Ok(())
    }

    /// Not how long they take here: the library is as fast as it is said to be.
    fn seconds(&mut self, launches: &[Launch]) -> Result<f64, CudaError> {
        let second = |launch: &Launch| match (launch, self.library) {
            (Launch::Library { .. }, Some(library::Library::Slow)) => 2.0,
            (Launch::Library { way, .. }, _) => 0.5 + 0.1 * *way as f64,
            // Copies of operands take numbers, and are no more than 16 MiB long.
            (Launch::Function(launch), _) if launch.arguments.iter().any(|argument| *argument < 1 << 24) => 0.1,
            _ => 1.0,
        };
        Ok(launches.iter().map(second).sum())
    }

    fn run(&mut self, launch: &Launch) -> Result<(), CudaError> {
        self.launch(launch);
        Ok(())
    }

    fn record(&mut self, launches: Vec<Launch>) -> Result<usize, CudaError> {
        let by_library = launches.iter().any(|launch| matches!(launch, Launch::Library { .. }));
        if by_library && self.library == Some(library::Library::Unrecorded) {
            return Err(CudaError::Failed { action: "multiply", what: "NOT_WHILE_RECORDING".into() });
        }
        self.recorded.push(launches);
        Ok(self.recorded.len() - 1)
    }

    fn replay(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.recorded[recorded].iter().for_each(|launch| self.launch(launch));
        Ok(())
    }

    /// The number stays: using it again would run nothing.
    fn forget(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.recorded[recorded].clear();
        Ok(())
    }
}
