//! An NVIDIA GPU through CUDA's driver library.

use super::Library;
use super::driver::{Address, CudaError, Driver, FunctionLaunch, Launch, Ticket, Ways};
use super::libraries::{self, DRIVER};
use super::nvrtc::{self, Cubin};
use super::staging::{Posts, Uploads};
use super::vendor::{Libraries, WORKSPACE};
use crate::cpu::compile::cache_dir;
use cudarc::driver::{result, sys};
use fgc_program::cuda::{Function, Task};
use std::ffi::{CString, c_void};
use std::sync::OnceLock;

/// One GPU with a stream; everything but copies from the host runs in its order, and whatever needs these waits for them.
pub struct Gpu {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    name: String,
    /// `sm_90`.
    architecture: String,
    modules: Vec<sys::CUmodule>,
    functions: Vec<sys::CUfunction>,
    memory: Vec<sys::CUdeviceptr>,
    /// None: forgotten.
    graphs: Vec<Option<(sys::CUgraph, sys::CUgraphExec)>>,
    /// Made when first needed, if there is memory for it.
    uploads: Option<Option<Uploads>>,
    posts: Posts,
    /// For products and convolutions.
    library: Option<Libraries>,
    /// What these use while they run, once there is something for them to do.
    workspace: Option<Address>,
}

// SAFETY: CUDA's handles may be used from any thread, one at a time, with the context made current; every method that
// uses them takes `&mut self` or waits for the stream.
unsafe impl Send for Gpu {}

fn failed(action: &'static str) -> impl Fn(result::DriverError) -> CudaError {
    move |error| {
        let name = error.error_name().map(|name| name.to_string_lossy().into_owned());
        CudaError::Failed { action, what: name.unwrap_or_else(|_| format!("{:?}", error.0)) }
    }
}

/// 12040 of CUDA 12.4; 0 if the driver does not say.
fn driver_version() -> i32 {
    let mut version = 0;
    // SAFETY: a place for one number.
    _ = unsafe { sys::cuDriverGetVersion(&mut version) };
    version
}

/// Whether it is the code that the driver does not take, rather than anything else.
fn is_of_code(error: result::DriverError) -> bool {
    use sys::CUresult::{
        CUDA_ERROR_INVALID_IMAGE, CUDA_ERROR_INVALID_PTX, CUDA_ERROR_NO_BINARY_FOR_GPU,
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    };
    let of_code = [
        CUDA_ERROR_INVALID_IMAGE,
        CUDA_ERROR_INVALID_PTX,
        CUDA_ERROR_NO_BINARY_FOR_GPU,
        CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
    ];
    of_code.contains(&error.0)
}

/// What to tell of code that the driver does not take.
fn refused(error: result::DriverError) -> CudaError {
    let version = driver_version();
    let (major, older) = (version / 1000, version % 1000 / 10);
    let mut told = failed("load kernels")(error);
    if let CudaError::Failed { what, .. } = &mut told
        && is_of_code(error)
    {
        *what += &format!("; the driver is for CUDA {major}.{older}");
        if let Ok(compiler) = nvrtc::version()
            && compiler > (major, older)
        {
            let (newer, minor) = compiler;
            *what += &format!(
                ", NVRTC of CUDA {newer}.{minor}: update the driver, or `pip install nvidia-cuda-nvrtc-cu{major}=={major}.{older}.*` and \
                 name its directory in FGC_CUDA_LIBS"
            );
        }
    }
    told
}

/// Whether there is a driver to ask.
fn present() -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    // SAFETY: loads the driver's library or does not.
    *PRESENT.get_or_init(|| libraries::preload(&DRIVER).is_some() && unsafe { sys::is_culib_present() })
}

/// Names and architectures of the GPUs here.
///
/// # Errors
/// [`CudaError::Missing`] without a driver or without a GPU.
pub fn list() -> Result<Vec<(String, String)>, CudaError> {
    if !present() {
        let text = format!("there is no NVIDIA driver (libcuda): {}", DRIVER.remedy);
        return Err(CudaError::Missing(text));
    }
    result::init().map_err(failed("start the driver"))?;
    let count = result::device::get_count().map_err(failed("count the GPUs"))?;
    if count == 0 {
        return Err(CudaError::Missing("the NVIDIA driver sees no GPU; is CUDA_VISIBLE_DEVICES empty?".into()));
    }
    (0..count).map(describe).collect()
}

