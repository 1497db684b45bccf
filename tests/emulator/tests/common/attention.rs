//! Methods with attention: its forward and backward pass, its derivative in forward mode, and the gradient of that.

use fgc_compiler::level::Target;
use fgc_compiler::preset::{NetSpec, Setup};
use fgc_program::Program;

pub const FIT: &str = "
method fit() {
  data x
  net student = denoiser() adamw(lr = 1e-3)
  let s = student.schedule
  draw t ~ uniform_time()(s), eps ~ normal(x)
  step { loss l = mse(student.x0(add_noise(s, x, eps, t), t, none), x) -> student }
}";

pub const ALONG: &str = "
method along() {
  data x
  net student = denoiser() adamw(lr = 1e-3)
  let s = student.schedule
  draw t ~ uniform_time()(s), eps ~ normal(x)
  let y = add_noise(s, x, eps, t)
  let j = jvp(fn(y, t) = student.x0(y, s.time(t), none), [y, f64(t)], [eps, 1.0])
  step { loss l = 0.001 * mean(f64(j) ^ 2) -> student }
}";

pub const TANGENT: &str = "
method tangent() {
  data x
  net student = denoiser() adamw(lr = 1e-3)
  let s = student.schedule
  draw t ~ uniform_time()(s), eps ~ normal(x)
  let y = add_noise(s, x, eps, t)
  let f = fn(y, t) = student.x0(y, s.time(t), none)
  step {
    loss l = mse(f(y, f64(t)), stop(f32(jvp(f, [y, f64(t)], [eps, 1.0])))) -> student
  }
}";

/// The program for a GPU.
pub fn program(method: &str, network: &str, shape: &[usize], batch: usize) -> Program {
    let mut setup = Setup { target: Target::Cuda, ..super::common::setup(network, shape, batch) };
    let critic = NetSpec { network: "vdit_critic()".into(), ..setup.nets["denoiser"].clone() };
    setup.nets.insert("critic".into(), critic);
    super::common::program(method, &setup)
}
