//! Generated sources as machine code: NVRTC, and a cache of what it made.

use super::driver::CudaError;
use super::libraries::{self, NVRTC};
use crate::cpu::compile::cache_dir;
use cudarc::nvrtc::{result, sys};
use fgc_program::Language;
use fgc_program::cuda::{Function, source};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Functions compiled together. The prelude is read once a unit, and units are compiled on all cores.
const UNIT: usize = 16;

/// Architectures that generated code is written for.
pub const ARCHITECTURES: [&str; 3] = ["sm_80", "sm_90", "sm_100"];

/// What comes before the number of an architecture whose machine code is meant, and of one for which PTX is: the driver makes
/// machine code of that, for the architecture and all later ones.
const MACHINE: &str = "sm_";
const VIRTUAL: &str = "compute_";

/// Machine code for one architecture, or PTX that ends with a zero byte; with what the assembler says of its functions.
#[derive(Clone, Debug)]
pub struct Cubin {
    pub code: Vec<u8>,
    /// Empty if it came from the cache, and for PTX.
    pub log: String,
    /// The file of the cache that it came from, if it did.
    pub kept: Option<PathBuf>,
}

/// What a function needs of a multiprocessor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub name: String,
    /// Of a thread.
    pub registers: usize,
    /// Bytes of a block.
    pub shared: usize,
    /// Bytes of a thread's own memory: arrays that are not in registers.
    pub stack: usize,
    /// Bytes written to a thread's own memory for want of registers, and read back.
    pub spills: usize,
}

/// The version of the NVRTC at hand, loading it if need be.
///
/// # Errors
/// [`CudaError::Missing`] where there is none.
pub fn version() -> Result<(i32, i32), CudaError> {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    let present = PRESENT.get_or_init(|| {
        // SAFETY: loads NVRTC or does not.
        libraries::preload(&NVRTC).is_some() && unsafe { sys::is_culib_present() }
    });
    if !present {
        let text = format!("there is no NVRTC (libnvrtc), which compiles kernels for the GPU: {}", NVRTC.remedy);
        return Err(CudaError::Missing(text));
    }
    let (mut major, mut minor) = (0, 0);
    // SAFETY: NVRTC is present; two places for numbers.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result().map_err(|e| failed("ask NVRTC's version", e))?;
    Ok((major, minor))
}

fn failed(action: &'static str, error: result::NvrtcError) -> CudaError {
    CudaError::Failed { action, what: format!("{:?}", error.0) }
}

/// The architectures that NVRTC knows, as numbers.
fn supported() -> Result<Vec<u32>, CudaError> {
    version()?;
    let mut count = 0;
    // SAFETY: NVRTC is present; a place for a number.
    unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result().map_err(|e| failed("ask what NVRTC knows", e))?;
    let mut all = vec![0; usize::try_from(count).unwrap_or(0)];
    // SAFETY: as many places as it asked for.
    unsafe { sys::nvrtcGetSupportedArchs(all.as_mut_ptr()) }.result().map_err(|e| failed("ask what NVRTC knows", e))?;
    Ok(all.into_iter().filter_map(|n| u32::try_from(n).ok()).collect())
}

/// The number of an architecture: 90 of `sm_90`, `sm_90a` and `compute_90`.
fn number(architecture: &str) -> u32 {
    let digits = architecture.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0)
}

/// What to compile for a GPU of `architecture`: its machine code, or PTX where only older ones are `known`.
fn goal(architecture: &str, known: &[u32]) -> String {
    let own = number(architecture);
    let older = known.iter().filter(|known| **known <= own).max();
    match older {
        Some(older) if architecture.starts_with(MACHINE) && !known.contains(&own) => format!("{VIRTUAL}{older}"),
        _ => architecture.into(),
    }
}