fn describe(ordinal: i32) -> Result<(String, String), CudaError> {
    let device = result::device::get(ordinal).map_err(failed("find the GPU"))?;
    let name = result::device::get_name(device).map_err(failed("name the GPU"))?;
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device was found above.
    let attribute =
        |which| unsafe { result::device::get_attribute(device, which) }.map_err(failed("ask the GPU's kind"));
    Ok((name, format!("sm_{}{}", attribute(MAJOR)?, attribute(MINOR)?)))
}

impl Gpu {
    /// The GPU of this number.
    pub fn open(ordinal: i32) -> Result<Gpu, CudaError> {
        let all = list()?;
        let number = usize::try_from(ordinal).ok();
        let Some((name, architecture)) = number.and_then(|n| all.get(n)).cloned() else {
            return Err(CudaError::Missing(format!("there is no GPU {ordinal}; there are {}", all.len())));
        };
        let device = result::device::get(ordinal).map_err(failed("find the GPU"))?;
        // SAFETY: the device was found above; the context is released with this value.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("open the GPU"))?;
        // SAFETY: retained above.
        unsafe { result::ctx::set_current(context) }.map_err(failed("use the GPU"))?;
        let stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed("make a stream"))?;
        let mut gpu = Gpu {
            device,
            context,
            stream,
            name,
            architecture,
            modules: Vec::new(),
            functions: Vec::new(),
            memory: Vec::new(),
            graphs: Vec::new(),
            uploads: None,
            posts: Posts::default(),
            library: None,
            workspace: None,
        };
        gpu.library = Libraries::open(gpu.stream.cast());
        Ok(gpu)
    }

    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The libraries for products and convolutions, each with its version or why it is not used; none where
    /// `FGC_LIBRARIES=0` does without.
    pub fn libraries(&self) -> Vec<(&'static str, Result<String, String>)> {
        self.library.iter().flat_map(Libraries::found).collect()
    }

    /// Calls may come from another thread than the last.
    fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: retained as long as this value lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("use the GPU"))
    }

    fn synchronize(&self) -> Result<(), CudaError> {
        // SAFETY: this value's own stream.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("run kernels"))
    }

    /// Puts a launch on the stream.
    fn launch(&self, launch: &Launch) -> Result<(), CudaError> {
        match (launch, &self.library, self.workspace) {
            (Launch::Function(launch), ..) => self.call(launch),
            // SAFETY: the device gives operands within memory that it allocated here; launches run one after the other.
            (Launch::Library { task, way, operands }, Some(library), Some(workspace)) => unsafe {
                library.run(*task, *way, *operands, workspace)
            },
            (Launch::Library { .. }, ..) => {
                Err(CudaError::Failed { action: "multiply", what: "there is no library".into() })
            }
        }
    }

    fn call(&self, launch: &FunctionLaunch) -> Result<(), CudaError> {
        let mut values: Vec<u64> = launch.arguments.clone();
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| (value as *mut u64).cast()).collect();
        // SAFETY: a loaded function, as many pointers as it has parameters (both come from one module), to memory that
        // lives as long as this value.
        unsafe {
            result::launch_kernel(
                self.functions[launch.function],
                (launch.blocks as u32, 1, 1),
                (launch.threads as u32, 1, 1),
                launch.shared as u32,
                self.stream,
                &mut pointers,
            )
        }
        .map_err(failed("launch a kernel"))
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // What cannot be given back goes with the process.
        if self.bind().is_err() || self.synchronize().is_err() {
            std::mem::forget(self.library.take());
            return;
        }
        self.library = None;
        // SAFETY: all made by this value, unused after the wait, and given back once.
        unsafe {
            self.graphs.drain(..).flatten().for_each(|graph| destroy(graph));
            for module in self.modules.drain(..) {
                _ = result::module::unload(module);
            }
            self.uploads.take().flatten().into_iter().for_each(|uploads| uploads.release());
            std::mem::take(&mut self.posts).release();
            for memory in self.memory.drain(..) {
                _ = result::free_sync(memory);
            }
            _ = result::stream::destroy(self.stream);
            _ = result::primary_ctx::release(self.device);
        }
    }
}

