//! Functions that `core` lacks, the same on every machine.

/// e^x to about 2 units in the last place; 0 and infinity beyond what f32 holds, NaN of NaN.
pub fn exp(x: f32) -> f32 {
    // e^x = 2^n e^r, |r| ≤ ln 2 / 2.
    let clamped = x.clamp(-104.0, 89.0);
    let scaled = clamped * core::f32::consts::LOG2_E;
    let n = (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32;
    let r = clamped - n as f32 * 0.693_359_4 - n as f32 * -2.121_944_4e-4;
    let tail = 0.166_666_66 + r * (0.041_666_4 + r * (0.008_333_6 + r * 0.001_396_4));
    let power = 1.0 + r + r * r * (0.5 + r * tail);
    // Two factors: 2^n itself may be no normal number.
    let half = n / 2;
    power * two_to(half) * two_to(n - half)
}

/// 2^n for −126 ≤ n ≤ 127.
fn two_to(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

pub fn sigmoid(x: f32) -> f32 {
    if x < 0.0 {
        let e = exp(x);
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + exp(-x))
    }
}

/// The derivative of x·sigmoid(x).
pub fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

pub fn sqrt(x: f32) -> f32 {
    #[cfg(target_arch = "nvptx64")]
    return core::intrinsics::sqrtf32(x);
    #[cfg(not(target_arch = "nvptx64"))]
    return x.sqrt();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_standard_library() {
        for i in -1030..890 {
            let x = i as f32 * 0.1;
            let (found, wanted) = (exp(x), x.exp());
            // Below the normal numbers a unit in the last place is larger.
            let close = (found - wanted).abs() <= 4e-7 * wanted + 2e-45;
            assert!(found == wanted || close, "e^{x} is {wanted}, not {found}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(sigmoid(-200.0), 0.0);
        assert_eq!(sigmoid(200.0), 1.0);
    }
}
