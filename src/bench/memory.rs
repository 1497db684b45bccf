//! What the process holds in memory.

/// Bytes above what the process had at its start; None where the system does not tell.
pub struct Memory {
    start: Option<usize>,
    /// At most, while compiling.
    pub compile: Option<usize>,
    /// At most, while training.
    pub train: Option<usize>,
}

impl Memory {
    pub fn at_start() -> Memory {
        Memory { start: status("VmRSS:"), compile: None, train: None }
    }

    /// Compiling is over: from here on the peak is training's.
    pub fn compiled(&mut self) {
        self.compile = self.peak();
        // Where this fails the later peak includes the earlier.
        _ = std::fs::write("/proc/self/clear_refs", "5");
    }

    pub fn trained(&mut self) {
        self.train = self.peak();
    }

    fn peak(&self) -> Option<usize> {
        Some(status("VmHWM:")?.saturating_sub(self.start?))
    }
}

pub fn mib(bytes: usize) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// Bytes of a line of /proc/self/status.
fn status(field: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}