/// # Safety
/// The graph is not used any more.
unsafe fn destroy((graph, executable): (sys::CUgraph, sys::CUgraphExec)) {
    // SAFETY: the caller's promise. What cannot be given back goes with the process.
    unsafe {
        _ = result::graph::exec_destroy(executable);
        _ = result::graph::destroy(graph);
    }
}

/// # Safety
/// The graph is whole.
unsafe fn instantiate(graph: sys::CUgraph) -> Result<sys::CUgraphExec, result::DriverError> {
    let mut executable = std::ptr::null_mut();
    // SAFETY: the caller's promise; a place for the result; no flags.
    unsafe { sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0) }.result()?;
    Ok(executable)
}

impl Driver for Gpu {
    fn name(&self) -> String {
        format!("{} ({})", self.name, self.architecture)
    }

    fn allocate(&mut self, bytes: usize, what: &str) -> Result<Address, CudaError> {
        self.bind()?;
        let error = |error: result::DriverError| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => CudaError::Memory { bytes, what: what.into() },
            // Of a kernel before, perhaps.
            _ => failed("allocate memory")(error),
        };
        // SAFETY: set to zero before anything reads it; freed with this value.
        let at = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(error)?;
        self.memory.push(at);
        // SAFETY: so many bytes are there.
        unsafe { result::memset_d8_async(at, 0, bytes.max(1), self.stream) }.map_err(failed("clear memory"))?;
        Ok(Address(at))
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<(), CudaError> {
        self.bind()?;
        if self.uploads.is_none() {
            self.uploads = Some(Uploads::new().ok());
        }
        let Some(Some(uploads)) = &mut self.uploads else {
            // SAFETY: the device asks for no more than it allocated; the bytes are borrowed until they are there.
            unsafe { result::memcpy_htod_async(to.0, bytes, self.stream) }.map_err(failed("copy to the GPU"))?;
            return self.synchronize();
        };
        // SAFETY: the device asks for no more than it allocated, which lives as long as this value.
        unsafe { uploads.upload(to.0, bytes, self.stream) }.map_err(failed("copy to the GPU"))
    }

    fn post(&mut self, from: Address, bytes: usize) -> Result<Ticket, CudaError> {
        self.bind()?;
        // SAFETY: as for uploads.
        unsafe { self.posts.post(from.0, bytes, self.stream) }.map_err(failed("copy from the GPU"))
    }

    fn collect(&mut self, ticket: Ticket) -> Result<Vec<u8>, CudaError> {
        self.bind()?;
        let bytes = self.posts.collect(&ticket).map_err(failed("run kernels"))?;
        bytes.ok_or_else(|| CudaError::Failed { action: "copy from the GPU", what: "nothing was posted".into() })
    }