/// Compiles a source for an architecture: machine code for `sm_90`, PTX for `compute_90`.
pub fn compile(source: &str, architecture: &str) -> Result<Cubin, CudaError> {
    version()?;
    let text = CString::new(source).map_err(|_| CudaError::Compile { log: "the source has a NUL byte".into() })?;
    let program = result::create_program(&text, Some(c"fgc.cu")).map_err(|e| failed("begin to compile", e))?;
    let options = [
        format!("--gpu-architecture={architecture}"),
        "--std=c++17".into(),
        "--ptxas-options=-v".into(),
        // Variables that a kernel happens not to use.
        "--diag-suppress=177".into(),
    ];
    // SAFETY: made above, destroyed below; nothing else has it.
    let compiled = unsafe { result::compile_program(program, &options) };
    // SAFETY: as above.
    let log = unsafe { result::get_program_log(program) }.unwrap_or_default();
    let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|c| *c != 0).collect();
    let log = String::from_utf8_lossy(&log).into_owned();
    let code = compiled.map_err(|_| CudaError::Compile { log: first_errors(&log) }).and_then(|()| {
        let ptx = architecture.starts_with(VIRTUAL);
        let read = if ptx { "read PTX" } else { "read machine code" };
        let mut size = 0;
        // SAFETY: a compiled program.
        let asked = unsafe {
            if ptx { sys::nvrtcGetPTXSize(program, &mut size) } else { sys::nvrtcGetCUBINSize(program, &mut size) }
        };
        asked.result().map_err(|e| failed(read, e))?;
        let mut code = vec![0u8; size];
        let place = code.as_mut_ptr().cast();
        // SAFETY: as many bytes as it asked for.
        let given = unsafe { if ptx { sys::nvrtcGetPTX(program, place) } else { sys::nvrtcGetCUBIN(program, place) } };
        given.result().map_err(|e| failed(read, e))?;
        Ok(code)
    });
    // SAFETY: made above, and not used again.
    unsafe { result::destroy_program(program) }.map_err(|e| failed("end compiling", e))?;
    Ok(Cubin { code: code?, log, kept: None })
}

fn first_errors(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("error")).take(10).collect();
    if errors.is_empty() { log.chars().take(2000).collect() } else { errors.join("\n") }
}

/// What the assembler's messages say of each function.
pub fn resources(log: &str) -> Vec<Resources> {
    let mut all: Vec<Resources> = Vec::new();
    let number_before = |line: &str, unit: &str| -> usize {
        let before = line.split(unit).next().unwrap_or_default();
        let number = before.rsplit(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty());
        if line.contains(unit) { number.and_then(|n| n.parse().ok()).unwrap_or(0) } else { 0 }
    };
    for line in log.lines() {
        if let Some(name) = line.split("Compiling entry function '").nth(1) {
            let name = name.split('\'').next().unwrap_or_default().to_string();
            all.push(Resources { name, ..Resources::default() });
        } else if let Some(last) = all.last_mut() {
            last.stack = last.stack.max(number_before(line, " bytes stack frame"));
            last.spills += number_before(line, " bytes spill stores") + number_before(line, " bytes spill loads");
            last.registers = last.registers.max(number_before(line, " registers"));
            last.shared = last.shared.max(number_before(line, " bytes smem"));
        }
    }
    all
}

/// What is compiled together: positions of functions. Those of one file of hand-written code are a unit of their own.
pub fn units(functions: &[Function]) -> Vec<Vec<usize>> {
    let (outside, generated): (Vec<usize>, Vec<usize>) =
        (0..functions.len()).partition(|&i| functions[i].outside.is_some());
    let mut units: Vec<Vec<usize>> = generated.chunks(UNIT).map(<[usize]>::to_vec).collect();
    let first = units.len();
    for i in outside {
        let code = |i: usize| functions[i].outside.as_ref().map(|outside| &outside.code);
        match units[first..].iter_mut().find(|unit| code(unit[0]) == code(i)) {
            Some(unit) => unit.push(i),
            None => units.push(vec![i]),
        }
    }
    units
}

/// Code of all functions for a GPU of `architecture`, one for each of their [`units`]: machine code, from the cache where it is
/// there; PTX for an older architecture where NVRTC does not know this one, or where there is no NVRTC and the cache has
/// that. PTX of a method's own is given as it is.
pub fn cubins(functions: &[Function], architecture: &str) -> Result<Vec<Cubin>, CudaError> {
    let units: Vec<Vec<&Function>> =
        units(functions).iter().map(|unit| unit.iter().map(|&i| &functions[i]).collect()).collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Cubin)>, CudaError> {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(i) else { return Ok(done) };
            done.push((i, cubin(unit, architecture)?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(units.len().max(1));
    let mut all = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok::<_, CudaError>(all)
    })?;
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, cubin)| cubin).collect())
}

