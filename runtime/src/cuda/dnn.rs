//! cuDNN, which does large convolutions.

use super::driver::{Address, CudaError, Operands, Ways};
use super::libraries::{self, CUDNN};
use super::vendor::{Owned, WORKSPACE};
use cudarc::cudnn::{result, sys};
use fgc_program::ConvRole;
use fgc_program::cuda::{Factor, Filtering, Finish, Precision};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

/// Ways that the library is asked for; of these as many are looked at as fit.
const ASKED: usize = 8;
const WAYS: usize = 4;

/// The oldest version whose interface this is.
const OLDEST: usize = 90_000;

/// The library and the convolutions it is prepared for.
pub(super) struct Dnn {
    handle: sys::cudnnHandle_t,
    /// None: what the library cannot describe.
    convolutions: Vec<Option<Convolution>>,
}

type Tensor = Owned<sys::cudnnTensorDescriptor_t>;
type Filter = Owned<sys::cudnnFilterDescriptor_t>;
type Description = Owned<sys::cudnnConvolutionDescriptor_t>;
type Activation = Owned<sys::cudnnActivationDescriptor_t>;

/// One convolution: its tensors, and ways to compute it.
struct Convolution {
    role: ConvRole,
    x: Tensor,
    w: Filter,
    y: Tensor,
    description: Description,
    finish: Finish,
    bias: Option<Bias>,
    ways: Vec<Way>,
}

/// A vector that is added, as a tensor; and that nothing else is done.
struct Bias {
    tensor: Tensor,
    identity: Activation,
}

/// An algorithm, with how it multiplies.
#[derive(Clone, Copy)]
struct Way {
    algorithm: Algorithm,
    math: sys::cudnnMathType_t,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

fn failed(action: &'static str) -> impl Fn(result::CudnnError) -> CudaError {
    move |error| CudaError::Failed { action, what: told(error) }
}

/// In the library's words.
fn told(error: result::CudnnError) -> String {
    format!("{:?}", error.0)
}

impl Dnn {
    /// The library, if it is here, or why it is of no use; for a stream of the context that is current.
    pub fn open(stream: *mut c_void) -> Result<Dnn, String> {
        // SAFETY: loads the library or does not.
        if libraries::preload(&CUDNN).is_none() || !unsafe { sys::is_culib_present() } {
            return Err(CUDNN.missing());
        }
        // Older ones have other numbers for their errors.
        let version = result::get_version();
        if version < OLDEST {
            return Err(format!("cuDNN {version} is older than {OLDEST}"));
        }
        let refused = |error| format!("cuDNN {version} does not start: {}", told(error));
        let handle = result::create_handle().map_err(refused)?;
        let dnn = Dnn { handle, convolutions: Vec::new() };
        // SAFETY: made above; the stream is the caller's.
        unsafe { result::set_stream(handle, stream.cast()) }.map_err(refused)?;
        Ok(dnn)
    }

    pub fn name(&self) -> String {
        format!("cuDNN {}", result::get_version())
    }

    /// Prepares a convolution; its number, and the ways to compute it.
    pub fn prepare(&mut self, filtering: &Filtering) -> (usize, Ways) {
        let described = Convolution::new(filtering);
        let found = described.and_then(|mut convolution| {
            convolution.ways = convolution.found(self.handle, filtering.precision)?;
            Ok(convolution)
        });
        let ways = match found {
            Ok(convolution) => {
                let ways = convolution.ways.iter().map(Way::fingerprint).collect();
                self.convolutions.push(Some(convolution));
                Ok(ways)
            }
            Err(error) => {
                self.convolutions.push(None);
                Err(told(error))
            }
        };
        (self.convolutions.len() - 1, ways)
    }