    fn download(&self, from: Address, bytes: &mut [u8]) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: as above; `bytes` is borrowed until the copy is done.
        unsafe { result::memcpy_dtoh_async(bytes, from.0, self.stream) }.map_err(failed("copy from the GPU"))?;
        self.synchronize()
    }

    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: both are of this value, and so long.
        unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, self.stream) }.map_err(failed("copy on the GPU"))
    }

    fn library(&self) -> Option<Library> {
        let library = self.library.as_ref().filter(|library| library.is_any())?;
        let name = format!("driver {}, {}", driver_version(), library.name());
        Some(Library { name, kept: cache_dir().map(|cache| cache.join("kernels")) })
    }

    fn prepare(&mut self, tasks: &[Task]) -> Result<Vec<Ways>, CudaError> {
        self.bind()?;
        let Some(library) = self.library.as_mut().filter(|_| !tasks.is_empty()) else {
            return Ok(vec![Err("there is no library".into()); tasks.len()]);
        };
        let ways = library.prepare(tasks);
        match self.allocate(WORKSPACE, "what libraries do") {
            Ok(workspace) => self.workspace = Some(workspace),
            // They do nothing then.
            Err(error @ CudaError::Memory { .. }) => return Ok(vec![Err(error.to_string()); tasks.len()]),
            Err(error) => return Err(error),
        }
        Ok(ways)
    }

    fn load(&mut self, functions: &[Function]) -> Result<(), CudaError> {
        let cubins = nvrtc::cubins(functions, &self.architecture)?;
        self.bind()?;
        let first = self.modules.len();
        let units = nvrtc::units(functions);
        // SAFETY: NVRTC's machine code, whole; or PTX that ends with a zero byte.
        let load = |cubin: &Cubin| unsafe { result::module::load_data(cubin.code.as_ptr().cast()) };
        for (cubin, unit) in cubins.iter().zip(&units) {
            let mut module = load(cubin);
            if let (Err(error), Some(file)) = (&module, &cubin.kept)
                && is_of_code(*error)
            {
                // Damaged, or made by an NVRTC that is newer than the driver, as the one at hand may not be.
                let aside = file.with_extension("refused");
                _ = std::fs::rename(file, &aside);
                let unit: Vec<Function> = unit.iter().map(|&i| functions[i].clone()).collect();
                match nvrtc::cubins(&unit, &self.architecture) {
                    Ok(made) => {
                        _ = std::fs::remove_file(aside);
                        made.iter().for_each(|cubin| module = load(cubin));
                    }
                    // Where it was.
                    Err(_) => _ = std::fs::rename(aside, file),
                }
            }
            self.modules.push(module.map_err(refused)?);
        }
        let unit_of = |i: usize| units.iter().position(|unit| unit.contains(&i)).unwrap_or(0);
        for (i, function) in functions.iter().enumerate() {
            let outside = function.outside.as_ref();
            let name = outside.map_or(&function.name, |outside| &outside.entry);
            let name = CString::new(name.as_str()).unwrap_or_default();
            // SAFETY: loaded above.
            let found = unsafe { result::module::get_function(self.modules[first + unit_of(i)], name) };
            let found = found.map_err(|e| match outside {
                Some(o) => CudaError::NoEntry { file: o.code.name.clone(), entry: o.entry.clone() },
                None => failed("find a kernel")(e),
            })?;
            if function.shared > 0 {
                let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: found above.
                unsafe { result::function::set_function_attribute(found, most, function.shared as i32) }
                    .map_err(failed("give a kernel its shared memory"))?;
            }
            self.functions.push(found);
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), CudaError> {
        self.bind()?;
        self.synchronize()
    }

    fn run(&mut self, launch: &Launch) -> Result<(), CudaError> {
        self.bind()?;
        self.launch(launch)
    }

    fn record(&mut self, launches: Vec<Launch>) -> Result<usize, CudaError> {
        self.bind()?;
        // SAFETY: this value's own stream, which captures nothing yet.
        unsafe {
            // Kernels may be loaded by their first launch, which stricter modes forbid.
            let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED;
            result::stream::begin_capture(self.stream, mode)
        }
        .map_err(failed("begin to record"))?;
        let launched = launches.iter().try_for_each(|launch| self.launch(launch));
        // SAFETY: begun above; ended also where a launch failed.
        let graph = unsafe { result::stream::end_capture(self.stream) }.map_err(failed("record"));
        let graph = match launched {
            Ok(()) => graph?,
            Err(error) => {
                // SAFETY: the graph is this value's, and nobody has it.
                graph.into_iter().for_each(|graph| _ = unsafe { result::graph::destroy(graph) });
                return Err(error);
            }
        };
        // SAFETY: the graph is whole; no flags.
        let executable = unsafe { instantiate(graph) }.map_err(|error| {
            // SAFETY: as above.
            _ = unsafe { result::graph::destroy(graph) };
            failed("prepare a graph")(error)
        })?;
        let free = self.graphs.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.graphs.push(None);
            self.graphs.len() - 1
        });
        self.graphs[at] = Some((graph, executable));
        Ok(at)
    }

    fn replay(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.bind()?;
        let graph = self.graphs.get(recorded).copied().flatten();
        let (_, executable) =
            graph.ok_or(CudaError::Failed { action: "run a graph", what: "it was forgotten".into() })?;
        // SAFETY: recorded before, on this stream.
        unsafe { result::graph::launch(executable, self.stream) }.map_err(failed("run a graph"))
    }

    fn forget(&mut self, recorded: usize) -> Result<(), CudaError> {
        self.bind()?;
        self.synchronize()?;
        let graph = self.graphs.get_mut(recorded).and_then(Option::take);
        // SAFETY: recorded on the stream that was waited for.
        graph.into_iter().for_each(|graph| unsafe { destroy(graph) });
        Ok(())
    }
}
