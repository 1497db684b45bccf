//! cuBLASLt, which does large products.

use super::driver::{Address, CudaError};
use super::libraries::{self, CUBLASLT};
use cudarc::cublaslt::{result, sys};
use fgc_program::cuda::{ALIGNED, Gemm, Matrix, Precision};
use std::ffi::c_void;

/// Ways to do a product that are looked at, those that the library holds to be fastest.
const WAYS: usize = 4;
/// Bytes of memory that a product may use while it runs.
pub(super) const WORKSPACE: usize = 32 << 20;

/// The library and the products it is prepared for.
pub(super) struct Lt {
    handle: sys::cublasLtHandle_t,
    products: Vec<Product>,
}

/// One product: what it multiplies, and ways to do so.
struct Product {
    description: sys::cublasLtMatmulDesc_t,
    /// Of the left and right operand and of the result, as the library sees them: column by column.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    ways: Vec<sys::cublasLtMatmulHeuristicResult_t>,
    /// Whether its left operand is our b: a result that lies row by row is the transpose of one column by column.
    swapped: bool,
}

fn failed(action: &'static str) -> impl Fn(result::CublasError) -> CudaError {
    move |error| CudaError::Failed { action, what: format!("{:?}", error.0) }
}

impl Lt {
    /// The library, if it is here; the GPU's context is current.
    pub fn open() -> Option<Lt> {
        // SAFETY: loads the library or does not.
        let present = libraries::preload(&CUBLASLT).is_some() && unsafe { sys::is_culib_present() };
        let handle = present.then(result::create_handle)?.ok()?;
        Some(Lt { handle, products: Vec::new() })
    }

    pub fn name(&self) -> String {
        // SAFETY: the library is loaded; the function takes nothing.
        format!("cuBLASLt {}", unsafe { sys::cublasLtGetVersion() })
    }

    /// Prepares products, which are numbered in this order; for each the number of ways to do it.
    pub fn prepare(&mut self, gemms: &[Gemm]) -> Result<Vec<usize>, CudaError> {
        gemms
            .iter()
            .map(|gemm| {
                self.products.push(Product::new(gemm).map_err(failed("describe a product"))?);
                let product = self.products.last_mut().map_or(Ok(0), |product| product.find_ways(self.handle));
                product.map_err(failed("find ways to do a product"))
            })
            .collect()
    }

    /// Puts a prepared product on a stream.
    ///
    /// # Safety
    /// The addresses are of memory of the context that is current, as long as the product's matrices; `workspace` is
    /// [`WORKSPACE`] bytes that nothing else uses.
    pub unsafe fn run(
        &self,
        gemm: usize,
        way: usize,
        [a, b, c]: [Address; 3],
        workspace: Address,
        stream: *mut c_void,
    ) -> Result<(), CudaError> {
        let missing = || CudaError::Failed { action: "multiply", what: "the product is not prepared".into() };
        let product = self.products.get(gemm).ok_or_else(missing)?;
        let way = product.ways.get(way).ok_or_else(missing)?;
        let (left, right) = if product.swapped { (b, a) } else { (a, b) };
        let (one, zero) = (1.0f32, 0.0f32);
        let [left_layout, right_layout, layout] = product.layouts;
        let pointer = |at: Address| at.0 as *mut c_void;
        // SAFETY: descriptions made for each other; numbers that live until the call returns; the caller's promise.
        unsafe {
            result::matmul(
                self.handle,
                product.description,
                (&raw const one).cast(),
                (&raw const zero).cast(),
                pointer(left),
                left_layout,
                pointer(right),
                right_layout,
                pointer(c),
                layout,
                pointer(c),
                layout,
                &way.algo,
                pointer(workspace),
                WORKSPACE,
                stream.cast(),
            )
        }
        .map_err(failed("multiply"))
    }
}

impl Drop for Lt {
    fn drop(&mut self) {
        // SAFETY: all made by this value, and given back once; the streams it was used on have been waited for.
        unsafe {
            for product in self.products.drain(..) {
                product.layouts.iter().for_each(|layout| _ = result::destroy_matrix_layout(*layout));
                _ = result::destroy_matmul_desc(product.description);
            }
            _ = result::destroy_handle(self.handle);
        }
    }
}

