//! What a machine without a GPU is told.

use crate::process::Work;

#[test]
fn cuda_is_refused_with_what_is_missing() {
    let work = Work::new();
    // Wherever this runs, no GPU is visible.
    let fgc = |args: &[&str]| {
        let mut command = work.command(env!("CARGO_BIN_EXE_fgc"));
        command.args(args).env("CUDA_VISIBLE_DEVICES", "").output().unwrap()
    };
    let output = fgc(&["run", "cm.fg", "--preset", "tiny.ron", "--device", "cuda"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains("--device cuda cannot run here") && text.contains("fgc doctor"), "{text}");
    let output = fgc(&["doctor"]);
    let text = String::from_utf8_lossy(&output.stdout);
    for line in ["C compiler", "GPU", "NVRTC", "cuBLASLt", "cuDNN"] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{text}");
    }
}
