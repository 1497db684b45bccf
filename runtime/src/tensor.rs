//! Tensors in host memory: what data sets yield and files hold.

use fgc_program::DType;

/// A dense row-major tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Values,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Bool(Vec<bool>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Values {
    pub fn dtype(&self) -> DType {
        match self {
            Values::Bool(_) => DType::Bool,
            Values::I64(_) => DType::I64,
            Values::F32(_) => DType::F32,
            Values::F64(_) => DType::F64,
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Values::Bool(v) => v.len(),
            Values::I64(v) => v.len(),
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Tensor {
    /// # Panics
    /// If the number of values is not the product of the shape.
    pub fn new(shape: Vec<usize>, values: Values) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "a tensor of shape {shape:?}");
        Tensor { shape, values }
    }

    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Tensor {
        Tensor::new(shape.into(), Values::F32(values))
    }

    pub fn f64(shape: impl Into<Vec<usize>>, values: Vec<f64>) -> Tensor {
        Tensor::new(shape.into(), Values::F64(values))
    }

    pub fn i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Tensor {
        Tensor::new(shape.into(), Values::I64(values))
    }

    pub fn bool(shape: impl Into<Vec<usize>>, values: Vec<bool>) -> Tensor {
        Tensor::new(shape.into(), Values::Bool(values))
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn dtype(&self) -> DType {
        self.values.dtype()
    }

    pub fn values(&self) -> &Values {
        &self.values
    }

    pub fn into_values(self) -> Values {
        self.values
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The elements, if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements converted to f32; booleans become 0 and 1.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::Bool(v) => v.iter().map(|&b| f32::from(b)).collect(),
            Values::I64(v) => v.iter().map(|&i| i as f32).collect(),
            Values::F32(v) => v.clone(),
            Values::F64(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The elements converted to f64; booleans become 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.values {
            Values::Bool(v) => v.iter().map(|&b| f64::from(b)).collect(),
            Values::I64(v) => v.iter().map(|&i| i as f64).collect(),
            Values::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            Values::F64(v) => v.clone(),
        }
    }

    /// The little-endian bytes of the elements, as safetensors stores them; booleans take one byte.
    pub fn to_bytes(&self) -> Vec<u8> {
        fn each<const N: usize, T: Copy>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            let mut out = vec![0; N * values.len()];
            out.as_chunks_mut().0.iter_mut().zip(values).for_each(|(o, &v)| *o = bytes(v));
            out
        }
        match &self.values {
            Values::Bool(v) => each(v, |b| [u8::from(b)]),
            Values::I64(v) => each(v, i64::to_le_bytes),
            Values::F32(v) => each(v, f32::to_le_bytes),
            Values::F64(v) => each(v, f64::to_le_bytes),
        }
    }
}
