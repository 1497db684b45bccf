//! A directory to work in, and the binary run there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const TINY: &str = r#"(
    data: Ring(modes: 4, radius: 1.0, std: 0.1),
    batch: 32,
    iterations: 20,
    nets: {
        "denoiser": (network: "mlp(hidden = 16, blocks = 1, emb = 8, classes = classes)"),
        "critic": (network: "mlp_critic()"),
        "teacher": (network: "analytic(s = schedule, mixture = mixture)", precondition: "none"),
    },
    evaluate: 64,
    methods: { "sft": (set: {"steps": "4", "ema_decay": "0.9"}) },
)
"#;

/// Holds `sft.fg`, `cm.fg`, `dmd2.fg`, `tiny.ron`, and `untaught.ron`, which has no exact teacher. Kernels are kept in a
/// cache of the tests' own.
pub struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    pub fn new() -> Work {
        let work = Work { dir: tempfile::tempdir().unwrap() };
        for method in ["sft", "cm", "dmd2"] {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("methods/{method}.fg"));
            std::fs::copy(source, work.path(&format!("{method}.fg"))).unwrap();
        }
        work.write("tiny.ron", TINY);
        let lines = TINY.lines().filter(|line| !line.contains("\"teacher\"")).map(|line| format!("{line}\n"));
        work.write("untaught.ron", &lines.collect::<String>());
        work
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The checkpoint that `latest` names.
    pub fn newest(&self, run: &str) -> PathBuf {
        let dir = self.path(run).join("checkpoints");
        dir.join(std::fs::read_to_string(dir.join("latest")).unwrap())
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command.env("FGC_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    pub fn fgc(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_fgc")).args(args).output().unwrap()
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(env!("CARGO_BIN_EXE_fgc"));
        command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Asserts exit status 1 and that standard error says all of this.
    pub fn fails(&self, args: &[&str], says: &[&str]) {
        let output = self.fgc(args);
        failed(&output, says);
    }

    /// Asserts exit status 1.
    pub fn fails_quietly(&self, args: &[&str]) {
        self.fails(args, &[]);
    }
}

/// Asserts exit status 1 and that standard error says all of this, without a panic.
pub fn failed(output: &Output, says: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    for text in says {
        assert!(told.contains(text), "does not say `{text}`:\n{told}");
    }
}

/// Asserts success.
pub fn ok(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