    /// Puts a prepared convolution on the stream.
    ///
    /// # Safety
    /// The addresses are of memory of the context that is current, as long as the convolution's operands, in the order of
    /// x, w and y, the computed one last; a matrix as long as that, a bias of as many elements as there are filters; `workspace`
    /// is [`WORKSPACE`] bytes that nothing else uses meanwhile.
    pub unsafe fn run(
        &self,
        number: usize,
        way: usize,
        operands: Operands,
        workspace: Address,
    ) -> Result<(), CudaError> {
        let missing = || CudaError::Failed { action: "convolve", what: "it is not prepared".into() };
        let convolution = self.convolutions.get(number).and_then(Option::as_ref).ok_or_else(missing)?;
        let Way { algorithm, math } = *convolution.ways.get(way).ok_or_else(missing)?;
        let Convolution { x, w, y, description, finish, bias: vector, .. } = convolution;
        let (x, w, y, description) = (x.get(), w.get(), y.get(), description.get());
        let Operands { left, right, result: to, matrix, bias } = operands;
        if [matrix.is_some(), bias.is_some()] != [finish.matrix.is_some(), finish.bias] {
            return Err(missing());
        }
        let (scale, share) = (finish.scale.get(), finish.matrix.map_or(0.0, Factor::get));
        let (alpha, beta): (*const c_void, *const c_void) = ((&raw const scale).cast(), (&raw const share).cast());
        // What is not read is of no consequence.
        let before = matrix.unwrap_or(to).0 as *const c_void;
        let bias = vector.as_ref().zip(bias);
        let [first, second, to] = [left, right, to].map(|at| at.0 as *mut c_void);
        let (space, handle) = (workspace.0 as *mut c_void, self.handle);
        // SAFETY: descriptions made for each other; numbers that live until the call returns; the caller's promise.
        unsafe {
            result::set_convolution_math_type(description, math).and_then(|()| match algorithm {
                Algorithm::Forward(how) if let Some((Bias { tensor, identity }, at)) = bias => {
                    result::convolution_bias_activation_forward(
                        handle,
                        alpha,
                        x,
                        first,
                        w,
                        second,
                        description,
                        how,
                        space,
                        WORKSPACE,
                        beta,
                        y,
                        before,
                        tensor.get(),
                        at.0 as *const c_void,
                        identity.get(),
                        y,
                        to,
                    )
                }
                Algorithm::Forward(how) => result::convolution_forward(
                    handle,
                    alpha,
                    x,
                    first,
                    w,
                    second,
                    description,
                    how,
                    space,
                    WORKSPACE,
                    beta,
                    y,
                    to,
                ),
                Algorithm::Input(how) => result::convolution_backward_data(
                    handle,
                    alpha,
                    w,
                    first,
                    y,
                    second,
                    description,
                    how,
                    space,
                    WORKSPACE,
                    beta,
                    x,
                    to,
                ),
                Algorithm::Weight(how) => result::convolution_backward_filter(
                    handle,
                    alpha,
                    x,
                    first,
                    y,
                    second,
                    description,
                    how,
                    space,
                    WORKSPACE,
                    beta,
                    w,
                    to,
                ),
            })
        }
        .map_err(failed("convolve"))
    }
}

impl Drop for Dnn {
    fn drop(&mut self) {
        self.convolutions.clear();
        // SAFETY: made by this value, and given back once; its stream has been waited for.
        _ = unsafe { result::destroy_handle(self.handle) };
    }
}

fn tensor() -> Result<Tensor, result::CudnnError> {
    let made = result::create_tensor_descriptor()?;
    // SAFETY: made above; the owner calls it once.
    Ok(Owned::new(made, |tensor| _ = unsafe { result::destroy_tensor_descriptor(tensor) }))
}

fn filter() -> Result<Filter, result::CudnnError> {
    let made = result::create_filter_descriptor()?;
    // SAFETY: made above; the owner calls it once.
    Ok(Owned::new(made, |filter| _ = unsafe { result::destroy_filter_descriptor(filter) }))
}

fn description() -> Result<Description, result::CudnnError> {
    let made = result::create_convolution_descriptor()?;
    // SAFETY: made above; the owner calls it once.
    Ok(Owned::new(made, |description| _ = unsafe { result::destroy_convolution_descriptor(description) }))
}

fn activation() -> Result<Activation, result::CudnnError> {
    let made = result::create_activation_descriptor()?;
    // SAFETY: made above; the owner calls it once.
    Ok(Owned::new(made, |activation| _ = unsafe { sys::cudnnDestroyActivationDescriptor(activation) }))
}

impl Way {
    /// All that says how it computes.
    fn fingerprint(&self) -> String {
        let math = self.math as u32;
        match self.algorithm {
            Algorithm::Forward(how) => format!("forward-{}-{math}", how as u32),
            Algorithm::Input(how) => format!("input-{}-{math}", how as u32),
            Algorithm::Weight(how) => format!("weight-{}-{math}", how as u32),
        }
    }
}

impl Convolution {
    fn new(f: &Filtering) -> Result<Convolution, result::CudnnError> {
        let mut convolution = Convolution {
            role: f.role,
            x: tensor()?,
            w: filter()?,
            y: tensor()?,
            description: description()?,
            finish: f.finish,
            bias: None,
            ways: Vec::new(),
        };
        let ty =
            if f.bf16 { sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16 } else { sys::cudnnDataType_t::CUDNN_DATA_FLOAT };
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let sizes = |all: [usize; 4]| all.map(|size| size as c_int);
        let [[height, width], [top, left], [down, right]] =
            [f.kernel, f.pad, f.stride].map(|pair| pair.map(|size| size as c_int));
        // SAFETY: made above. Sizes are given in the order of their names (n, c, h, w), wherever they lie.
        unsafe {
            let x = sizes([f.batch, f.channels, f.height, f.width]);
            result::set_tensor4d_descriptor(convolution.x.get(), format, ty, x)?;
            let [filters, channels] = [f.filters, f.channels].map(|size| size as c_int);
            result::set_filter4d_descriptor(convolution.w.get(), ty, format, [filters, channels, height, width])?;
            let y = sizes([f.batch, f.filters, f.out[0], f.out[1]]);
            result::set_tensor4d_descriptor(convolution.y.get(), format, ty, y)?;
            result::set_convolution2d_descriptor(
                convolution.description.get(),
                top,
                left,
                down,
                right,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
            result::set_convolution_math_type(convolution.description.get(), math(f.precision))?;
            if f.finish.bias {
                let (tensor, identity) = (tensor()?, activation()?);
                result::set_tensor4d_descriptor(tensor.get(), format, ty, sizes([1, f.filters, 1, 1]))?;
                let mode = sys::cudnnActivationMode_t::CUDNN_ACTIVATION_IDENTITY;
                let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
                result::set_activation_descriptor(identity.get(), mode, nan, 0.0)?;
                convolution.bias = Some(Bias { tensor, identity });
            }
        }
        Ok(convolution)
    }

    /// Ways that the library holds to be fastest: within the memory, with sums in the same order each time, and no less exact
    /// than was asked for.
    fn found(&self, handle: sys::cudnnHandle_t, precision: Precision) -> Result<Vec<Way>, result::CudnnError> {
        let Convolution { x, w, y, description, .. } = self;
        let (x, w, y, description) = (x.get(), w.get(), y.get(), description.get());
        // No other adds something and does nothing else.
        let adds = sys::cudnnConvolutionFwdAlgo_t::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
        let fits =
            |algorithm: &Algorithm| self.bias.is_none() || matches!(algorithm, Algorithm::Forward(how) if *how == adds);
        // The three functions differ in their types and in what they call an algorithm.
        macro_rules! offers {
            ($ask:path, $perf:ty, $algorithm:path, $first:expr, $second:expr, $computed:expr) => {{
                let mut all = [const { MaybeUninit::<$perf>::uninit() }; ASKED];
                let (mut count, at) = (0, all.as_mut_ptr().cast());
                let asked = ASKED as c_int;
                // SAFETY: descriptions made for each other, and room for so many results.
                let found = unsafe { $ask(handle, $first, $second, description, $computed, asked, &mut count, at) };
                found?;
                let count = usize::try_from(count).unwrap_or(0).min(ASKED);
                // SAFETY: the library has filled `count` of them.
                let all = all.iter().take(count).map(|one| unsafe { one.assume_init_read() });
                let offers = all.map(|p| ($algorithm(p.algo), p.mathType, p.memory, p.determinism, p.status));
                Ok(kept(offers.filter(|(algorithm, ..)| fits(algorithm)), precision))
            }};
        }
        use result::{
            get_convolution_backward_data_algorithm as input, get_convolution_backward_filter_algorithm as weight,
            get_convolution_forward_algorithm as forward,
        };
        match self.role {
            ConvRole::Forward => offers!(forward, sys::cudnnConvolutionFwdAlgoPerf_t, Algorithm::Forward, x, w, y),
            ConvRole::Input => offers!(input, sys::cudnnConvolutionBwdDataAlgoPerf_t, Algorithm::Input, w, y, x),
            ConvRole::Weight => offers!(weight, sys::cudnnConvolutionBwdFilterAlgoPerf_t, Algorithm::Weight, x, y, w),
        }
    }
}

type Offer = (Algorithm, sys::cudnnMathType_t, usize, sys::cudnnDeterminism_t, sys::cudnnStatus_t);

fn kept(offers: impl Iterator<Item = Offer>, precision: Precision) -> Vec<Way> {
    let fits = |(_, math, memory, determinism, status): &Offer| {
        // Neither tf32 for f32, nor f16 for either.
        let exact = match precision {
            Precision::F32 => *math == sys::cudnnMathType_t::CUDNN_FMA_MATH,
            _ => *math != sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
        };
        let same = *determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
        status.result().is_ok() && *memory <= WORKSPACE && same && exact
    };
    offers.filter(fits).map(|(algorithm, math, ..)| Way { algorithm, math }).take(WAYS).collect()
}

/// How the library may multiply.
fn math(precision: Precision) -> sys::cudnnMathType_t {
    match precision {
        Precision::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        // Of f32 that is tf32.
        Precision::Tf32 => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
        Precision::Bf16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs the library (`pip install nvidia-cudnn-cu12`), no GPU; nothing is checked where it is not.
    #[test]
    fn the_library_accepts_descriptions() {
        // SAFETY: loads the library or does not.
        if libraries::preload(&CUDNN).is_none() || !unsafe { sys::is_culib_present() } {
            eprintln!("not checked: there is no cuDNN");
            return;
        }
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            for role in [ConvRole::Forward, ConvRole::Input, ConvRole::Weight] {
                let filtering = Filtering {
                    role,
                    batch: 3,
                    height: 21,
                    width: 18,
                    channels: 64,
                    filters: 72,
                    kernel: [5, 3],
                    stride: [1, 2],
                    pad: [2, 1],
                    out: [21, 9],
                    precision,
                    bf16: precision == Precision::Bf16,
                    finish: Finish { scale: 0.5.into(), bias: role == ConvRole::Forward, ..Finish::default() },
                };
                let convolution = Convolution::new(&filtering).unwrap_or_else(|e| panic!("{filtering:?}: {e:?}"));
                let mut out = [0; 4];
                let [n, c, h, w] = &mut out;
                // SAFETY: descriptors made for each other; places for four numbers.
                let asked = unsafe {
                    let Convolution { x, w: filter, description, .. } = &convolution;
                    let (description, x, filter) = (description.get(), x.get(), filter.get());
                    sys::cudnnGetConvolution2dForwardOutputDim(description, x, filter, n, c, h, w).result()
                };
                asked.unwrap();
                assert_eq!(out, [3, 72, 21, 9], "what it makes of the sizes");
            }
        }
    }
}