fn cubin(unit: &[&Function], architecture: &str) -> Result<Cubin, CudaError> {
    let outside = unit.first().and_then(|function| function.outside.as_ref());
    let text = match outside {
        // The driver wants it to end with a zero byte.
        Some(outside) if outside.code.language == Language::Ptx => {
            let code = [outside.code.text.as_bytes(), &[0]].concat();
            return Ok(Cubin { code, log: String::new(), kept: None });
        }
        Some(outside) => outside.code.text.clone(),
        None => source(unit.iter().copied()),
    };
    let found = |architecture: &str| -> Result<Option<Cubin>, CudaError> {
        let file = cached(&text, architecture)?;
        let code = std::fs::read(&file).ok();
        Ok(code.map(|code| Cubin { code, log: String::new(), kept: Some(file) }))
    };
    if let Some(cubin) = found(architecture)? {
        return Ok(cubin);
    }
    let known = match supported() {
        Err(CudaError::Missing(why)) => {
            let own = number(architecture);
            let older = ARCHITECTURES.iter().rev().map(|older| number(older)).filter(|older| *older <= own);
            for older in older {
                if let Some(ptx) = found(&format!("{VIRTUAL}{older}"))? {
                    return Ok(ptx);
                }
            }
            return Err(CudaError::Missing(why));
        }
        known => known?,
    };
    let goal = goal(architecture, &known);
    if let Some(cubin) = found(&goal)? {
        return Ok(cubin);
    }
    let cubin = compile(&text, &goal).map_err(|e| match (e, outside) {
        (CudaError::Compile { log }, Some(outside)) => CudaError::Outside { file: outside.code.name.clone(), log },
        (e, _) => e,
    })?;
    keep(&cached(&text, &goal)?, &cubin.code)
        .map_err(|e| CudaError::Failed { action: "keep compiled kernels", what: e.to_string() })?;
    Ok(cubin)
}

/// Where the code of a source is kept.
fn cached(text: &str, architecture: &str) -> Result<PathBuf, CudaError> {
    let missing = || CudaError::Missing("this system has no cache directory; set FGC_CACHE_DIR".into());
    let mut hasher = blake3::Hasher::new();
    hasher.update(architecture.as_bytes()).update(&[0]).update(text.as_bytes());
    let name = &hasher.finalize().to_hex()[..32];
    let kind = if architecture.starts_with(VIRTUAL) { "ptx" } else { "cubin" };
    Ok(cache_dir().ok_or_else(missing)?.join("kernels").join(format!("{name}.{architecture}.{kind}")))
}

/// Written under a name of its own, then renamed: a reader never sees half a file.
pub(super) fn keep(path: &Path, code: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let own = path.with_extension(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::write(&own, code)?;
    std::fs::rename(own, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_newer_than_the_compiler_get_ptx() {
        let known = [75, 80, 86, 90, 100];
        let goals = ["sm_80", "sm_90", "sm_120", "sm_95", "compute_80"].map(|gpu| goal(gpu, &known));
        assert_eq!(goals, ["sm_80", "sm_90", "compute_100", "compute_90", "compute_80"]);
        // It says itself what it cannot do.
        assert_eq!(goal("sm_70", &known), "sm_70");
    }

    #[test]
    fn the_assemblers_messages_are_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
                   ptxas info    : Compiling entry function 'f0' for 'sm_90'\n\
                   ptxas info    : Function properties for f0\n\
                   \x20   8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
                   ptxas info    : Used 40 registers, used 1 barriers, 8 bytes cumulative stack size, 4096 bytes smem\n\
                   ptxas info    : Compiling entry function 'f1' for 'sm_90'\n\
                   ptxas info    : Used 16 registers\n";
        let f0 = Resources { name: "f0".into(), registers: 40, shared: 4096, stack: 8, spills: 16 };
        let f1 = Resources { name: "f1".into(), registers: 16, ..Resources::default() };
        assert_eq!(resources(log), [f0, f1]);
    }
}