impl Product {
    fn new(gemm: &Gemm) -> Result<Product, result::CublasError> {
        use sys::cublasLtMatmulDescAttributes_t::{CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB};
        let compute = match gemm.precision {
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::F32 | Precision::Bf16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let swapped = !gemm.c.by_columns;
        let (left, right, rows, columns) =
            if swapped { (&gemm.b, &gemm.a, gemm.n, gemm.m) } else { (&gemm.a, &gemm.b, gemm.m, gemm.n) };
        let description = result::create_matmul_desc(compute, sys::cudaDataType::CUDA_R_32F)?;
        // What lies as the result does is taken as it is.
        let transposed = |matrix: &Matrix| matrix.by_columns != gemm.c.by_columns;
        for (attribute, matrix) in [(CUBLASLT_MATMUL_DESC_TRANSA, left), (CUBLASLT_MATMUL_DESC_TRANSB, right)] {
            // CUBLAS_OP_T and CUBLAS_OP_N.
            let operation = i32::from(transposed(matrix));
            // SAFETY: made above; the attribute is an enumeration of 32 bits.
            unsafe { set(&operation, |at, size| result::set_matmul_desc_attribute(description, attribute, at, size)) }?;
        }
        let stored = |matrix: &Matrix, [rows, columns]: [usize; 2]| {
            let [rows, columns] = if transposed(matrix) { [columns, rows] } else { [rows, columns] };
            layout(matrix, rows, columns, gemm.batch)
        };
        let layouts = [
            stored(left, [rows, gemm.k])?,
            stored(right, [gemm.k, columns])?,
            layout(&gemm.c, rows, columns, gemm.batch)?,
        ];
        Ok(Product { description, layouts, ways: Vec::new(), swapped })
    }

    /// Asks the library for ways to do it, whose sums are in the same order each time; how many there are.
    fn find_ways(&mut self, handle: sys::cublasLtHandle_t) -> Result<usize, result::CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let preference = result::create_matmul_pref()?;
        let workspace = WORKSPACE as u64;
        let reduction = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let aligned = ALIGNED as u32;
        let [left, right, result_layout] = self.layouts;
        let mut found = [const { std::mem::MaybeUninit::<sys::cublasLtMatmulHeuristicResult_t>::uninit() }; WAYS];
        let mut count = 0;
        // SAFETY: made above; each attribute has the type that the library documents; there is room for so many results.
        let asked = unsafe {
            let note = |attribute: Attribute, at: *const c_void, size: usize| {
                result::set_matmul_pref_attribute(preference, attribute, at, size)
            };
            set(&workspace, |at, size| note(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, at, size))
                .and_then(|()| {
                    let attribute = Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK;
                    set(&reduction, |at, size| note(attribute, at, size))
                })
                .and_then(|()| {
                    let sides = [
                        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                        Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
                    ];
                    sides.into_iter().try_for_each(|side| set(&aligned, |at, size| note(side, at, size)))
                })
                .and_then(|()| {
                    sys::cublasLtMatmulAlgoGetHeuristic(
                        handle,
                        self.description,
                        left,
                        right,
                        result_layout,
                        result_layout,
                        preference,
                        WAYS as i32,
                        found[0].as_mut_ptr(),
                        &mut count,
                    )
                    .result()
                })
        };
        // SAFETY: made above, used no more.
        _ = unsafe { result::destroy_matmul_pref(preference) };
        // That there is no way is no failure.
        if asked.is_err() {
            return Ok(0);
        }
        let filled = found.iter().take(usize::try_from(count).unwrap_or(0));
        // SAFETY: the library has filled so many.
        let filled = filled.map(|one| unsafe { one.assume_init_read() });
        self.ways = filled.filter(|way| way.state.result().is_ok()).collect();
        Ok(self.ways.len())
    }
}

fn layout(
    matrix: &Matrix,
    rows: usize,
    columns: usize,
    batch: usize,
) -> Result<sys::cublasLtMatrixLayout_t, result::CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as Attribute;
    let ty = if matrix.bf16 { sys::cudaDataType::CUDA_R_16BF } else { sys::cudaDataType::CUDA_R_32F };
    let layout = result::create_matrix_layout(ty, rows as u64, columns as u64, matrix.stride as i64)?;
    if batch > 1 {
        let (count, stride) = (batch as i32, matrix.batch as i64);
        let note = |attribute: Attribute, at: *const c_void, size: usize| {
            // SAFETY: made above.
            unsafe { result::set_matrix_layout_attribute(layout, attribute, at, size) }
        };
        // SAFETY: the attributes are of 32 and of 64 bits.
        unsafe {
            set(&count, |at, size| note(Attribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, at, size))?;
            set(&stride, |at, size| note(Attribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, at, size))?;
        }
    }
    Ok(layout)
}

/// Gives an attribute's bytes to `note`.
///
/// # Safety
/// `T` is the attribute's type.
unsafe fn set<T, R>(value: &T, note: impl FnOnce(*const c_void, usize) -> R) -> R {
    note((value as *const T).cast(), size_of::<T>())
}
