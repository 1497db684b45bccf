//! Data sets of a teacher's trajectories, and what is learned from them.

use crate::process::{Work, failed, ok};

/// Videos of four frames, for a network that takes seconds.
const VIDEO: &str = r#"(
    data: MovingShapes(frames: 4, size: 8),
    batch: 4,
    iterations: 2,
    schedule: "rf",
    predicts: "flow",
    precondition: "none",
    nets: {
        "denoiser": (network: "vdit(dim = 8, heads = 1, blocks = 1, patch = 4, classes = classes)"),
        "student": (network: "vdit(dim = 8, heads = 1, blocks = 1, patch = 4, classes = classes, chunk = 2)"),
    },
    evaluate: 4,
)
"#;

/// A field of a shard's samples: its shape as numpy writes it, and its values.
fn field(work: &Work, shard: &str, name: &str) -> Vec<(String, Vec<f32>)> {
    let bytes = work.bytes(&work.path(shard));
    let mut fields = Vec::new();
    let mut at = 0;
    while at + 512 <= bytes.len() && bytes[at] != 0 {
        let text = |from: usize, to: usize| {
            String::from_utf8_lossy(&bytes[at + from..at + to]).trim_end_matches('\0').trim().to_string()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        if text(0, 100).ends_with(&format!(".{name}.npy")) {
            let file = &bytes[at + 512..at + 512 + size];
            let start = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
            let header = String::from_utf8_lossy(&file[10..start]).into_owned();
            let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0.to_string();
            let values = match header.contains("<f4") {
                true => file[start..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
                false => file[start..].iter().map(|&b| f32::from(b)).collect(),
            };
            fields.push((shape, values));
        }
        at += 512 + size.next_multiple_of(512);
    }
    fields
}

/// The exact teacher's trajectories begin in noise of the schedule's size and end where `fgc sample` ends.
#[test]
fn an_exact_teacher_gives_trajectories() {
    let work = Work::new();
    let args = ["trajectories", "kd", "--preset", "tiny.ron", "--count", "40", "--seed", "3"];
    let output = ok(work.fgc(&[&args[..], &["--out", "made/pairs"]].concat()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("40 trajectories in made/pairs (1 shard)"));
    let read = |name: &str| field(&work, "made/pairs/00000.tar", name);
    let (x, noise, path, c) = (read("x"), read("noise"), read("path"), read("c"));
    assert_eq!([x.len(), noise.len(), path.len(), c.len()], [40; 4]);
    for i in 0..40 {
        assert_eq!((&*x[i].0, &*noise[i].0, &*path[i].0, &*c[i].0), ("2,", "2,", "4,2,", "4,"));
        assert_eq!(noise[i].1, path[i].1[..2], "the path begins in the noise");
        assert_eq!(c[i].1[i % 4], 1.0, "classes take turns");
        // The four modes are on the axes, one unit from the middle.
        let (dx, dy) = (x[i].1[0], x[i].1[1]);
        assert!((dx.hypot(dy) - 1.0).abs() < 0.5, "{dx} {dy}");
    }
    let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
    let squares = |k: usize| path.iter().map(|p| length(&p.1[2 * k..2 * k + 2])).sum::<f32>() / 80.0;
    let sizes = [0, 1, 2, 3].map(|k| squares(k).sqrt());
    assert!((60.0..100.0).contains(&sizes[0]), "{sizes:?}");
    assert!(sizes[0] > 2.0 * sizes[1] && sizes[1] > 2.0 * sizes[2] && sizes[2] > sizes[3], "{sizes:?}");
    // The same again, and another seed.
    ok(work.fgc(&[&args[..], &["--out", "again"]].concat()));
    assert_eq!(work.bytes(&work.path("made/pairs/00000.tar")), work.bytes(&work.path("again/00000.tar")));
    ok(work.fgc(&[&args[..6], &["--seed", "4", "--out", "other"]].concat()));
    assert_ne!(field(&work, "other/00000.tar", "x"), x);
}

/// A run's trajectories end where its own sampler ends, and teach another run.
#[test]
fn a_run_gives_trajectories_and_a_student_learns_from_them() {
    let work = Work::new();
    ok(work.fgc(&["run", "sft", "--preset", "untaught.ron", "--name", "t", "--iterations", "5"]));
    ok(work.fgc(&["trajectories", "sft", "--from", "runs/t", "--count", "40", "--class", "1", "--out", "one"]));
    assert!(field(&work, "one/00000.tar", "c").iter().all(|c| c.1 == [0.0, 1.0, 0.0, 0.0]), "as wide as the data's");
    ok(work.fgc(&["sample", "runs/t", "-n", "32", "--class", "1", "-o", "x.safetensors"]));
    let bytes = work.bytes(&work.path("x.safetensors"));
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let sampled = file.tensor("x").unwrap().data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    let ends = field(&work, "one/00000.tar", "x");
    let ends: Vec<f32> = ends.iter().take(32).flat_map(|x| x.1.clone()).collect();
    assert_eq!(sampled.collect::<Vec<_>>(), ends);
    // The same teacher as another method's network.
    ok(work.fgc(&["trajectories", "kd", "--from", "runs/t", "--count", "40", "--out", "pairs"]));
    for steps in ["steps=1", "steps=4"] {
        let args = ["run", "kd", "--preset", "tiny.ron", "--data", "pairs", "--iterations", "3", "--set", steps];
        ok(work.fgc(&[&args[..], &["--teacher", "runs/t"]].concat()));
        ok(work.fgc(&args));
    }
}

#[test]
fn videos_are_drawn_and_become_trajectories() {
    let work = Work::new();
    work.write("video.ron", VIDEO);
    ok(work.fgc(&["run", "sft", "--preset", "video.ron", "--name", "v", "--set", "steps=4"]));
    let starts = |name: &str, magic: &[u8]| assert_eq!(&work.bytes(&work.path(name))[..magic.len()], magic, "{name}");
    starts("runs/v/samples/step-00000002.png", b"\x89PNG");
    starts("runs/v/samples/step-00000002.gif", b"GIF89a");
    let output = ok(work.fgc(&["sample", "runs/v", "-n", "3", "-o", "v.png"]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("v.png and v.gif"));
    starts("v.gif", b"GIF89a");
    ok(work.fgc(&["trajectories", "sft", "--from", "runs/v", "--count", "6", "--out", "paths"]));
    let paths = field(&work, "paths/00000.tar", "path");
    assert!(paths.len() == 6 && paths.iter().all(|path| path.0 == "4,1,4,8,8,"), "{:?}", paths[0].0);
    ok(work.fgc(&["run", "causal_kd", "--preset", "video.ron", "--data", "paths", "--iterations", "2"]));
}

#[test]
fn trajectories_that_cannot_be_made_leave_nothing() {
    let work = Work::new();
    let args = |method, preset, more: &[&'static str]| {
        [&["trajectories", method, "--preset", preset, "--out", "new", "--count", "8"], more].concat()
    };
    work.fails(&args("cm.fg", "tiny.ron", &[]), &["`cm` has no sampler `trajectory`", "ode_path"]);
    work.fails(&args("sft.fg", "tiny.ron", &[]), &["`student`", "no weights", "--from RUN"]);
    work.fails(&args("kd", "untaught.ron", &[]), &["`teacher`", "no weights", "--from RUN"]);
    work.fails(&args("kd", "tiny.ron", &["--class", "4"]), &["class 4 is out of range: the data have 4"]);
    work.fails(&args("kd", "tiny.ron", &["--from", "runs/nothing"]), &["runs/nothing"]);
    assert_eq!(work.fgc(&["trajectories", "kd", "--out", "new", "--count", "0"]).status.code(), Some(2));
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(work.path(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    assert!(!before.iter().any(|name| name == "new"), "{before:?}");
    // A sampler of another kind.
    let odd = work.read("sft.fg").replace("= ode_path(", "= ode(").replace("use std.sampler.ode_path\n", "");
    work.write("sft.fg", &odd);
    ok(work.fgc(&["run", "sft.fg", "--preset", "tiny.ron", "--name", "r", "--iterations", "1"]));
    work.fails(
        &["trajectories", "sft.fg", "--from", "runs/r", "--count", "8", "--out", "new"],
        &["has 5 points", "`ode_path`", "gives [2]"],
    );
    // A directory that is there is not touched.
    std::fs::create_dir(work.path("new")).unwrap();
    work.fails(&args("kd", "tiny.ron", &[]), &["new exists already"]);
    assert_eq!(std::fs::read_dir(work.path("new")).unwrap().count(), 0);
}

/// A limit on file sizes stands in for a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_of_a_data_set() {
    let work = Work::new();
    // So that kernels need no room.
    ok(work.fgc(&["trajectories", "kd", "--preset", "tiny.ron", "--count", "1000", "--out", "whole"]));
    let binary = env!("CARGO_BIN_EXE_fgc");
    let script =
        format!("trap '' XFSZ; ulimit -f 64; exec {binary} trajectories kd --preset tiny.ron --count 1000 --out cut");
    let output = work.command("bash").args(["-c", &script]).output().unwrap();
    failed(&output, &["cannot write", "00000.tar"]);
    let left: Vec<_> = std::fs::read_dir(work.path(".")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("cut")), "{left:?}");
}
